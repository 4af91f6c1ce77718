"""Publishing, and every place where a subscription to one topic can start."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.client import EARLIEST, LATEST, at_offset, at_time, last
from tidewire_stranger.codes import Ack, Code, Kind, Resumed
from tidewire_stranger.following import WAIT, Refused
from tidewire_stranger.records import Record, delivered


def numbered(count: int, first: int = 0) -> list[Record]:
    return [Record(payload=b"%d" % number) for number in range(first, first + count)]


def payloads(found) -> list[bytes]:
    return [each.record.payload for each in found]


async def filled(client, topic: str, count: int = 10) -> int:
    """A topic with `count` records, one in each body. Returns its epoch."""
    for record in numbered(count):
        reply = await client.publish(topic, record)
    return reply.epoch


async def test_publish_is_acknowledged_with_dense_offsets(dial: Dialer, fresh) -> None:
    topic = fresh("dense")
    async with dial() as client:
        expected = 0
        for size in (1, 3, 1, 10):
            reply = await client.publish(topic, *numbered(size))
            assert (reply.offset, reply.level) == (expected, Ack.MEMORY)
            assert reply.epoch > 0
            expected += size
        value = (await client.get(Kind.TOPIC, topic)).value
        assert (value["first"], value["next"]) == (0, 15)


async def test_published_records_arrive_unchanged(dial: Dialer, fresh) -> None:
    topic = fresh("whole")
    sent = [
        Record("k", {"color": "red", "ä": ""}, b"\x00\xff"),
        Record(None, None, b""),
        Record("tomb", None, None),
        Record(None, {}, b"x" * 100_000),
    ]
    async with dial() as client, dial() as other:
        subscription = await client.subscribe(topic, LATEST)
        await other.publish(topic, *sent)
        found = await subscription.records(len(sent))
        assert [each.record for each in found] == sent
        assert [each.offset for each in found] == [0, 1, 2, 3]


async def test_latest_skips_what_was_there(dial: Dialer, fresh) -> None:
    topic = fresh("latest")
    async with dial() as client:
        epoch = await filled(client, topic)
        subscription = await client.subscribe(topic, LATEST)
        reply = subscription.reply
        assert (reply.status, reply.epoch, reply.offset) == (Resumed.FRESH, epoch, 10)
        await client.publish(topic, *numbered(2, 10))
        assert payloads(await subscription.records(2)) == [b"10", b"11"]


@pytest.mark.parametrize(
    ("start", "first"),
    [(EARLIEST, 0), (last(3), 7), (last(10), 0), (last(1000), 0), (at_offset(0, 4), 4)],
    ids=["earliest", "last 3", "last 10", "last 1000", "offset"],
)
async def test_history_then_live(dial: Dialer, fresh, start, first: int) -> None:
    topic = fresh("history")
    async with dial() as client:
        await filled(client, topic)
        subscription = await client.subscribe(topic, start)
        assert subscription.reply.offset == first
        await client.publish(topic, *numbered(5, 10))
        found = await subscription.records(15 - first)
        assert [each.offset for each in found] == list(range(first, 15))
        assert payloads(found) == [b"%d" % number for number in range(first, 15)]


async def test_start_at_a_time(dial: Dialer, fresh) -> None:
    """The append times come from DELIVER itself, so that no clocks are compared."""
    topic = fresh("time")
    async with dial() as client:
        live = await client.subscribe(topic, LATEST)
        times: list[int] = []
        # The clock counts milliseconds: publish until three of them have been seen.
        while len(set(times)) < 3:
            await client.publish(topic, Record(payload=b"tick"))
            times.append((await live.next_delivery()).time_ms)
        assert times == sorted(times)
        middle = sorted(set(times))[1]
        first = next(index for index, time in enumerate(times) if time >= middle)
        subscription = await client.subscribe(topic, at_time(middle))
        assert subscription.reply.offset == first
        found = await subscription.records(len(times) - first)
        assert found[0].offset == first
        future = await client.subscribe(topic, at_time(times[-1] + 3_600_000))
        assert future.reply.offset == len(times)


async def test_resuming_by_epoch_and_offset(dial: Dialer, fresh) -> None:
    topic = fresh("resume")
    async with dial() as client:
        epoch = await filled(client, topic)
        subscription = await client.subscribe(topic, at_offset(epoch, 6))
        reply = subscription.reply
        assert (reply.status, reply.epoch, reply.offset) == (Resumed.COMPLETE, epoch, 6)
        assert payloads(await subscription.records(4)) == [b"6", b"7", b"8", b"9"]
        at_end = await client.subscribe(topic, at_offset(epoch, 10))
        assert (at_end.reply.status, at_end.reply.offset) == (Resumed.COMPLETE, 10)


async def test_an_offset_beyond_the_end_is_refused(dial: Dialer, fresh) -> None:
    topic = fresh("beyond")
    async with dial() as client:
        epoch = await filled(client, topic)
        with pytest.raises(Refused) as refused:
            await client.subscribe(topic, at_offset(epoch, 11))
        assert refused.value.code == Code.OUT_OF_RANGE


async def test_another_epoch_starts_at_the_oldest(dial: Dialer, fresh) -> None:
    topic = fresh("epoch")
    async with dial() as client:
        epoch = await filled(client, topic)
        subscription = await client.subscribe(topic, at_offset(epoch - 1, 1_000_000))
        reply = subscription.reply
        assert (reply.status, reply.epoch, reply.offset) == (Resumed.OTHER_EPOCH, epoch, 0)
        assert len(await subscription.records(10)) == 10


async def test_a_topic_that_does_not_exist_yet(dial: Dialer, fresh) -> None:
    topic = fresh("unborn")
    async with dial() as client, dial() as other:
        subscription = await client.subscribe(topic, LATEST)
        assert subscription.reply.offset == 0
        reply = await other.publish(topic, *numbered(3))
        found = await subscription.records(3)
        assert {each.epoch for each in found} == {reply.epoch}


async def test_without_ack_only_a_refusal_is_answered(dial: Dialer, fresh) -> None:
    topic = fresh("silent")
    body = b"\x93\xc0\xc0\xc4\x01x"
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST)
        accepted = await client.begin(f.Publish(0, topic, Ack.NONE, body))
        refused = await client.begin(f.Publish(0, "no name", Ack.NONE, body))
        async with asyncio.timeout(WAIT):
            with pytest.raises(Refused):
                await refused
        assert payloads(await subscription.records(1)) == [b"x"]
        await client.ping(1)
        assert not accepted.done()


async def test_a_level_that_is_not_offered(dial: Dialer, fresh) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.publish(fresh("quorum"), Record(), ack=Ack.QUORUM)
        assert refused.value.code == Code.ACK_UNSUPPORTED


async def test_unsubscribe(dial: Dialer, fresh) -> None:
    topic = fresh("leave")
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST)
        await client.publish(topic, Record(payload=b"1"))
        await subscription.records(1)
        await client.unsubscribe(subscription)
        await client.publish(topic, Record(payload=b"2"))
        await client.ping(1)
        assert await subscription.inbox.silent()
        with pytest.raises(Refused) as refused:
            await client.unsubscribe(subscription)
        assert refused.value.code == Code.SUBSCRIPTION_UNKNOWN


async def test_a_subscription_id_is_used_once(dial: Dialer, fresh) -> None:
    topic = fresh("twice")
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST)
        with pytest.raises(Refused) as refused:
            await client.call(f.Subscribe(0, subscription.sub, topic, LATEST))
        assert refused.value.code == Code.SUBSCRIPTION_EXISTS
        with pytest.raises(Refused) as refused:
            await client.call(f.Watch(0, subscription.sub, Kind.COUNTER, topic))
        assert refused.value.code == Code.SUBSCRIPTION_EXISTS
        await client.publish(topic, Record(payload=b"1"))
        assert len(await subscription.records(1)) == 1


async def test_many_publishers_one_order(dial: Dialer, fresh) -> None:
    """Two subscribers see the same records at the same offsets, without holes."""
    topic = fresh("busy")
    async with dial() as one, dial() as other:
        left = await one.subscribe(topic, LATEST)
        right = await other.subscribe(topic, LATEST)
        body = b"".join(b"\x93\xc0\xc0\xc4\x01" + bytes([n]) for n in range(5))
        futures = [
            await client.begin(f.Publish(0, topic, Ack.MEMORY, body))
            for _ in range(50)
            for client in (one, other)
        ]
        async with asyncio.timeout(WAIT):
            offsets = sorted(reply.offset for reply in await asyncio.gather(*futures))
        assert offsets == list(range(0, 500, 5))
        seen = await left.records(500)
        assert [each.offset for each in seen] == list(range(500))
        assert seen == await right.records(500)


async def test_subscriptions_have_streams_of_their_own(dial_quic: Dialer, fresh) -> None:
    topic = fresh("streams")
    async with dial_quic.bare() as link:
        await link.send(f.Hello(1, []), f.Subscribe(1, 7, topic, LATEST))
        async with asyncio.timeout(WAIT):
            assert isinstance(await link.receive(), f.Welcome)
            assert isinstance(await link.receive(), f.Subscribed)
            stream = link.last_stream
            assert stream % 4 == 3, "unidirectional, opened by the server"
            await link.send(f.Publish(0, topic, Ack.MEMORY, b"\x93\xc0\xc0\xc4\x01x"))
            assert isinstance(await link.receive(), f.Deliver) and link.last_stream == stream
            await link.send(f.Unsubscribe(2, 7))
            assert await link.receive() == f.Ok(2)
            while stream not in link.connection.finished_streams:
                await link.connection.ping()


async def test_a_client_without_room_for_streams(dial_quic: Dialer, fresh) -> None:
    topic = fresh("roomless")
    async with dial_quic(server_streams=False) as client:
        subscription = await client.subscribe(topic, LATEST)
        assert client.link.last_stream == client.link.control
        await client.publish(topic, Record(payload=b"x"))
        assert len(delivered(await subscription.next_delivery())) == 1
        assert client.link.last_stream == client.link.control
