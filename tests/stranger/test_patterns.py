"""Patterns with wildcards: what they match, positions, and resuming from them."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger.client import EARLIEST, LATEST, at_offset, at_positions, at_time, last
from tidewire_stranger.codes import Code, Resumed
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record


async def publish_each(client, topics: list[str], payload: bytes) -> None:
    for topic in topics:
        await client.publish(topic, Record(payload=payload))


def found_in(found) -> dict[str, list[bytes]]:
    by_topic: dict[str, list[bytes]] = {}
    for each in found:
        by_topic.setdefault(each.topic, []).append(each.record.payload)
    return by_topic


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{}.*", {"{}.a", "{}.b"}),
        ("{}.>", {"{}.a", "{}.b", "{}.a.x", "{}.a.x.y"}),
        ("{}.*.x", {"{}.a.x"}),
        ("{}.a.>", {"{}.a.x", "{}.a.x.y"}),
        ("{}.*.x.>", {"{}.a.x.y"}),
        ("{}.*.*", {"{}.a.x"}),
    ],
)
async def test_what_a_pattern_matches(dial: Dialer, fresh, pattern, expected) -> None:
    """Before and after: half of the topics exist when the subscription starts."""
    root = fresh("match")
    topics = [root] + [f"{root}.{rest}" for rest in ("a", "b", "a.x", "a.x.y")]
    wanted = {name.format(root) for name in expected}
    async with dial() as client:
        await publish_each(client, topics[::2], b"before")
        subscription = await client.subscribe(pattern.format(root), LATEST)
        assert (subscription.reply.epoch, subscription.reply.offset) == (0, 0)
        await publish_each(client, topics, b"after")
        found = found_in(await subscription.records(len(wanted)))
        assert found == {topic: [b"after"] for topic in wanted}
        assert await subscription.inbox.silent()


async def test_a_pattern_from_the_earliest(dial: Dialer, fresh) -> None:
    root = fresh("earliest")
    topics = [f"{root}.{number}" for number in range(20)]
    async with dial() as client:
        await publish_each(client, topics, b"1")
        await publish_each(client, topics, b"2")
        subscription = await client.subscribe(f"{root}.*", EARLIEST)
        await publish_each(client, topics, b"3")
        found = found_in(await subscription.records(60))
        assert found == {topic: [b"1", b"2", b"3"] for topic in topics}


async def test_the_newest_records_of_each_topic(dial: Dialer, fresh) -> None:
    root = fresh("last")
    topics = [f"{root}.{number}" for number in range(5)]
    async with dial() as client:
        for payload in (b"1", b"2", b"3"):
            await publish_each(client, topics, payload)
        subscription = await client.subscribe(f"{root}.>", last(2))
        found = found_in(await subscription.records(10))
        assert found == {topic: [b"2", b"3"] for topic in topics}


async def test_a_pattern_from_a_time(dial: Dialer, fresh) -> None:
    root = fresh("time")
    topics = [f"{root}.{number}" for number in range(3)]
    async with dial() as client:
        # The last of them is followed: the others' old records are not younger than its own.
        live = await client.subscribe(topics[-1], LATEST)
        await publish_each(client, topics, b"old")
        new = old = (await live.next_delivery()).time_ms
        while new <= old:  # the clock counts milliseconds
            await client.publish(topics[-1], Record(payload=b"new"))
            new = (await live.next_delivery()).time_ms
        await publish_each(client, topics[:-1], b"new")
        subscription = await client.subscribe(f"{root}.*", at_time(new))
        found = found_in(await subscription.records(3))
        assert found == {topic: [b"new"] for topic in topics}


async def test_resuming_from_positions_loses_and_repeats_nothing(dial: Dialer, fresh) -> None:
    root = fresh("positions")
    topics = [f"{root}.{number}" for number in range(12)]
    async with dial() as publisher:
        async with dial() as client:
            first = await client.subscribe(f"{root}.*", LATEST)
            shards = client.welcome.info["shards"]
            assert len(first.positions) == shards
            await publish_each(publisher, topics, b"1")
            assert found_in(await first.records(12)) == {topic: [b"1"] for topic in topics}
            held = first.resume_from()
        await publish_each(publisher, [*topics, f"{root}.new"], b"2")
        async with dial() as client:
            second = await client.subscribe(f"{root}.*", at_positions(held))
            assert second.reply.status == Resumed.COMPLETE
            await publish_each(publisher, topics, b"3")
            found = found_in(await second.records(25))
            expected = {topic: [b"2", b"3"] for topic in topics}
            assert found == {**expected, f"{root}.new": [b"2"]}
            assert await second.inbox.silent()


async def test_every_delivery_carries_a_position(dial: Dialer, fresh) -> None:
    """Resuming from the position of any delivery gives exactly what came after it."""
    root = fresh("each")
    async with dial() as client:
        live = await client.subscribe(f"{root}.>", LATEST)
        start = {shard: list(position) for shard, position in live.positions.items()}
        cuts = []
        for number in range(6):
            await client.publish(f"{root}.one", Record(payload=b"%d" % number))
            delivery = await live.next_delivery()
            assert delivery.position is not None
            cuts.append({**start, delivery.position.shard: list(delivery.position)})
        for number, cut in enumerate(cuts[:-1]):
            again = await client.subscribe(f"{root}.>", at_positions(list(cut.values())))
            found = await again.records(5 - number)
            assert [each.offset for each in found] == list(range(number + 1, 6))


async def test_a_shard_that_is_not_listed_starts_at_the_latest(dial: Dialer, fresh) -> None:
    root = fresh("unlisted")
    async with dial() as client:
        await client.publish(f"{root}.a", Record(payload=b"old"))
        subscription = await client.subscribe(f"{root}.*", at_positions([]))
        await client.publish(f"{root}.a", Record(payload=b"new"))
        assert found_in(await subscription.records(1)) == {f"{root}.a": [b"new"]}


async def test_an_offset_means_nothing_to_a_pattern(dial: Dialer, fresh) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.subscribe(f"{fresh('offset')}.*", at_offset(0, 0))
        assert refused.value.code == Code.INVALID_ARGUMENT


async def test_positions_mean_nothing_to_a_topic(dial: Dialer, fresh) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.subscribe(fresh("topic"), at_positions([]))
        assert refused.value.code == Code.INVALID_ARGUMENT


async def test_topics_of_a_pattern_in_parallel(dial: Dialer, fresh) -> None:
    """Many publishers on many topics: dense and without holes in each topic."""
    root = fresh("parallel")
    topics = [f"{root}.{number}" for number in range(10)]
    async with dial() as client, dial() as other:
        subscription = await client.subscribe(f"{root}.*", LATEST)

        async def fill(topic: str) -> None:
            for number in range(20):
                await other.publish(topic, Record(payload=b"%d" % number))

        await asyncio.gather(*map(fill, topics))
        found = found_in(await subscription.records(200))
        in_order = [b"%d" % number for number in range(20)]
        assert found == {topic: in_order for topic in topics}
