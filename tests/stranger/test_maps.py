"""Maps: the newest value per key of a topic."""

import pytest

from conftest import Dialer
from tidewire_stranger.client import EARLIEST
from tidewire_stranger.codes import Code, Flags, Kind
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record


async def entries(client, name: str) -> dict[str, bytes]:
    value = (await client.get(Kind.MAP, name)).value or []
    return {key: payload for key, _, payload in value if payload is not None}


async def test_the_newest_value_of_each_key(dial: Dialer, fresh) -> None:
    name = fresh("map")
    async with dial() as client:
        await client.publish(name, Record("a", None, b"1"), Record("b", None, b"2"))
        await client.publish(name, Record("a", None, b"3"), Record(None, None, b"keyless"))
        assert await entries(client, name) == {"a": b"3", "b": b"2"}
        assert (await client.get(Kind.MAP, name, "a")).value == b"3"
        assert (await client.get(Kind.MAP, name, "nobody")).value is None
        subscription = await client.subscribe(name, EARLIEST)
        assert len(await subscription.records(4)) == 4  # a map is a topic as well


async def test_a_map_that_does_not_exist(dial: Dialer, fresh) -> None:
    async with dial() as client:
        assert (await client.get(Kind.MAP, fresh("map"), "a")).value is None
        assert await entries(client, fresh("map")) == {}


async def test_tombstones(dial: Dialer, fresh) -> None:
    name = fresh("map")
    async with dial() as client:
        await client.publish(name, Record("a", None, b"1"), Record("b", None, b"2"))
        watcher = await client.watch(Kind.MAP, name)
        await watcher.until(lambda seen: seen.entries == {"a": b"1", "b": b"2"})
        await client.publish(name, Record("a"))
        await watcher.until(lambda seen: seen.entries == {"b": b"2"})
        assert (await client.get(Kind.MAP, name, "a")).value is None
        assert await entries(client, name) == {"b": b"2"}
        await client.publish(name, Record("a", None, b""))  # empty is not gone
        await watcher.until(lambda seen: seen.entries == {"a": b"", "b": b"2"})


async def test_entries_expire(dial: Dialer, fresh) -> None:
    name = fresh("map")
    async with dial() as client:
        watcher = await client.watch(Kind.MAP, name)
        await client.publish(name, Record("stays", None, b"1"))
        await client.publish(name, Record("goes", None, b"2"), options={"ttl_ms": 500})
        await watcher.until(lambda seen: set(seen.entries) == {"stays", "goes"})
        await watcher.until(lambda seen: set(seen.entries) == {"stays"})
        assert await entries(client, name) == {"stays": b"1"}
        subscription = await client.subscribe(name, EARLIEST)
        kept = await subscription.records(2)  # records fall under retention, not under ttl
        assert [each.record.payload for each in kept] == [b"1", b"2"]


async def test_watching_changes(dial: Dialer, fresh) -> None:
    name = fresh("map")
    async with dial() as client, dial() as other:
        await client.publish(name, *[Record(f"k{n}", None, b"old") for n in range(100)])
        watcher = await other.watch(Kind.MAP, name)
        await watcher.until(lambda seen: len(seen.entries) == 100)
        assert watcher.updates[0].flags & Flags.FULL
        await client.publish(name, Record("k7", None, b"new"))
        update = await watcher.update()
        assert [(key, value) for key, _, value in update.value] == [("k7", b"new")]
        assert not update.flags & Flags.FULL
        assert watcher.entries["k7"] == b"new" and len(watcher.entries) == 100


async def test_watching_one_key(dial: Dialer, fresh) -> None:
    name = fresh("map")
    async with dial() as client:
        await client.publish(name, Record("a", None, b"1"), Record("b", None, b"2"))
        watcher = await client.watch(Kind.MAP, name, key="a")
        await watcher.until(lambda seen: seen.entries == {"a": b"1"})
        await client.publish(name, Record("b", None, b"3"))
        await client.publish(name, Record("a", None, b"4"))
        await watcher.until(lambda seen: seen.entries == {"a": b"4"})


async def test_a_topic_without_a_map(dial: Dialer, fresh) -> None:
    name = fresh("topic")
    async with dial() as client:
        await client.publish(name, Record("a", None, b"1"))
        for request in (
            client.get(Kind.MAP, name),
            client.get(Kind.MAP, name, "a"),
            client.watch(Kind.MAP, name),
        ):
            with pytest.raises(Refused) as refused:
                await request
            assert refused.value.code == Code.UNSUPPORTED
