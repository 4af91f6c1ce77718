"""Who is there, over one connection and over several."""

import pytest

from conftest import Dialer
from tidewire_stranger.codes import Code, Kind
from tidewire_stranger.following import Refused


async def present(client, name: str) -> dict[str, bytes]:
    value = (await client.get(Kind.PRESENCE, name)).value or []
    return {member: data for member, _, data in value if data is not None}


async def test_join_and_leave(dial: Dialer, fresh) -> None:
    name = fresh("room")
    async with dial() as client, dial() as other:
        watcher = await other.watch(Kind.PRESENCE, name)
        await client.join(name, "ann", b"green")
        await client.join(name, "bob")
        await watcher.until(lambda seen: seen.entries == {"ann": b"green", "bob": b""})
        assert await present(other, name) == {"ann": b"green", "bob": b""}
        await client.leave(name, "ann")
        await watcher.until(lambda seen: seen.entries == {"bob": b""})
        assert await present(other, name) == {"bob": b""}


async def test_a_connection_that_ends_takes_its_members_along(dial: Dialer, fresh) -> None:
    name = fresh("room")
    async with dial() as observer:
        watcher = await observer.watch(Kind.PRESENCE, name)
        async with dial() as client:
            await client.join(name, "ann", b"x")
            await watcher.until(lambda seen: "ann" in seen.entries)
        await watcher.until(lambda seen: not seen.entries)
        assert await present(observer, name) == {}


async def test_one_member_over_two_connections(dial: Dialer, fresh) -> None:
    name = fresh("room")
    async with dial() as observer:
        watcher = await observer.watch(Kind.PRESENCE, name)
        async with dial() as phone:
            async with dial() as laptop:
                await phone.join(name, "ann", b"x")
                await watcher.until(lambda seen: "ann" in seen.entries)
                await laptop.join(name, "ann", b"x")
                await phone.leave(name, "ann")
                assert list(await present(observer, name)) == ["ann"]
                await phone.join(name, "ann", b"x")
            # The laptop's end is noticed when its other member goes; ann has the phone.
            assert list(await present(observer, name)) == ["ann"]
        await watcher.until(lambda seen: not seen.entries)


async def test_watching_one_member(dial: Dialer, fresh) -> None:
    name = fresh("room")
    async with dial() as client:
        watcher = await client.watch(Kind.PRESENCE, name, key="ann")
        await client.join(name, "bob")
        await client.join(name, "ann", b"1")
        await watcher.until(lambda seen: seen.entries == {"ann": b"1"})
        await client.leave(name, "ann")
        await watcher.until(lambda seen: not seen.entries)


@pytest.mark.parametrize(("member", "data"), [("", None), ("x" * 257, None), ("ann", b"x" * 4097)])
async def test_what_presence_refuses(dial: Dialer, fresh, member, data) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.join(fresh("room"), member, data)
        assert refused.value.code == Code.INVALID_ARGUMENT
