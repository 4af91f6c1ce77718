"""Credit, and falling off what is kept."""

import pytest

from conftest import Dialer
from tidewire_stranger.client import EARLIEST, LATEST, at_offset
from tidewire_stranger.codes import Code, GapReason, Resumed
from tidewire_stranger.following import Refused
from tidewire_stranger.frames import Credit, Deliver, Gap, Progress
from tidewire_stranger.records import Record

CONTINUE, JUMP, END = 0, 1, 2
PUBLISHED = 1000


async def publish_many(client, topic: str, count: int) -> int:
    """`count` records in bodies of ten: retention works on more than one of them."""
    for first in range(0, count, 10):
        body = [Record(payload=b"%d" % number) for number in range(first, first + 10)]
        reply = await client.publish(topic, *body)
    return reply.epoch


async def test_nothing_more_arrives_without_credit(dial: Dialer, fresh) -> None:
    topic = fresh("credit")
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST, credit=1)
        await client.publish(topic, Record(payload=b"first" * 20))
        first = await subscription.next_delivery()  # overdraws
        await client.publish(topic, Record(payload=b"second"))
        assert await subscription.inbox.silent()
        # The credit is 1 - len(body) now; so much more makes it 0, which is not positive.
        await client.credit(subscription, len(first.body) - 1)
        assert await subscription.inbox.silent()
        await client.credit(subscription, 1)
        assert (await subscription.next_delivery()).start == 1


async def test_no_credit_at_all(dial: Dialer, fresh) -> None:
    topic = fresh("credit")
    async with dial() as client:
        subscription = await client.subscribe(topic, LATEST, credit=0)
        await client.publish(topic, Record(payload=b"x"))
        assert await subscription.inbox.silent()
        await client.credit(subscription, 1_000_000)
        assert len(await subscription.records(1)) == 1


async def test_credit_is_each_subscriptions_own(dial: Dialer, fresh) -> None:
    topic = fresh("credit")
    async with dial() as client:
        held = await client.subscribe(topic, LATEST, credit=0)
        free = await client.subscribe(topic, LATEST)
        await client.publish(topic, *[Record(payload=b"x")] * 100)
        assert len(await free.records(100)) == 100
        assert await held.inbox.silent(0.1)


async def test_credit_for_nobody_is_ignored(dial: Dialer) -> None:
    async with dial() as client:
        await client.link.send(Credit(4_000_000, 10))
        await client.ping(1)
        assert client.errors.empty()


async def held_back(client, topic: str, on_gap: int):
    """A subscription that took record 0 and then fell off the 100 that are kept."""
    subscription = await client.subscribe(topic, LATEST, credit=1, on_gap=on_gap)
    await client.publish(topic, Record(payload=b"first"))
    assert (await subscription.next_delivery()).next == 1
    await publish_many(client, topic, PUBLISHED)
    await client.credit(subscription, 10_000_000)
    return subscription


async def test_a_gap_says_exactly_what_is_missing(dial_small: Dialer, fresh) -> None:
    async with dial_small() as client:
        subscription = await held_back(client, fresh("small"), CONTINUE)
        gap = await subscription.next()
        assert isinstance(gap, Gap)
        assert (gap.start, gap.reason) == (1, GapReason.RETENTION)
        assert 1 < gap.next < PUBLISHED
        # The range check of the subscription proves that delivery goes on at gap.next.
        found = await subscription.records(PUBLISHED + 1 - gap.next)
        assert [each.offset for each in found] == list(range(gap.next, PUBLISHED + 1))


async def test_jumping_to_the_newest(dial_small: Dialer, fresh) -> None:
    topic = fresh("small")
    async with dial_small() as client:
        subscription = await held_back(client, topic, JUMP)
        gap = await subscription.next()
        assert isinstance(gap, Gap) and (gap.start, gap.reason) == (1, GapReason.JUMPED)
        assert gap.next >= PUBLISHED
        await client.publish(topic, Record(payload=b"live"))
        while (delivery := await subscription.next_delivery()).next < PUBLISHED + 2:
            assert isinstance(delivery, Deliver)


async def test_ending_at_a_gap(dial_small: Dialer, fresh) -> None:
    topic = fresh("small")
    async with dial_small() as client:
        subscription = await held_back(client, topic, END)
        with pytest.raises(Refused) as refused:
            await subscription.next()
        assert refused.value.code == Code.TOO_SLOW
        assert refused.value.error.sub == subscription.sub
        await client.ping(1)  # the connection lives


async def test_resuming_where_nothing_is_kept(dial_small: Dialer, fresh) -> None:
    topic = fresh("small")
    async with dial_small() as client:
        epoch = await publish_many(client, topic, PUBLISHED)
        subscription = await client.subscribe(topic, at_offset(epoch, 5))
        reply = subscription.reply
        assert reply.status == Resumed.WITH_GAP and reply.missing is not None
        assert reply.missing.start == 5 and reply.missing.next == reply.offset
        found = await subscription.records(PUBLISHED - reply.offset)
        assert found[0].offset == reply.offset


async def test_the_earliest_is_the_oldest_that_is_kept(dial_small: Dialer, fresh) -> None:
    topic = fresh("small")
    async with dial_small() as client:
        await publish_many(client, topic, PUBLISHED)
        subscription = await client.subscribe(topic, EARLIEST)
        reply = subscription.reply
        assert reply.status == Resumed.FRESH and 0 < reply.offset <= PUBLISHED - 100
        assert len(await subscription.records(PUBLISHED - reply.offset)) <= 500


@pytest.mark.parametrize("on_gap", [JUMP, END])
async def test_a_pattern_that_falls_off_a_topic(dial_small: Dialer, fresh, on_gap: int) -> None:
    root = fresh("small")
    async with dial_small() as client:
        # Older batches of others in every shard: what falls off stands in the middle of a shard.
        for number in range(128):
            await client.publish(f"{root}.others.{number}", Record(payload=b"x"))
        subscription = await client.subscribe(f"{root}.*", LATEST, credit=1, on_gap=on_gap)
        await client.publish(f"{root}.a", Record(payload=b"first"))
        assert (await subscription.next_delivery()).next == 1
        await publish_many(client, f"{root}.a", PUBLISHED)
        await client.credit(subscription, 10_000_000)
        if on_gap == END:
            with pytest.raises(Refused) as refused:
                await next_gap(subscription)
            assert refused.value.code == Code.TOO_SLOW
            return
        assert (await next_gap(subscription)).reason == GapReason.JUMPED
        await client.publish(f"{root}.a", Record(payload=b"live"))
        assert (await subscription.next_delivery()).next == PUBLISHED + 2


async def next_gap(subscription) -> Gap:
    while isinstance(frame := await subscription.next(), Progress):
        pass
    assert isinstance(frame, Gap), frame
    return frame
