"""What a server's end, by kill -9, does to clients."""

import asyncio
from typing import Any

import pytest

import tidewire
from tidewire import ConnectionState, Gap, GapReason, Record, Started

QUICK = {"backoff_min_ms": 20, "backoff_max_ms": 200}


@pytest.fixture(params=["ws", "quic"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def reached(client: tidewire.Client, state: ConnectionState) -> None:
    async with asyncio.timeout(30):
        async for change in client.states():
            if change.state is state:
                return


async def test_a_subscription_resumes_where_it_was(own_server: Any, scheme: str) -> None:
    async with own_server.connect(scheme, **QUICK) as client:
        topic = client.topic("safe.news")
        async with topic.subscribe() as records:
            for n in range(10):
                await topic.publish(n)
            first = [await anext(records) for _ in range(4)]
            own_server.kill()
            await reached(client, ConnectionState.DISCONNECTED)
            late = [asyncio.create_task(topic.publish(n)) for n in range(10, 15)]
            own_server.start()
            await asyncio.gather(*late)
            async with asyncio.timeout(30):
                rest = [await anext(records) for _ in range(11)]
            assert all(isinstance(event, Record) for event in first + rest), rest
            assert [event.offset for event in first + rest] == list(range(15))
            assert [event.json() for event in first + rest] == list(range(15))


async def test_publishes_under_way_are_appended_once(own_server: Any) -> None:
    async with own_server.connect(**QUICK) as client:
        topic = client.topic("safe.once")
        await topic.publish("warm")
        under_way = [asyncio.create_task(topic.publish(n)) for n in range(200)]
        await asyncio.sleep(0)
        own_server.kill()
        own_server.start()
        await asyncio.gather(*under_way)
        got = [record.text async for page in topic.pages(limit=500) for record in page.records]
        assert sorted(got) == sorted(["warm", *map(str, range(200))])
        assert got == ["warm", *map(str, range(200))], "in their order"


async def test_another_history_is_told(own_server: Any, scheme: str) -> None:
    async with own_server.connect(scheme, **QUICK) as client:
        topic = client.topic("memory.news")
        async with topic.subscribe("earliest") as records:
            await topic.publish("before")
            assert isinstance(await anext(records), Record)
            own_server.kill()
            own_server.start()
            async with asyncio.timeout(30):
                gap = await anext(records)
                assert isinstance(gap, Gap) and gap.reason is GapReason.NEW_EPOCH
                await topic.publish("after")
                record = await anext(records)
            assert isinstance(record, Record) and (record.text, record.offset) == ("after", 0)


async def test_watches_presence_and_votes_go_on(own_server: Any, scheme: str) -> None:
    async with own_server.connect(scheme, **QUICK) as client:
        tally = client.tally("safe.poll")
        room = client.presence("room")
        await tally.create(["a", "b"])
        await room.join("ann", "here")
        async with tally.watch() as standings:
            await tally.vote("a", voter="ann")
            own_server.kill()
            await reached(client, ConnectionState.DISCONNECTED)
            late = asyncio.create_task(tally.vote("b", voter="bob"))
            own_server.start()
            assert (await late).status == "accepted"
            async with asyncio.timeout(30):
                async for now in standings:
                    if now is not None and now.counts == (1, 1):
                        break
        assert (await tally.vote("a", voter="ann")).status == "duplicate"
        assert {name: entry.text for name, entry in (await room.members()).items()} == {"ann": "here"}


async def test_a_group_goes_on_with_what_was_not_settled(own_server: Any) -> None:
    async with own_server.connect(**QUICK) as client:
        topic = client.topic("safe.jobs")
        await topic.publish_many([tidewire.NewRecord(n) for n in range(5)])
        await topic.group("g").create()
        async with topic.group("g").consume() as jobs, asyncio.timeout(30):
            for _ in range(2):
                assert await (await anext(jobs)).ack()
            own_server.kill()
            await reached(client, ConnectionState.DISCONNECTED)
            own_server.start()
            await reached(client, ConnectionState.CONNECTED)
            done = set()
            while len(done) < 3:
                job = await anext(jobs)
                if await job.ack():
                    done.add(job.record.json())
            assert done == {2, 3, 4}


async def test_a_resumed_start_says_so(own_server: Any) -> None:
    async with own_server.connect(**QUICK) as client:
        topic = client.topic("safe.starts")
        await topic.publish("x")
        async with topic.subscribe("earliest") as records, asyncio.timeout(30):
            seen = []
            async for event in records.events():
                seen.append(event)
                if len(seen) == 2:
                    own_server.kill()
                    own_server.start()
                if len(seen) == 3:
                    break
            first, record, again = seen
            assert isinstance(first, Started) and not first.resumed
            assert isinstance(record, Record)
            assert isinstance(again, Started)
            assert (again.resumed, again.status, again.offset) == (True, "resumed", 1)


async def test_the_first_connection_fails_fast(own_server: Any) -> None:
    url = own_server.url()
    own_server.kill()
    with pytest.raises(tidewire.ConnectError) as failed:
        async with asyncio.timeout(5), tidewire.connect(url):
            pass
    assert failed.value.code == "cannot_connect"
    assert failed.value.retryable


async def test_without_reconnect_a_cut_is_the_end(own_server: Any) -> None:
    seen: list[str] = []
    async with own_server.connect(reconnect=False, on_state=lambda each: seen.append(each.state)) as client:
        own_server.kill()
        await reached(client, ConnectionState.FAILED)
        with pytest.raises(tidewire.ClientFailedError):
            await client.counter("c").incr()
    assert seen == ["connecting", "connected", "disconnected", "failed"]
