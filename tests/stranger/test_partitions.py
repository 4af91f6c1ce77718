"""Topics and tallies that are spread over partitions."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path

import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.client import EARLIEST, LATEST, at_offset, at_positions
from tidewire_stranger.codes import Code, Kind, Resumed, TallyOp
from tidewire_stranger.following import WAIT, Refused
from tidewire_stranger.records import Record, delivered

PARTITIONS = 8
VECTORS = Path(__file__).parents[2] / "protocol" / "vectors" / "names.json"


def partition_of(key: str, partitions: int) -> int:
    h = 0xCBF29CE484222325
    for byte in key.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return (h ^ (h >> 32)) % partitions


def test_the_partition_of_a_key() -> None:
    for case in json.loads(VECTORS.read_text())["partitions"]:
        assert partition_of(case["key"], case["partitions"]) == case["partition"], case


def keyed(number: int) -> Record:
    return Record(f"user {number % 50}", None, b"%d" % number)


class Follower:
    """Takes the records of a topic with partitions, by partition."""

    def __init__(self) -> None:
        self.by_partition: dict[int, list[bytes]] = defaultdict(list)

    async def take(self, subscription, count: int) -> None:
        async with asyncio.timeout(WAIT):
            while count > 0:
                delivery = await subscription.next_delivery()
                partition = delivery.position.shard
                assert delivery.position == (partition, delivery.epoch, delivery.next)
                for each in delivered(delivery):
                    assert partition_of(each.record.key, PARTITIONS) == partition
                    self.by_partition[partition].append(each.record.payload)
                    count -= 1
        assert count == 0


def expected(numbers: range) -> dict[int, list[bytes]]:
    by_partition = defaultdict(list)
    for record in map(keyed, numbers):
        by_partition[partition_of(record.key, PARTITIONS)].append(record.payload)
    return by_partition


async def test_a_subscription_gets_every_partition_in_order(dial_small: Dialer, fresh) -> None:
    topic = f"parted.{fresh('all')}"
    async with dial_small() as client, dial_small() as other:
        live = await other.subscribe(topic, LATEST)
        assert (live.reply.epoch, live.reply.offset) == (0, 0)
        assert [position.shard for position in live.reply.positions] == list(range(PARTITIONS))
        for first in range(0, 400, 20):
            reply = await client.publish(topic, *map(keyed, range(first, first + 20)))
            assert (reply.epoch, reply.offset) == (0, None)
            used = {partition_of(keyed(n).key, PARTITIONS) for n in range(first, first + 20)}
            assert {position.shard for position in reply.positions} == used
        follower, again = Follower(), Follower()
        await follower.take(live, 400)
        assert follower.by_partition == expected(range(400))
        await again.take(await client.subscribe(topic, EARLIEST), 400)
        assert again.by_partition == follower.by_partition
        info = (await client.get(Kind.TOPIC, topic)).value
        assert (info["first"], info["next"], info["partitions"]) == (0, 400, PARTITIONS)


async def test_resuming_in_each_partition(dial_small: Dialer, fresh) -> None:
    topic = f"parted.{fresh('resume')}"
    follower = Follower()
    async with dial_small() as client:
        async with dial_small() as other:
            first = await other.subscribe(topic, LATEST)
            await client.publish(topic, *map(keyed, range(100)))
            await follower.take(first, 100)
            held = first.resume_from()
        await client.publish(topic, *map(keyed, range(100, 300)))
        async with dial_small() as other:
            second = await other.subscribe(topic, at_positions(held))
            assert second.reply.status == Resumed.COMPLETE
            assert [list(position) for position in second.reply.positions] == sorted(held)
            await client.publish(topic, *map(keyed, range(300, 350)))
            await follower.take(second, 250)
        assert follower.by_partition == expected(range(350))


async def test_what_retention_took_from_a_partition_is_named(dial_small: Dialer, fresh) -> None:
    topic = f"parted.{fresh('gap')}"
    async with dial_small() as client:
        first = await client.subscribe(topic, LATEST)
        held = first.resume_from()
        await client.unsubscribe(first)
        busy = [Record("busy", None, b"%d" % number) for number in range(100)]
        for _ in range(60):
            await client.publish(topic, *busy)
        await client.publish(topic, Record("quiet one", None, b"x"))
        second = await client.subscribe(topic, at_positions(held))
        assert second.reply.status == Resumed.WITH_GAP
        started = {position.shard: position.sequence for position in second.reply.positions}
        partition = partition_of("busy", PARTITIONS)
        assert started[partition] >= 6000 - 2000 - 300  # whole batches leave
        assert all(offset == 0 for p, offset in started.items() if p != partition)


async def test_a_pattern_gets_every_partition(dial_small: Dialer, fresh) -> None:
    topic = f"parted.{fresh('pattern')}"
    async with dial_small() as client:
        subscription = await client.subscribe(f"{topic}.>", LATEST)
        await client.publish(f"{topic}.a", *map(keyed, range(200)))
        found = await subscription.records(200)
        assert {each.topic for each in found} == {f"{topic}.a"}
        payloads = {each.record.payload for each in found}
        assert payloads == {b"%d" % number for number in range(200)}
        held = subscription.resume_from()
        await client.publish(f"{topic}.a", *map(keyed, range(200, 220)))
        again = await client.subscribe(f"{topic}.>", at_positions(held))
        assert len(await again.records(20)) == 20


async def test_records_without_key(dial_small: Dialer, fresh) -> None:
    topic = f"parted.{fresh('keyless')}"
    async with dial_small() as client:
        replies = [await client.publish(topic, Record(), Record()) for _ in range(PARTITIONS)]
        places = [position for reply in replies for position in reply.positions]
        assert len(places) == PARTITIONS
        assert {position.shard for position in places} == set(range(PARTITIONS))


async def test_what_a_topic_with_partitions_does_not_do(dial_small: Dialer, fresh) -> None:
    topic = f"parted.{fresh('refused')}"
    async with dial_small() as client:
        for request, code in (
            (client.subscribe(topic, at_offset(0, 0)), Code.INVALID_ARGUMENT),
            (client.subscribe(topic, at_positions([[PARTITIONS, 1, 0]])), Code.OUT_OF_RANGE),
            (client.get(Kind.MAP, topic), Code.UNSUPPORTED),
            (client.watch(Kind.MAP, topic), Code.UNSUPPORTED),
            (client.get(Kind.TOPIC, topic), Code.NOT_FOUND),
        ):
            with pytest.raises(Refused) as refused:
                await request
            assert refused.value.code == code


VOTERS = 300


async def test_a_poll_over_partitions_is_exact(dial_small: Dialer, fresh) -> None:
    """One ballot per voter, changed or not; every watcher ends at the same, exact sum."""
    poll, plain = f"parted.{fresh('poll')}", fresh("poll")
    options = ["a", "b", "c"]
    async with dial_small() as client, dial_small() as other:
        await client.create_tally(poll, "ranked", options)
        await client.create_tally(plain, "ranked", options)
        watchers = [await each.watch(Kind.TALLY, poll) for each in (client, other)]
        assert watchers[0].reply.info["options"] == options

        async def cast(tally: str) -> list[f.Voted]:
            futures = []
            for turn in range(2):
                for voter in range(VOTERS):
                    choices = [(voter + turn * voter % 2) % 3, voter % 2]
                    vote = f.Vote(0, tally, f"voter {voter}", choices, turn + 1)
                    futures.append(await client.begin(vote))
            async with asyncio.timeout(WAIT):
                return await asyncio.gather(*futures)

        voted = await cast(poll)
        await cast(plain)
        assert {reply.partition for reply in voted} == set(range(PARTITIONS))
        final = (await client.get(Kind.TALLY, plain)).value
        whole = (await client.get(Kind.TALLY, poll)).value
        versions = whole.pop("partitions")
        assert whole == final and whole["ballots"] == VOTERS
        for reply in voted:  # whose vote was answered is in
            assert versions[reply.partition] >= reply.version
        for watcher in watchers:
            await watcher.until(lambda seen: seen.value and seen.value["partitions"] == versions)
            assert watcher.value["counts"] == final["counts"]
            seen = [update.version for update in watcher.updates]
            assert seen == sorted(set(seen))
        rounds = [(await client.get(Kind.ROUNDS, name)).value for name in (poll, plain)]
        assert rounds[0] == rounds[1]

        assert (await client.tally(TallyOp.CLOSE, poll))["state"] == "closed"
        refused = await asyncio.gather(
            *(client.vote(poll, f"late {number}", [0]) for number in range(40)),
            return_exceptions=True,
        )
        assert all(isinstance(each, Refused) for each in refused)
        assert {each.code for each in refused} == {Code.TALLY_CLOSED}
        await client.tally(TallyOp.DELETE, poll)
        for watcher in watchers:
            await watcher.until(lambda seen: seen.deleted)
