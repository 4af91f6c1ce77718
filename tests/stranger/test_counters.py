"""Counters: bounds, time to live, idempotence."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.codes import Code, IncrOp, Kind
from tidewire_stranger.following import WAIT, Refused

LARGEST, SMALLEST = 2**63 - 1, -(2**63)


def outcome(reply: f.Counted) -> tuple[int, int]:
    return reply.value, reply.applied


async def test_add_set_reset(dial: Dialer, fresh) -> None:
    name = fresh("counter")
    async with dial() as client:
        assert (await client.get(Kind.COUNTER, name)).value is None
        assert outcome(await client.incr(name, 5)) == (5, 5)
        assert outcome(await client.incr(name, -7)) == (-2, -7)
        assert outcome(await client.incr(name, 100, IncrOp.SET)) == (100, 102)
        value = await client.get(Kind.COUNTER, name)
        assert (value.kind, value.value) == (Kind.COUNTER, 100)
        await client.incr(name, 0, IncrOp.RESET)
        assert (await client.get(Kind.COUNTER, name)).value is None
        assert outcome(await client.incr(name, 1)) == (1, 1)


async def test_versions_grow(dial: Dialer, fresh) -> None:
    name = fresh("counter")
    async with dial() as client:
        versions = [(await client.incr(name)).version for _ in range(20)]
        assert versions == sorted(versions) and versions[0] > 0
        assert (await client.get(Kind.COUNTER, name)).version >= versions[-1]


async def test_bounds_clamp(dial: Dialer, fresh) -> None:
    name = fresh("clamp")
    async with dial() as client:
        assert outcome(await client.incr(name, 8, max=10)) == (8, 8)
        assert outcome(await client.incr(name, 8, max=10)) == (10, 2)
        assert outcome(await client.incr(name, 8, max=10)) == (10, 0)
        assert outcome(await client.incr(name, -30, min=0)) == (0, -10)
        assert outcome(await client.incr(name, 99, IncrOp.SET, max=50)) == (50, 50)


async def test_strict_refuses_and_changes_nothing(dial: Dialer, fresh) -> None:
    name = fresh("strict")
    async with dial() as client:
        await client.incr(name, 8)
        for operand, bounds in ((3, {"max": 10}), (-9, {"min": 0})):
            with pytest.raises(Refused) as refused:
                await client.incr(name, operand, strict=True, **bounds)
            assert refused.value.code == Code.OUT_OF_RANGE
        assert outcome(await client.incr(name, 2, strict=True, max=10)) == (10, 2)


async def test_sixty_four_bits(dial: Dialer, fresh) -> None:
    name = fresh("wide")
    async with dial() as client:
        await client.incr(name, LARGEST - 1, IncrOp.SET)
        assert outcome(await client.incr(name, 5)) == (LARGEST, 1)
        with pytest.raises(Refused) as refused:
            await client.incr(name, 1, strict=True)
        assert refused.value.code == Code.OUT_OF_RANGE
        # By way of 0: from one end to the other `applied` would not fit 64 bits.
        await client.incr(name, 0, IncrOp.RESET)
        assert outcome(await client.incr(name, SMALLEST, IncrOp.SET)) == (SMALLEST, SMALLEST)
        assert outcome(await client.incr(name, -1)) == (SMALLEST, 0)


async def test_idempotence_key(dial: Dialer, fresh) -> None:
    name = fresh("once")
    async with dial() as client, dial() as other:
        first = await client.incr(name, 5, id="order-1")
        await client.incr(name, 1)
        again = await other.incr(name, 5, id="order-1")
        assert (first.duplicate, again.duplicate) == (False, True)
        assert (again.value, again.applied, again.version) == (5, 5, first.version)
        assert (await client.incr(name, 5, id="order-2")).value == 11


async def test_idempotence_keys_at_the_same_time(dial: Dialer, fresh) -> None:
    name = fresh("once")
    async with dial() as client:
        incr = f.Incr(0, name, IncrOp.ADD, 1, {"id": "same"})
        futures = [await client.begin(incr) for _ in range(50)]
        async with asyncio.timeout(WAIT):
            replies = await asyncio.gather(*futures)
        assert sum(not reply.duplicate for reply in replies) == 1
        assert {reply.value for reply in replies} == {1}


async def test_time_to_live(dial: Dialer, fresh) -> None:
    name = fresh("mortal")
    async with dial() as client, dial() as other:
        watcher = await other.watch(Kind.COUNTER, name)
        await client.incr(name, 5, ttl_ms=300)
        await watcher.until(lambda seen: seen.value == 5)
        await watcher.until(lambda seen: seen.deleted and seen.value is None)
        assert (await client.get(Kind.COUNTER, name)).value is None
        assert outcome(await client.incr(name, 1)) == (1, 1)
        await watcher.until(lambda seen: seen.value == 1 and not seen.deleted)


async def test_a_time_to_live_stays_or_is_removed(dial: Dialer, fresh) -> None:
    stays, removed = fresh("mortal"), fresh("immortal")
    async with dial() as client:
        watcher = await client.watch(Kind.COUNTER, stays)
        for name in (stays, removed):
            await client.incr(name, 1, ttl_ms=500)
        await client.incr(stays, 1)
        await client.incr(removed, 1, ttl_ms=0)
        await watcher.until(lambda seen: seen.deleted and seen.holds(1))
        assert (await client.get(Kind.COUNTER, removed)).value == 2


async def test_reset_is_seen_as_a_deletion(dial: Dialer, fresh) -> None:
    name = fresh("reset")
    async with dial() as client:
        await client.incr(name, 3)
        watcher = await client.watch(Kind.COUNTER, name)
        await watcher.until(lambda seen: seen.value == 3)
        await client.incr(name, 0, IncrOp.RESET)
        await watcher.until(lambda seen: seen.deleted)


@pytest.mark.parametrize(
    ("op", "options"),
    [
        (3, {}),
        (IncrOp.ADD, {"id": ""}),
        (IncrOp.ADD, {"id": "x" * 65}),
        (IncrOp.ADD, {"min": 5, "max": 1}),
    ],
)
async def test_what_a_counter_refuses(dial: Dialer, fresh, op: int, options) -> None:
    name = fresh("refuse")
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.incr(name, 1, op, **options)
        assert refused.value.code == Code.INVALID_ARGUMENT
        assert (await client.get(Kind.COUNTER, name)).value is None
