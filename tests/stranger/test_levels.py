"""How safe a publish is before it is acknowledged: what was asked for, or what the policy says."""

import pytest

from conftest import Dialer
from tidewire_stranger.client import LATEST
from tidewire_stranger.codes import Ack
from tidewire_stranger.records import Record


async def test_a_topic_in_memory_leaves_it_to_its_policy(dial: Dialer, fresh) -> None:
    async with dial() as client:
        reply = await client.publish(fresh("plain"), Record(), ack=Ack.POLICY)
        assert (reply.level, reply.offset) == (Ack.MEMORY, 0)


@pytest.mark.parametrize(
    ("topic", "ack", "level"),
    [
        ("safe", Ack.POLICY, Ack.DISK),
        ("safe", Ack.DISK, Ack.DISK),
        ("safe", Ack.MEMORY, Ack.MEMORY),
        ("quick", Ack.POLICY, Ack.MEMORY),
        ("quick", Ack.DISK, Ack.DISK),
    ],
)
async def test_a_topic_on_disk(dial_durable: Dialer, fresh, topic: str, ack: Ack, level: Ack) -> None:
    name = fresh(topic)
    async with dial_durable() as client:
        subscription = await client.subscribe(name, LATEST)
        for offset in range(3):
            reply = await client.publish(name, Record(payload=b"%d" % offset), ack=ack)
            assert reply.level == level
            # What is not committed yet has no certain place.
            assert reply.offset == (offset if level == Ack.DISK else None)
        found = await subscription.records(3)
        assert [each.record.payload for each in found] == [b"0", b"1", b"2"]


async def test_an_early_acknowledgement_of_a_repetition(dial_durable: Dialer, fresh) -> None:
    name = fresh("quick")
    async with dial_durable() as client:
        options = {"producer": (await client.producer())["producer"], "sequence": 1}
        first = await client.publish(name, Record(), ack=Ack.POLICY, options=options)
        again = await client.publish(name, Record(), ack=Ack.DISK, options=options)
        assert (first.offset, first.duplicate) == (None, None)
        assert (again.offset, again.duplicate) == (0, True)
