"""Watches: the newest version, however many there were. Datagrams."""

import asyncio
import time

import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.codes import Code, Flags, IncrOp, Kind
from tidewire_stranger.following import WAIT, Refused

INCREMENTS = 2000


async def count_to(client, name: str, count: int) -> int:
    """`count` increments in a pipeline. Returns the newest version."""
    futures = [await client.begin(f.Incr(0, name, IncrOp.ADD, 1)) for _ in range(count)]
    async with asyncio.timeout(WAIT):
        replies = await asyncio.gather(*futures)
    return max(reply.version for reply in replies)


async def test_the_current_value_follows_at_once(dial: Dialer, fresh) -> None:
    name = fresh("watch")
    async with dial() as client:
        version = (await client.incr(name, 5)).version
        watcher = await client.watch(Kind.COUNTER, name)
        assert watcher.reply.version == version
        update = await watcher.update()
        assert (update.version, update.value) == (version, 5)
        assert update.flags == Flags.FULL


async def test_a_client_that_holds_the_newest_gets_nothing(dial: Dialer, fresh) -> None:
    name = fresh("held")
    async with dial() as client:
        await client.incr(name, 5)
        first = await client.watch(Kind.COUNTER, name)
        await first.update()
        held = {"epoch": first.reply.epoch, "version": first.version}
        second = await client.watch(Kind.COUNTER, name, **held)
        assert await second.inbox.silent()
        await client.incr(name, 1)
        await second.until(lambda seen: seen.value == 6)
        outdated = await client.watch(Kind.COUNTER, name, **held)
        await outdated.until(lambda seen: seen.value == 6)


async def test_a_cell_that_does_not_exist_yet(dial: Dialer, fresh) -> None:
    name = fresh("unborn")
    async with dial() as client:
        watcher = await client.watch(Kind.COUNTER, name)
        assert watcher.reply.version == 0
        await client.incr(name, 3)
        await watcher.until(lambda seen: seen.value == 3)


async def test_few_updates_of_many_versions(dial: Dialer, fresh) -> None:
    name = fresh("conflated")
    async with dial() as client, dial() as other:
        watcher = await other.watch(Kind.COUNTER, name, interval_ms=200)
        began = time.monotonic()
        version = await count_to(client, name, INCREMENTS)
        await watcher.until(lambda seen: seen.holds(version))
        elapsed_ms = (time.monotonic() - began) * 1000
        assert watcher.value == INCREMENTS
        assert len(watcher.updates) <= elapsed_ms / 200 + 3
        versions = [update.version for update in watcher.updates]
        assert versions == sorted(set(versions))


async def test_the_fastest_watch_ends_at_the_last_value(dial: Dialer, fresh) -> None:
    name = fresh("fast")
    async with dial() as client, dial() as other:
        watchers = [await other.watch(Kind.COUNTER, name) for _ in range(5)]
        version = await count_to(client, name, INCREMENTS)
        for watcher in watchers:
            await watcher.until(lambda seen: seen.holds(version))
            assert watcher.value == INCREMENTS


async def test_unsubscribing_from_a_watch(dial: Dialer, fresh) -> None:
    name = fresh("left")
    async with dial() as client:
        await client.incr(name)
        watcher = await client.watch(Kind.COUNTER, name)
        await watcher.update()
        await client.unsubscribe(watcher)
        await client.incr(name)
        await client.ping(1)
        assert await watcher.inbox.silent()


@pytest.mark.parametrize("kind", [Kind.TOPIC, Kind.ROUNDS])
async def test_what_cannot_be_watched(dial: Dialer, fresh, kind: Kind) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.watch(kind, fresh("watch"))
        assert refused.value.code in (Code.UNSUPPORTED, Code.NOT_FOUND)


async def test_kinds_that_nobody_knows(dial: Dialer, fresh) -> None:
    async with dial() as client:
        for request in (client.get(99, fresh("kind")), client.watch(99, fresh("kind"))):
            with pytest.raises(Refused) as refused:
                await request
            assert refused.value.code == Code.INVALID_ARGUMENT


async def test_what_does_not_exist(dial: Dialer, fresh) -> None:
    async with dial() as client:
        for kind in (Kind.TALLY, Kind.ROUNDS, Kind.TOPIC):
            with pytest.raises(Refused) as refused:
                await client.get(kind, fresh("nothing"))
            assert refused.value.code == Code.NOT_FOUND
        for kind in (Kind.COUNTER, Kind.PRESENCE):
            assert not (await client.get(kind, fresh("nothing"))).value


async def test_datagrams_are_for_quic_only(dial_websocket: Dialer) -> None:
    async with dial_websocket(["datagrams"]) as client:
        assert client.welcome.capabilities == []


async def test_updates_in_datagrams(dial_quic: Dialer, fresh) -> None:
    name = fresh("datagrams")
    async with dial_quic() as client, dial_quic(["datagrams"], datagrams=True) as other:
        assert other.welcome.capabilities == ["datagrams"]
        watcher = await other.watch(Kind.COUNTER, name)
        version = await count_to(client, name, INCREMENTS)
        await watcher.until(lambda seen: seen.holds(version))
        assert watcher.value == INCREMENTS


async def test_the_last_value_arrives_without_any_datagram(dial_quic: Dialer, fresh) -> None:
    name = fresh("lossy")
    async with dial_quic() as client, dial_quic(["datagrams"], datagrams=True) as other:
        other.link.connection.drop_datagrams = True
        watcher = await other.watch(Kind.COUNTER, name)
        for _ in range(3):
            version = await count_to(client, name, 200)
            await watcher.until(lambda seen: seen.holds(version))
        assert watcher.value == 600


async def test_map_changes_never_travel_in_datagrams(dial_quic: Dialer, fresh) -> None:
    name = fresh("map")
    body = [b"\x93\xa1" + bytes([97 + n % 26]) + b"\xc0\xc4\x01x" for n in range(200)]
    async with dial_quic(["datagrams"], datagrams=True) as client:
        client.link.connection.drop_datagrams = True
        watcher = await client.watch(Kind.MAP, name)
        for record in body:
            await client.call(f.Publish(0, name, 1, record))
        await watcher.until(lambda seen: len(seen.entries) == 26)
