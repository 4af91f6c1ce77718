"""Publishes that are repeated, and publishes on a condition."""

import pytest

from conftest import Dialer
from tidewire_stranger.client import EARLIEST
from tidewire_stranger.codes import Code
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record


def step(producer: int, sequence: int) -> dict[str, int]:
    return {"producer": producer, "sequence": sequence}


async def refused(call) -> Refused:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value


async def payloads(client, topic: str, count: int) -> list[bytes]:
    subscription = await client.subscribe(topic, EARLIEST)
    return [each.record.payload for each in await subscription.records(count)]


async def test_producers_are_issued_once(dial: Dialer) -> None:
    async with dial() as client, dial() as other:
        issued = [(await each.producer()) for each in (client, other, client, other)]
    assert len({each["producer"] for each in issued}) == 4
    assert all(each["window"] >= 1 and each["idle_ms"] >= 1 for each in issued)


async def test_a_repeated_publish_is_appended_once(dial: Dialer, fresh) -> None:
    topic = fresh("once")
    async with dial() as client, dial() as other:
        producer = (await client.producer())["producer"]
        first = await client.publish(topic, Record(payload=b"a"), options=step(producer, 1))
        # Over another connection, as after a cut, and with another number in between.
        await client.publish(topic, Record(payload=b"b"), options=step(producer, 5))
        again = await other.publish(topic, Record(payload=b"a"), options=step(producer, 1))
        assert (again.epoch, again.offset) == (first.epoch, first.offset)
        assert again.duplicate and not first.duplicate
        late = await client.publish(topic, Record(payload=b"c"), options=step(producer, 3))
        assert (late.offset, late.duplicate) == (2, None)
        assert await payloads(client, topic, 3) == [b"a", b"b", b"c"]


async def test_a_repeated_publish_to_partitions(dial_small: Dialer, fresh) -> None:
    topic = fresh("parted")
    records = [Record(key, None, b"x") for key in ("a", "b", "c", None, None)]
    async with dial_small() as client:
        producer = (await client.producer())["producer"]
        first = await client.publish(topic, *records, options=step(producer, 1))
        again = await client.publish(topic, *records, options=step(producer, 1))
        assert len(first.positions) > 1 and again.positions == first.positions
        assert again.duplicate and not first.duplicate


async def test_a_sequence_that_is_not_remembered(dial: Dialer, fresh) -> None:
    topic = fresh("window")
    async with dial() as client:
        issued = await client.producer()
        producer, window = issued["producer"], issued["window"]
        for sequence in range(1, window + 2):
            await client.publish(topic, Record(), options=step(producer, sequence))
        problem = await refused(client.publish(topic, Record(), options=step(producer, 1)))
        assert (problem.code, problem.error.actual) == (Code.SEQUENCE_TOO_OLD, 2)
        second = await client.publish(topic, Record(), options=step(producer, 2))
        assert (second.offset, second.duplicate) == (1, True)


@pytest.mark.parametrize("producer", [0, 1, 2**52, 2**64 - 1])
async def test_a_producer_that_was_not_issued_here(dial: Dialer, fresh, producer: int) -> None:
    async with dial() as client:
        problem = await refused(client.publish(fresh("x"), Record(), options=step(producer, 1)))
        assert problem.code == Code.PRODUCER_UNKNOWN


@pytest.mark.parametrize(
    "options",
    [{"producer": 1}, {"sequence": 1}, {"producer": 1, "sequence": 0}, {"expected_key": "k"}],
)
async def test_options_that_say_nothing(dial: Dialer, fresh, options: dict) -> None:
    async with dial() as client:
        problem = await refused(client.publish(fresh("x"), Record(), options=options))
        assert problem.code == Code.INVALID_ARGUMENT


async def test_an_expected_offset(dial: Dialer, fresh) -> None:
    topic = fresh("expected")
    async with dial() as client:
        first = await client.publish(topic, Record(), options={"expected_offset": 0})
        assert first.offset == 0
        for offset in (0, 2):
            options = {"expected_offset": offset}
            problem = await refused(client.publish(topic, Record(), options=options))
            assert (problem.code, problem.error.actual) == (Code.CONFLICT, 1)
        second = await client.publish(topic, Record(), options={"expected_offset": 1})
        assert second.offset == 1


async def test_a_condition_does_not_hinder_a_repetition(dial: Dialer, fresh) -> None:
    topic = fresh("both")
    async with dial() as client:
        options = step((await client.producer())["producer"], 1) | {"expected_offset": 0}
        await client.publish(topic, Record(), options=options)
        again = await client.publish(topic, Record(), options=options)
        assert (again.offset, again.duplicate) == (0, True)


@pytest.mark.parametrize("prefix", ["keyed", "parted"])
async def test_an_expected_offset_of_a_key(dial_small: Dialer, fresh, prefix: str) -> None:
    topic = fresh(prefix)

    async def append(client, key: str, expected: int):
        options = {"expected_offset": expected, "expected_key": key}
        reply = await client.publish(topic, Record(key, None, b"x"), options=options)
        return reply.offset if reply.positions is None else reply.positions[0].sequence

    async with dial_small() as client:
        first = await append(client, "ann", 0)
        # Whoever has read as far as there may go on; records of other keys are no matter.
        await client.publish(topic, Record("bob", None, b"y"))
        second = await append(client, "ann", first + 1)
        problem = await refused(append(client, "ann", first + 1))
        assert (problem.code, problem.error.actual) == (Code.CONFLICT, second + 1)
        assert await append(client, "ann", second + 1) > second


async def test_a_topic_with_partitions_has_no_offset_to_expect(dial_small: Dialer, fresh) -> None:
    async with dial_small() as client:
        options = {"expected_offset": 0}
        problem = await refused(client.publish(fresh("parted"), Record(), options=options))
        assert problem.code == Code.UNSUPPORTED
        options = {"expected_offset": 0, "expected_key": "a"}
        records = [Record(key, None, b"") for key in "abcdefgh"]
        problem = await refused(client.publish(fresh("parted"), *records, options=options))
        assert problem.code == Code.INVALID_ARGUMENT
