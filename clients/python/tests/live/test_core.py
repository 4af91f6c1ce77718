"""What every transport carries: topics, counters, tallies, watches, presence, groups."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import tidewire
from tidewire import AtOffset, Gap, NewRecord, Record

Fresh = Callable[[str], str]


@pytest.fixture(params=["ws", "wss", "quic"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def taken(records: Any, count: int) -> list[Record]:
    found: list[Record] = []
    async with asyncio.timeout(30):
        async for event in records:
            assert isinstance(event, Record), event
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("the subscription has ended")


async def until(watch: Any, wanted: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(30):
        async for value in watch:
            if wanted(value):
                return value
    raise AssertionError("the watch has ended")


async def test_a_record_reaches_who_subscribes(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("news"))
        async with topic.subscribe() as records:
            first = await topic.publish("hello", key="k", headers={"kind": "greeting"})
            await topic.publish({"n": [1, None]})
            await topic.publish(b"\x00\xff")
            await topic.publish(None, key="k")
            text, json, raw, gone = await taken(records, 4)
            assert (text.text, text.key, text.headers) == ("hello", "k", {"kind": "greeting"})
            assert (text.offset, text.epoch, text.topic) == (first.offset, first.epoch, topic.name)
            assert json.json() == {"n": [1, None]}
            assert raw.payload == b"\x00\xff"
            assert gone.is_tombstone
            assert records.position == AtOffset(4, first.epoch)


async def test_records_that_go_together_have_offsets_in_a_row(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("news"))
        many = await topic.publish_many([NewRecord(n) for n in range(2500)])
        assert many.offset == 0
        async with topic.subscribe("earliest", window_bytes=1000) as records:
            found = await taken(records, 2500)
        assert [record.offset for record in found] == list(range(2500))
        assert [record.json() for record in found] == list(range(2500))


async def test_a_pattern_gets_what_matches(server: Any, scheme: str, fresh: Fresh) -> None:
    stem = fresh("wide")
    async with server.connect(scheme) as client, client.subscribe(f"{stem}.*.end") as records:
        for name in ("a.end", "b.other", "b.end", "c.d.end"):
            await client.topic(f"{stem}.{name}").publish(name)
        await client.topic(f"{stem}.z.end").publish("last")
        got = [record.text for record in await taken(records, 3)]
        assert sorted(got) == ["a.end", "b.end", "last"]
        assert isinstance(records.position, tidewire.AtPositions)


async def test_a_filter_and_the_newest_per_key(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("news"))
        await topic.publish_many([NewRecord(n, key="ab"[n % 2], headers={"n": str(n)}) for n in range(10)])
        async with topic.subscribe(
            "earliest", filter=[("key", "eq", "b"), ("header:n", "ne", "1")]
        ) as records:
            assert [record.offset for record in await taken(records, 4)] == [3, 5, 7, 9]
        async with topic.subscribe("earliest", latest_per_key=True, interval_ms=0) as newest:
            assert [record.offset for record in await taken(newest, 2)] == [8, 9]


async def test_a_counter_counts_and_is_watched(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client, server.connect(scheme) as other:
        counter = client.counter(fresh("likes"))
        async with counter.watch() as values:
            assert (await counter.incr(5)).value == 5
            await other.counter(counter.name).decr(2)
            await until(values, lambda value: value.value == 3)
        assert await counter.get() == 3
        first = await counter.incr(id="once")
        again = await counter.incr(id="once")
        assert (first.value, again.value, again.duplicate) == (4, 4, True)
        clamped = await counter.incr(10, max=6)
        assert (clamped.value, clamped.applied) == (6, 2)
        with pytest.raises(tidewire.RefusedError) as refused:
            await counter.incr(10, max=6, strict=True)
        assert refused.value.code == "out_of_range"
        await counter.set(100)
        assert await counter.get() == 100
        await counter.reset()
        assert (await counter.read()).value is None


async def test_a_voter_has_one_vote(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        tally = client.tally(fresh("poll"))
        assert (await tally.create(["tea", "coffee"])).created
        assert not (await tally.create(["tea", "coffee"])).created
        with pytest.raises(tidewire.AlreadyExistsError):
            await tally.create(["tea"])
        async with tally.watch() as standings:
            assert (await tally.vote("tea", voter="ann")).status == "accepted"
            assert (await tally.vote("tea", voter="ann")).status == "duplicate"
            assert (await tally.vote(1, voter="ann")).status == "changed"
            await tally.vote(voter="blank")
            now = await until(standings, lambda now: now.ballots == 2 and now.counts == (0, 1))
            assert (now.by_option, now.blank, now.state) == ({"tea": 0, "coffee": 1}, 1, "open")
            await tally.close()
            await until(standings, lambda now: now.state == "closed")
            with pytest.raises(tidewire.RefusedError) as refused:
                await tally.vote("tea", voter="bob")
            assert (refused.value.code, refused.value.retryable) == ("tally_closed", False)
            assert await tally.invalidate(["ann", "nobody"]) == 1
            await tally.delete()
            assert await until(standings, lambda now: now is None) is None
        with pytest.raises(tidewire.NotFoundError):
            await tally.standings()


async def test_a_final_tally_and_a_ranked_one(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        final = client.tally(fresh("poll"))
        await final.create(["a", "b"], final=True)
        await final.vote("a", voter="ann")
        with pytest.raises(tidewire.AlreadyVotedError):
            await final.vote("b", voter="ann")
        ranked = client.tally(fresh("poll"))
        await ranked.create(["A", "B", "C"], kind="ranked")
        ballots = [["A", "B"]] * 3 + [["B"]] * 2 + [["C", "B"]] * 2
        for voter, ballot in enumerate(ballots):
            await ranked.vote(*ballot, voter=str(voter))
        rounds = await ranked.rounds()
        assert [each.votes for each in rounds.rounds] == [(3, 2, 2), (3, 4, 0)]
        assert rounds.winner == "B"


async def test_a_watch_conflates_what_is_not_read(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        counter = client.counter(fresh("fast"))
        async with counter.watch(interval_ms=50) as values:
            await asyncio.gather(*(counter.incr() for _ in range(500)))
            seen = 0
            async with asyncio.timeout(30):
                async for value in values:
                    seen += 1
                    if value.value == 500:
                        break
            assert seen < 100, "the newest version, not every version"


async def test_who_is_present_is_seen(server: Any, scheme: str, fresh: Fresh) -> None:
    name = fresh("room")
    async with server.connect(scheme) as client:
        room = client.presence(name)
        async with room.watch() as people:
            async with server.connect(scheme) as other:
                async with await other.presence(name).join("ann", {"seat": 1}):
                    there = await until(people, lambda entries: "ann" in entries.all)
                    assert there.all["ann"].text == '{"seat":1}'
                    assert list(await room.members()) == ["ann"]
                left = await until(people, lambda entries: "ann" not in entries.all)
                assert left.changes == {"ann": None}
                await other.presence(name).join("bob")
                await until(people, lambda entries: "bob" in entries.all)
            await until(people, lambda entries: not entries.all)


async def test_a_live_map_holds_the_newest_value_per_key(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        prices = client.map(fresh("map"))
        async with prices.watch() as entries:
            await prices.set("a", 1)
            await prices.set("b", "two")
            await prices.set("a", 3)
            await until(entries, lambda now: now.all.keys() == {"a", "b"} and now.all["a"].text == "3")
            await prices.delete("b")
            await until(entries, lambda now: now.all.keys() == {"a"})
        found = await prices.get("a")
        assert found is not None and found.text == "3"
        assert await prices.get("b") is None
        assert list(await prices.entries()) == ["a"]


async def test_history_comes_in_pages(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("past"))
        assert (await topic.history()).records == []
        await topic.publish_many([NewRecord(n) for n in range(25)])
        first = await topic.history(limit=10)
        assert [record.offset for record in first.records] == list(range(10))
        assert first.next is not None
        pages = [page async for page in topic.pages(first.next, limit=10)]
        assert [[record.offset for record in page.records] for page in pages] == [
            list(range(10, 20)),
            list(range(20, 25)),
        ]
        newest = await topic.history(tidewire.LastRecords(3))
        assert [record.offset for record in newest.records] == [22, 23, 24]


async def test_history_of_a_topic_with_partitions(server: Any, fresh: Fresh) -> None:
    async with server.connect() as client:
        topic = client.topic(fresh("parted"))
        for n in range(40):
            await topic.publish(n, key=f"k{n}")
        seen = [record.json() async for page in topic.pages(limit=7) for record in page.records]
        assert sorted(seen) == list(range(40))


async def test_a_group_shares_records_among_consumers(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client, server.connect(scheme) as other:
        topic = client.topic(fresh("jobs"))
        group = topic.group("mailers")
        dead = fresh("dead")
        await topic.publish_many([NewRecord(n) for n in range(20)])
        made = await group.create(dead_letter=dead, deliveries_max=3, backoff_ms=10, backoff_max_ms=10)
        assert (made.created, made.lag) == (True, 20)
        done: list[int] = []

        async def work(consumer: tidewire.Consumer) -> None:
            async for job in consumer:
                n = job.record.json()
                if n == 7 and job.deliveries == 1:
                    assert await job.nack(delay_ms=1)
                elif n == 13:
                    assert await job.reject("unlucky")
                else:
                    assert await job.extend()
                    assert await job.ack()
                    done.append(n)
                if len(done) == 19:
                    return

        mine = group.consume(in_flight=2)
        theirs = other.topic(topic.name).group("mailers").consume(in_flight=2)
        async with asyncio.timeout(30), mine, theirs:
            workers = [asyncio.create_task(work(each)) for each in (mine, theirs)]
            await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in workers:
                worker.cancel()
            failed = await asyncio.gather(*workers, return_exceptions=True)
            assert [each for each in failed if isinstance(each, AssertionError)] == []
        assert sorted(done) == [n for n in range(20) if n != 13]
        async with client.topic(dead).subscribe("earliest") as letters:
            letter = (await taken(letters, 1))[0]
        assert (letter.json(), letter.headers["dead-reason"]) == (13, "unlucky")
        status = await group.status()
        assert (status.lag, status.dead) == (0, 1)
        assert (await group.reset("latest")).lag == 0
        await group.delete()
        with pytest.raises(tidewire.NotFoundError):
            await group.status()


async def test_a_slow_subscriber_is_told_what_it_missed(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("small"))
        async with topic.subscribe("earliest", window_bytes=1) as records:
            for n in range(400):
                await topic.publish(n)
            expected, gaps = 0, 0
            async with asyncio.timeout(30):
                async for event in records:
                    if isinstance(event, Gap):
                        assert (event.first, event.reason) == (expected, "retention")
                        expected, gaps = event.next, gaps + 1
                    else:
                        assert event.offset == expected
                        expected += 1
                    if expected == 400:
                        break
            assert gaps >= 1


async def test_refusals_have_a_code(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("news"))
        await topic.publish(1)
        with pytest.raises(tidewire.ConflictError) as conflict:
            await topic.publish(2, expected_offset=0)
        assert (conflict.value.code, conflict.value.actual) == ("conflict", 1)
        with pytest.raises(tidewire.RefusedError) as unsupported:
            await topic.publish(2, ack="quorum")
        assert unsupported.value.code == "ack_unsupported"
        with pytest.raises(tidewire.InvalidArgumentError) as invalid:
            client.topic("a..b")
        assert invalid.value.code == "invalid_name"
        with pytest.raises(tidewire.ForbiddenError):
            await topic.delete()
        assert (await topic.publish(3, ack="none")).level == "none"
        assert await client.ping() < 30


async def test_topics_are_truncated_and_deleted(server: Any, fresh: Fresh) -> None:
    async with server.connect() as client:
        topic = client.topic(fresh("removable"))
        for n in range(10):
            await topic.publish(n)
        assert (await topic.truncate(before_offset=6)).first == 6
        assert (await topic.info()).next == 10
        await topic.delete()
        with pytest.raises(tidewire.NotFoundError):
            await topic.info()


async def test_a_numbered_increment_counts_once(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        name = fresh("eventual")
        increments = await client.increments()
        counted = [await increments.add(name, n) for n in (1, 2, 3)]
        assert [each.value for each in counted] == [1, 3, 6]
        as_of = counted[-1].as_of
        assert as_of is not None
        assert (await client.counter(name).read(at_least=[as_of])).value == 6
        with pytest.raises(tidewire.RefusedError) as refused:
            await client.counter(name).incr(id="x")
        assert refused.value.code == "unsupported"
        assert await client.counter(name).get() == 6


async def test_a_cancelled_call_harms_nothing(server: Any, scheme: str, fresh: Fresh) -> None:
    async with server.connect(scheme) as client:
        topic = client.topic(fresh("news"))
        tasks = [asyncio.create_task(topic.publish(n)) for n in range(200)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, tidewire.Published) for each in done[1::2])
        await topic.publish("last")
        assert client._session.requests.sent == {}
