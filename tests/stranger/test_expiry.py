"""Topics that are removed when they are idle, and made again."""

import asyncio

from conftest import Dialer
from tidewire_stranger.client import LATEST, at_offset
from tidewire_stranger.codes import Code, Kind, Resumed
from tidewire_stranger.following import WAIT, Refused
from tidewire_stranger.records import Record


async def gone(client, topic: str) -> None:
    """Asks until the topic is not there any more."""
    async with asyncio.timeout(WAIT):
        while True:
            try:
                await client.get(Kind.TOPIC, topic)
            except Refused as refused:
                assert refused.code == Code.NOT_FOUND
                return
            await asyncio.sleep(0.02)


async def test_a_topic_that_was_removed_and_made_again_has_another_epoch(
    dial_small: Dialer, fresh
) -> None:
    topic = f"brief.{fresh('idle')}"
    async with dial_small() as client:
        first = await client.publish(topic, Record(payload=b"1"), Record(payload=b"2"))
        await gone(client, topic)
        again = await client.publish(topic, Record(payload=b"3"))
        assert again.epoch > first.epoch and again.offset == 0
        resumed = await client.subscribe(topic, at_offset(first.epoch, 1))
        reply = resumed.reply
        assert (reply.status, reply.epoch, reply.offset) == (Resumed.OTHER_EPOCH, again.epoch, 0)
        assert [each.record.payload for each in await resumed.records(1)] == [b"3"]


async def test_a_subscriber_keeps_its_topic_and_a_pattern_does_not(
    dial_small: Dialer, fresh
) -> None:
    kept, left = (f"brief.{fresh('kept')}" for _ in range(2))
    async with dial_small() as client, dial_small() as other:
        for topic in (kept, left):
            await client.publish(topic, Record(payload=b"1"))
        by_name = await other.subscribe(kept, LATEST)
        by_pattern = await other.subscribe("brief.>", LATEST)
        await gone(client, left)
        await client.publish(kept, Record(payload=b"2"))
        assert [each.offset for each in await by_name.records(1)] == [1]
        again = await client.publish(left, Record(payload=b"2"))
        while (delivery := await by_pattern.next_delivery()).topic != left:
            pass
        assert (delivery.epoch, delivery.start) == (again.epoch, 0)
