"""Topics that are deleted and truncated, where their policy allows it."""

import pytest

from conftest import Dialer
from tidewire_stranger.client import EARLIEST, LATEST
from tidewire_stranger.codes import Code, GroupOp, Kind, TopicOp
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record


async def refused_code(call) -> int:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value.code


async def filled(client, topic: str, count: int = 6) -> int:
    for number in range(count):
        reply = await client.publish(topic, Record(f"k{number}", None, b"%d" % number))
    return reply.epoch


async def test_a_deleted_topic_begins_anew(dial_small: Dialer, fresh) -> None:
    topic = fresh("removable")
    async with dial_small() as client:
        epoch = await filled(client, topic)
        await client.group(GroupOp.CREATE, topic, "workers")
        info = await client.topic(TopicOp.DELETE, topic)
        assert (info["first"], info["next"]) == (0, 6)
        assert await refused_code(client.get(Kind.TOPIC, topic)) == Code.NOT_FOUND
        status = client.group(GroupOp.STATUS, topic, "workers")
        assert await refused_code(status) == Code.NOT_FOUND
        assert await refused_code(client.topic(TopicOp.DELETE, topic)) == Code.NOT_FOUND
        reply = await client.publish(topic, Record())
        assert reply.offset == 0 and reply.epoch > epoch


async def test_a_topic_that_is_followed_stays_without_records(dial_small: Dialer, fresh) -> None:
    topic = fresh("removable")
    async with dial_small() as client, dial_small() as other:
        follower = await other.subscribe(topic, LATEST)
        board = await other.watch(Kind.MAP, topic)
        epoch = await filled(client, topic)
        await follower.records(6)
        await board.until(lambda watch: len(watch.entries) == 6)
        await client.topic(TopicOp.DELETE, topic)
        await board.until(lambda watch: not watch.entries)
        assert not (await client.get(Kind.MAP, topic)).value
        reply = await client.publish(topic, Record(payload=b"next"))
        assert (reply.epoch, reply.offset) == (epoch, 6)
        assert (await follower.records(1))[0].offset == 6


async def test_what_is_truncated_is_a_gap_for_who_resumes(dial_small: Dialer, fresh) -> None:
    topic = fresh("removable")
    async with dial_small() as client:
        epoch = await filled(client, topic)
        info = await client.topic(TopicOp.TRUNCATE, topic, before_offset=4)
        assert (info["first"], info["next"]) == (4, 6)
        again = await client.subscribe(topic, [2, epoch, 1])
        assert again.reply.missing == (1, 4)
        assert [each.offset for each in await again.records(2)] == [4, 5]
        assert len((await client.get(Kind.MAP, topic)).value) == 6, "the map stays"
        info = await client.topic(TopicOp.TRUNCATE, topic, before_time_ms=2**52)
        assert (info["first"], info["next"]) == (6, 6)


async def test_what_is_refused(dial_small: Dialer, fresh) -> None:
    topic, kept = fresh("removable"), fresh("kept")
    async with dial_small() as client:
        await filled(client, topic)
        await filled(client, kept)
        for op, options, code in [
            (TopicOp.TRUNCATE, {"before_offset": 7}, Code.OUT_OF_RANGE),
            (TopicOp.TRUNCATE, {}, Code.INVALID_ARGUMENT),
            (TopicOp.TRUNCATE, {"before_offset": 1, "before_time_ms": 1}, Code.INVALID_ARGUMENT),
        ]:
            assert await refused_code(client.topic(op, topic, **options)) == code
        assert await refused_code(client.topic(TopicOp.DELETE, kept)) == Code.FORBIDDEN
        assert await refused_code(client.topic(TopicOp.DELETE, "$system")) == Code.FORBIDDEN
        subscription = await client.subscribe(topic, EARLIEST)
        assert len(await subscription.records(6)) == 6
