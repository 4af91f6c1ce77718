"""Filters, their PROGRESS, and the mode that delivers only the newest per key."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger.client import EARLIEST, LATEST
from tidewire_stranger.codes import Code
from tidewire_stranger.following import WAIT, Refused
from tidewire_stranger.frames import Deliver, Progress
from tidewire_stranger.records import Record, delivered

LATEST_MODE = 1

RECORDS = [
    Record("user.1", {"color": "red"}, b"0"),
    Record("user.2", {"color": "blue"}, b"1"),
    Record("group.1", {"color": "red", "size": "l"}, b"2"),
    Record(None, None, b"3"),
    Record("user.1", None, b"4"),
]


@pytest.mark.parametrize(
    ("conditions", "offsets"),
    [
        ([["key", "eq", "user.1"]], [0, 4]),
        ([["key", "prefix", "user."]], [0, 1, 4]),
        ([["key", "exists"]], [0, 1, 2, 4]),
        ([["key", "absent"]], [3]),
        ([["header:color", "eq", "red"]], [0, 2]),
        ([["header:color", "absent"]], [3, 4]),
        ([["header:size", "exists"]], [2]),
        ([["header:color", "eq", "red"], ["key", "prefix", "user."]], [0]),
        ([["key", "exists"], ["key", "ne", "user.1"]], [1, 2]),
        ([["header:color", "exists"], ["header:color", "ne", "red"]], [1]),
    ],
)
async def test_filters(dial: Dialer, fresh, conditions, offsets: list[int]) -> None:
    topic = fresh("filter")
    async with dial() as client:
        await client.publish(topic, *RECORDS)
        subscription = await client.subscribe(topic, EARLIEST, filter=conditions)
        found = await subscription.records(len(offsets))
        assert [each.offset for each in found] == offsets
        assert [each.record for each in found] == [RECORDS[offset] for offset in offsets]


async def test_progress_moves_over_what_is_not_selected(dial: Dialer, fresh) -> None:
    topic = fresh("progress")
    nothing = [["key", "eq", "nobody"]]
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST, filter=nothing)
        await client.publish(topic, *RECORDS)
        progress = await subscription.next()  # after a second
        assert isinstance(progress, Progress) and progress.next == len(RECORDS)
        await client.publish(topic, Record("nobody", None, b"here"))
        found = await subscription.records(1)
        assert found[0].offset == len(RECORDS)


async def test_progress_over_many_records(dial: Dialer, fresh) -> None:
    topic = fresh("progress")
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST, filter=[["key", "exists"]])
        for _ in range(3):
            await client.publish(topic, *[Record(payload=b"x")] * 10_000)
        async with asyncio.timeout(WAIT):
            while True:
                progress = await subscription.next()
                assert isinstance(progress, Progress), progress
                if progress.next == 30_000:
                    break


async def test_progress_of_a_pattern_carries_a_position(dial: Dialer, fresh) -> None:
    root = fresh("progress")
    async with dial() as client:
        subscription = await client.subscribe(f"{root}.*", LATEST, filter=[["key", "eq", "nobody"]])
        before = dict(subscription.positions)
        await client.publish(f"{root}.a", *RECORDS)
        progress = await subscription.next()
        assert isinstance(progress, Progress) and progress.position is not None
        assert progress.position.sequence > before[progress.position.shard].sequence


@pytest.mark.parametrize(
    "conditions",
    [
        [["key", "like", "x"]],
        [["payload", "eq", "x"]],
        [["key", "eq"]],
        [["header:", "exists"]],
        [["key"]],
        [["key", "exists"]] * 17,
        ["key"],
    ],
    ids=["op", "field", "no value", "no header", "short", "seventeen", "no array"],
)
async def test_filters_that_are_none(dial: Dialer, fresh, conditions) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.subscribe(fresh("filter"), LATEST, filter=conditions)
        assert refused.value.code in (Code.INVALID_ARGUMENT, Code.MALFORMED)


async def test_latest_mode_delivers_the_newest_of_each_key(dial: Dialer, fresh) -> None:
    topic = fresh("newest")
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST, mode=LATEST_MODE, interval_ms=300)
        for number in range(100):
            body = [Record(key, None, b"%d" % number) for key in ("a", "b", None)]
            await client.publish(topic, *body)
        newest: dict[str | None, bytes] = {}
        deliveries: list[Deliver] = []
        while not deliveries or deliveries[-1].next < 300:
            delivery = await subscription.next_delivery()
            deliveries.append(delivery)
            found = delivered(delivery)
            assert len({each.record.key for each in found}) == len(found)
            newest.update({each.record.key: each.record.payload for each in found})
        assert newest == {"a": b"99", "b": b"99", None: b"99"}
        assert len(deliveries) < 50
        assert deliveries[-1].offsets is not None


async def test_latest_mode_over_history(dial: Dialer, fresh) -> None:
    topic = fresh("newest")
    async with dial() as client:
        await client.publish(topic, *[Record("k", None, b"%d" % n) for n in range(50)])
        subscription = await client.subscribe(topic, EARLIEST, mode=LATEST_MODE)
        newest, end = None, 0
        while end < 50:
            delivery = await subscription.next_delivery()
            newest, end = delivered(delivery)[-1], delivery.next
        assert (newest.offset, newest.record.payload) == (49, b"49")


@pytest.mark.parametrize(
    "options", [{"mode": 2}, {"mode": 1, "interval_ms": 60_001}, {"on_gap": 3}, {"credit": -1}]
)
async def test_options_out_of_their_rules(dial: Dialer, fresh, options) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.subscribe(fresh("options"), LATEST, **options)
        assert refused.value.code in (Code.INVALID_ARGUMENT, Code.MALFORMED)
