"""Consumer groups: a topic's records shared among workers, each until one has done it."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.client import EARLIEST
from tidewire_stranger.codes import Code, GroupOp, SettleOp
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record

GROUP = "workers"


def numbered(count: int, key: str | None = None) -> list[Record]:
    return [Record(key, None, b"%d" % number) for number in range(count)]


async def refused_code(call) -> int:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value.code


async def prepared(client, topic: str, count: int, **rules) -> None:
    await client.group(GroupOp.CREATE, topic, GROUP, **rules)
    await client.publish(topic, *numbered(count))


async def status(client, topic: str) -> dict:
    return await client.group(GroupOp.STATUS, topic, GROUP)


async def test_records_are_shared_and_done_once(dial: Dialer, fresh) -> None:
    topic = fresh("shared")
    async with dial() as client, dial() as other:
        await prepared(client, topic, 100)
        consumers = [(each, await each.consume(topic, GROUP, in_flight=5)) for each in (client, other)]
        done: list[list[int]] = [[], []]

        async def work(number: int) -> None:
            each, consumer = consumers[number]
            while len(done[0]) + len(done[1]) < 100:
                try:
                    job = await consumer.job(0.5)
                except TimeoutError:
                    return
                assert job.record.payload == b"%d" % job.offset and job.times == 1
                assert await each.settle(consumer, SettleOp.ACK, job.offset) == 1
                done[number].append(job.offset)

        await asyncio.gather(work(0), work(1))
        assert sorted(done[0] + done[1]) == list(range(100))
        assert done[0] and done[1]
        state = await status(client, topic)
        assert (state["position"], state["lag"], state["consumers"]) == (100, 0, 2)


async def test_a_consumer_has_only_so_many_at_once(dial: Dialer, fresh) -> None:
    topic = fresh("window")
    async with dial() as client:
        await prepared(client, topic, 10)
        consumer = await client.consume(topic, GROUP, in_flight=3)
        first = await consumer.jobs(3)
        assert await consumer.idle()
        assert (await status(client, topic))["leased"] == 3
        assert await client.settle(consumer, SettleOp.ACK, *(job.offset for job in first)) == 3
        assert [job.offset for job in await consumer.jobs(3)] == [3, 4, 5]


async def test_what_is_not_acknowledged_goes_to_another(dial: Dialer, fresh) -> None:
    topic = fresh("timeout")
    async with dial() as client, dial() as other:
        await prepared(client, topic, 1, ack_timeout_ms=300)
        slow = await client.consume(topic, GROUP)
        await slow.job()
        assert await client.settle(slow, SettleOp.EXTEND, 0) == 1
        quick = await other.consume(topic, GROUP)
        await client.unsubscribe(slow)
        job = await quick.job()
        assert (job.offset, job.times) == (0, 2)
        assert await quick.idle(), "its time is over, and it has said nothing"
        third = await client.consume(topic, GROUP)
        assert (await third.job()).times == 3
        assert await other.settle(quick, SettleOp.ACK, 0) == 0, "the third one has it"
        assert await client.settle(third, SettleOp.ACK, 0) == 1
        await other.publish(topic, Record())
        assert (await quick.job()).offset == 1


async def test_who_leaves_without_a_word_gives_everything_back(dial: Dialer, fresh) -> None:
    topic = fresh("gone")
    async with dial() as client:
        await prepared(client, topic, 2)
        async with dial() as other:
            lost = await other.consume(topic, GROUP)
            await lost.jobs(2)
        consumer = await client.consume(topic, GROUP)
        assert [job.times for job in await consumer.jobs(2)] == [2, 2]


async def test_a_refused_record_comes_again_after_a_pause(dial: Dialer, fresh) -> None:
    topic = fresh("nack")
    async with dial() as client:
        await prepared(client, topic, 1, backoff_ms=50)
        consumer = await client.consume(topic, GROUP)
        for times in range(1, 4):
            job = await consumer.job()
            assert job.times == times
            assert await client.settle(consumer, SettleOp.NACK, 0, reason="busy") == 1
        assert (await status(client, topic))["redelivered"] >= 2


@pytest.mark.parametrize("way", ["deliveries", "rejected"])
async def test_dead_letters(dial: Dialer, fresh, way: str) -> None:
    topic, dead = fresh("jobs"), fresh("dead")
    async with dial() as client:
        rules = {"dead_letter": dead, "deliveries_max": 2, "backoff_ms": 10}
        await client.group(GroupOp.CREATE, topic, GROUP, **rules)
        await client.publish(topic, Record("k", {"kind": "mail"}, b"broken"))
        consumer = await client.consume(topic, GROUP)
        if way == "rejected":
            await consumer.job()
            assert await client.settle(consumer, SettleOp.REJECT, 0, reason="no address") == 1
        else:
            for _ in range(2):
                await consumer.job()
                await client.settle(consumer, SettleOp.NACK, 0, reason="no address")
        letters = await client.subscribe(dead, EARLIEST)
        letter = (await letters.records(1))[0].record
        assert (letter.key, letter.payload) == ("k", b"broken")
        assert letter.headers == {
            "dead-topic": topic,
            "dead-group": GROUP,
            "dead-offset": "0",
            "dead-deliveries": "1" if way == "rejected" else "2",
            "dead-reason": "no address",
            "kind": "mail",
        }
        for _ in range(100):
            state = await status(client, topic)
            if state["dead"] == 1:
                break
            await asyncio.sleep(0.02)
        assert (state["dead"], state["lag"]) == (1, 0)


async def test_one_record_of_a_key_at_a_time(dial: Dialer, fresh) -> None:
    topic = fresh("ordered")
    async with dial() as client, dial() as other:
        await client.group(GroupOp.CREATE, topic, GROUP, ordered=True)
        keys = ["a", "b", "a", "a", "b", "c"]
        await client.publish(topic, *(Record(key, None, b"x") for key in keys))
        one, two = await client.consume(topic, GROUP), await other.consume(topic, GROUP)
        first = {job.record.key: job for job in await one.jobs(3)}
        assert set(first) == {"a", "b", "c"}
        assert await two.idle()
        await other.unsubscribe(two)
        await client.settle(one, SettleOp.ACK, first["a"].offset)
        job = await one.job()
        assert (job.offset, job.record.key) == (2, "a")
        assert await client.settle(one, SettleOp.NACK, 2, delay_ms=10) == 1
        await client.settle(one, SettleOp.ACK, first["c"].offset)
        assert (await one.job()).offset == 2, "offset 3 waits for it"


async def test_a_group_begins_where_it_is_told_and_anew(dial: Dialer, fresh) -> None:
    topic = fresh("reset")
    async with dial() as client:
        await client.publish(topic, *numbered(10))
        made = await client.group(GroupOp.CREATE, topic, GROUP, start=[4, 3])
        assert made["created"] and made["position"] == 7
        again = await client.group(GroupOp.CREATE, topic, GROUP, start=[1])
        assert not again["created"] and again["position"] == 7
        other = client.group(GroupOp.CREATE, topic, GROUP, ordered=True)
        assert await refused_code(other) == Code.ALREADY_EXISTS
        consumer = await client.consume(topic, GROUP)
        assert [job.offset for job in await consumer.jobs(3)] == [7, 8, 9]
        await client.group(GroupOp.RESET, topic, GROUP, start=[2, 0, 1])
        assert (await consumer.job()).offset == 1
        beyond = client.group(GroupOp.RESET, topic, GROUP, start=[2, 0, 11])
        assert await refused_code(beyond) == Code.OUT_OF_RANGE
        await client.group(GroupOp.DELETE, topic, GROUP)
        assert await refused_code(status(client, topic)) == Code.NOT_FOUND
        with pytest.raises(Refused) as ended:
            while True:
                await consumer.job()
        assert ended.value.code == Code.NOT_FOUND
        settle = client.settle(consumer, SettleOp.ACK, 1)
        assert await refused_code(settle) == Code.SUBSCRIPTION_UNKNOWN


async def test_a_group_of_a_topic_with_partitions(dial_small: Dialer, fresh) -> None:
    topic = fresh("parted")
    async with dial_small() as client:
        await client.group(GroupOp.CREATE, topic, GROUP)
        sent = [Record(f"key {number}", None, b"x") for number in range(40)]
        await client.publish(topic, *sent)
        consumer = await client.consume(topic, GROUP, in_flight=80)
        jobs = await consumer.jobs(40)
        assert len({job.partition for job in jobs}) > 1
        assert sorted(job.record.key for job in jobs) == sorted(r.key for r in sent)
        for job in jobs:
            done = await client.settle(
                consumer, SettleOp.ACK, job.offset, partition=job.partition
            )
            assert done == 1
        state = await status(client, topic)
        assert (state["lag"], state["consumers"], state["partitions"]) == (0, 1, 8)
        overlapping = client.call(f.Settle(0, consumer.sub, SettleOp.ACK, [f.Range(0, 5), f.Range(4, 6)]))
        assert await refused_code(overlapping) == Code.INVALID_ARGUMENT
        offset = client.group(GroupOp.RESET, topic, GROUP, start=[2, 0, 0])
        assert await refused_code(offset) == Code.INVALID_ARGUMENT
        no_partition = client.settle(consumer, SettleOp.ACK, 0)
        assert await refused_code(no_partition) == Code.INVALID_ARGUMENT
        await client.unsubscribe(consumer)
        assert (await status(client, topic))["consumers"] == 0


@pytest.mark.parametrize(
    "rules",
    [
        {"deliveries_max": 3},
        {"ack_timeout_ms": 1},
        {"ack_timeout_ms": 2**40},
        {"start": [9]},
        {"start": [2, 1]},
        {"start": []},
        {"deliveries_max": 2**32, "dead_letter": "dead"},
        {"backoff_ms": 2**40},
    ],
)
async def test_rules_that_cannot_be(dial: Dialer, fresh, rules: dict) -> None:
    async with dial() as client:
        call = client.group(GroupOp.CREATE, fresh("rules"), GROUP, **rules)
        assert await refused_code(call) == Code.INVALID_ARGUMENT


async def test_what_cannot_be_consumed_or_settled(dial: Dialer, fresh) -> None:
    topic = fresh("nothing")
    async with dial() as client:
        assert await refused_code(client.consume(topic, GROUP)) == Code.NOT_FOUND
        system = client.group(GroupOp.CREATE, "$system", GROUP)
        assert await refused_code(system) == Code.FORBIDDEN
        await client.group(GroupOp.CREATE, topic, GROUP)
        for in_flight in (0, 2**32):
            call = client.consume(topic, GROUP, in_flight=in_flight)
            assert await refused_code(call) == Code.INVALID_ARGUMENT
        consumer = await client.consume(topic, GROUP)
        assert await client.settle(consumer, SettleOp.ACK, 5) == 0
        assert await refused_code(client.settle(consumer, SettleOp.REJECT, 5)) == Code.INVALID_ARGUMENT
        await client.unsubscribe(consumer)
        again = client.settle(consumer, SettleOp.ACK, 5)
        assert await refused_code(again) == Code.SUBSCRIPTION_UNKNOWN


async def test_large_records_come_in_frames_of_their_own(dial: Dialer, fresh) -> None:
    topic = fresh("large")
    async with dial() as client:
        await client.group(GroupOp.CREATE, topic, GROUP)
        for size in (300_000, 300_000, 300_000, 300_000, 1_000_000):
            await client.publish(topic, Record(payload=b"x" * size))
        consumer = await client.consume(topic, GROUP)
        sizes = []
        for _ in range(5):
            job = await consumer.job()
            sizes.append(len(job.record.payload))
            await client.settle(consumer, SettleOp.ACK, job.offset)
        assert sizes == [300_000] * 4 + [1_000_000]
