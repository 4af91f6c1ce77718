"""The client's life, with a server and a clock that the test holds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import FakeClock, FakeServer, acknowledge, settle

import tidewire
from tidewire import ConnectionState
from tidewire import frames as f
from tidewire.records import decode_body


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def client(clock: FakeClock, server: FakeServer) -> AsyncIterator[tidewire.Client]:
    found = await server.connect(clock, offline_queue=3)
    yield found
    closing = asyncio.create_task(found.close())
    await settle()
    await clock.advance(10)
    await closing


async def begun(*works: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(work) for work in works]
    await settle()
    return tasks


async def test_the_first_failure_is_told_at_once(clock: FakeClock, server: FakeServer) -> None:
    server.down = True
    seen: list[str] = []
    with pytest.raises(tidewire.ConnectError, match="nobody is there"):
        await server.connect(clock, on_state=lambda change: seen.append(change.state))
    assert (seen, server.dialed) == (["connecting", "failed"], ["a"])


async def test_delays_double_up_to_the_longest(clock: FakeClock, server: FakeServer, client: Any) -> None:
    server.down = True
    server.link.cut()
    await settle()
    assert client.state is ConnectionState.DISCONNECTED
    for attempt, delay in enumerate([1, 2, 4, 8, 16, 20, 20, 20], 2):
        await clock.advance(delay - 0.01)
        assert len(server.dialed) == attempt - 1
        await clock.advance(0.01)
        assert len(server.dialed) == attempt
    server.down = False
    await clock.advance(20)
    assert client.state is ConnectionState.CONNECTED


async def test_full_jitter_may_be_short(clock: FakeClock, server: FakeServer, client: Any) -> None:
    clock.chance = 0.0
    server.link.cut()
    await clock.advance(0.49)
    assert len(server.links) == 1
    await clock.advance(0.01)
    assert len(server.links) == 2


async def test_another_node_is_tried_soon(clock: FakeClock, server: FakeServer) -> None:
    client = await server.connect(clock, ["ws://a", "ws://b"])
    server.down = {"a"}
    server.link.cut()
    await clock.advance(0.5)
    assert (client.state, server.dialed) == (ConnectionState.CONNECTED, ["a", "b"])
    await client.close()


async def test_a_hopeless_answer_is_the_end(clock: FakeClock, server: FakeServer, client: Any) -> None:
    server.refuse = lambda _: f.Error(0, 12, "who are you")
    server.link.cut()
    await clock.advance(1)
    assert client.state is ConnectionState.FAILED
    assert client.state_change.code == "unauthenticated"
    with pytest.raises(tidewire.ClientFailedError):
        await client.counter("c").get()


async def test_a_publish_that_was_cut_is_sent_again_under_its_number(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    tasks = await begun(*(client.topic("t").publish(str(n)) for n in range(3)))
    first = server.link.of(f.Publish)
    assert [each.options for each in first] == [{"producer": 7, "sequence": n} for n in (1, 2, 3)]
    server.link.cut()
    server.answers.append(acknowledge)
    await clock.advance(1)
    again = server.links[1].of(f.Publish)
    assert [(each.options, each.body) for each in again] == [(each.options, each.body) for each in first]
    assert [(await task).offset for task in tasks] == [1, 2, 3]
    assert client.repeated == 3


async def test_an_increment_that_was_cut_fails_unless_it_has_an_id(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    plain, safe, vote = await begun(
        client.counter("c").incr(), client.counter("c").incr(id="x"), client.tally("t").vote("a", voter="v")
    )
    server.link.cut()
    await settle()
    with pytest.raises(tidewire.ConnectionLostError) as lost:
        await plain
    assert (lost.value.code, lost.value.retryable) == ("connection_lost", True)
    await clock.advance(1)
    assert [each.options for each in server.link.of(f.Incr)] == [{"id": "x"}]
    assert len(server.link.of(f.Vote)) == 1
    server.link.say(f.Counted(server.link.last(f.Incr).req, 1, 1, 4, 1, False))
    server.link.say(f.Voted(server.link.last(f.Vote).req, 1, 1, 2, 1))
    assert ((await safe).value, (await vote).status) == (4, "duplicate")


async def test_the_offline_queue_has_a_bound(clock: FakeClock, server: FakeServer, client: Any) -> None:
    server.link.cut()
    await settle()
    waiting = await begun(*(client.counter("c").incr() for _ in range(3)))
    with pytest.raises(tidewire.OfflineQueueFullError) as full:
        await client.counter("c").incr()
    assert (full.value.code, full.value.retryable) == ("offline_queue_full", True)
    waiting[1].cancel()
    await clock.advance(1)
    assert len(server.link.of(f.Incr)) == 2, "what was never sent is sent once; what was cancelled is not"


async def test_a_cancelled_publish_leaves_nothing_behind(server: FakeServer, client: Any) -> None:
    (task,) = await begun(client.topic("t").publish("x"))
    task.cancel()
    await settle()
    requests = client._session.requests
    sent = server.link.last(f.Publish)
    assert list(requests.sent) == [sent.req]
    server.link.say(f.PubAck(sent.req, 1, 0, 1))
    await settle()
    assert (requests.sent, client.state) == ({}, ConnectionState.CONNECTED)
    server.answers.append(acknowledge)
    assert (await client.topic("t").publish("y")).offset == 2


async def test_a_cancelled_publish_is_not_sent_again(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    (task,) = await begun(client.topic("t").publish("x"))
    task.cancel()
    server.link.cut()
    await clock.advance(1)
    assert server.link.of(f.Publish) == []
    assert client._session.requests.sent == {}


async def test_no_more_than_the_server_takes_is_in_flight(server: FakeServer, client: Any) -> None:
    tasks = await begun(*(client.counter("c").incr(n) for n in range(20)))
    assert [each.operand for each in server.link.of(f.Incr)] == list(range(8))
    server.link.say(*(f.Counted(each.req, 1, 1, 1, 1, False) for each in server.link.of(f.Incr)[:3]))
    await settle()
    assert [each.operand for each in server.link.of(f.Incr)] == list(range(11))
    for task in tasks:
        task.cancel()


async def test_a_frame_that_is_too_large_is_refused_here(server: FakeServer, client: Any) -> None:
    with pytest.raises(tidewire.RefusedError) as refused:
        await client.topic("t").publish(b"x" * 5000)
    assert refused.value.code == "frame_too_large"
    assert client.state is ConnectionState.CONNECTED


async def test_unavailable_is_sent_again_in_order(clock: FakeClock, server: FakeServer, client: Any) -> None:
    tasks = await begun(client.topic("t").publish("1"), client.topic("t").publish("2"))
    first, second = server.link.of(f.Publish)
    server.link.say(f.Error(first.req, 17, "no leader"), f.Error(second.req, 17, "no leader"))
    tasks += await begun(client.topic("t").publish("3"))
    assert len(server.link.of(f.Publish)) == 2, "it waits for those before it"
    server.answers.append(acknowledge)
    await clock.advance(0.1)
    bodies = [decode_body(each.body)[0][2] for each in server.link.of(f.Publish)[2:]]
    assert bodies == [b"1", b"2", b"3"]
    assert [(await task).offset for task in tasks] == [1, 2, 3]


async def test_unavailable_is_told_in_the_end(clock: FakeClock, server: FakeServer, client: Any) -> None:
    def busy(frame: Any) -> f.Frame | None:
        return f.Error(frame.req, 17, "no leader") if isinstance(frame, f.Get) else None

    server.answers.append(busy)
    (task,) = await begun(client.counter("c").get())
    await clock.advance(14)
    assert not task.done()
    await clock.advance(3)
    with pytest.raises(tidewire.RefusedError) as refused:
        await task
    assert (refused.value.code, refused.value.retryable) == ("unavailable", True)


async def test_a_forgotten_producer_gets_another_id(server: FakeServer, client: Any) -> None:
    (task,) = await begun(client.topic("t").publish("x"))
    server.answers = [
        lambda frame: f.Ok(frame.req, {"producer": 8}) if isinstance(frame, f.Producer) else None
    ]
    server.link.say(f.Error(server.link.last(f.Publish).req, 29, "who"))
    await settle()
    again = server.link.last(f.Publish)
    assert again.options is not None and again.options["producer"] == 8
    server.link.say(f.PubAck(again.req, 1, 9, 1))
    assert (await task).offset == 9


async def test_a_subscription_resumes_behind_what_arrived(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    body = bytes.fromhex("93c0c0c40178")
    records = client.topic("t").subscribe("earliest")
    (opening,) = await begun(records.__aenter__())
    asked = server.link.last(f.Subscribe)
    assert asked.start == [1]
    server.link.say(
        f.Subscribed(asked.req, asked.sub, 0, 5, 0),
        f.Deliver(asked.sub, "t", 5, 0, 2, 1, None, None, body * 2),
    )
    await opening
    server.link.cut()
    await clock.advance(1)
    again = server.link.last(f.Subscribe)
    assert again.start == [2, 5, 2]
    server.link.say(f.Subscribed(again.req, again.sub, 2, 5, 4, [2, 4]))
    server.link.say(f.Deliver(again.sub, "t", 5, 6, 7, 1, None, None, body))
    got = [await anext(records) for _ in range(5)]
    assert [getattr(each, "offset", None) for each in got] == [0, 1, None, None, 6]
    assert [(each.first, each.next, each.reason) for each in got[2:4]] == [
        (2, 4, "retention"),
        (4, 6, "unexplained"),
    ]
    records.close()
    with pytest.raises(StopAsyncIteration):
        await anext(records)
    await settle()
    assert server.link.last(f.Unsubscribe).sub == again.sub


async def test_credit_is_given_as_records_are_taken(server: FakeServer, client: Any) -> None:
    body = bytes.fromhex("93c0c0c40178")
    records = client.topic("t").subscribe(window_bytes=24)
    (opening,) = await begun(records.__aenter__())
    asked = server.link.last(f.Subscribe)
    assert asked.options == {"credit": 24}
    server.link.say(f.Subscribed(asked.req, asked.sub, 0, 5, 0))
    for n in range(3):
        server.link.say(f.Deliver(asked.sub, "t", 5, n, n + 1, 1, None, None, body))
    await opening
    assert server.link.of(f.Credit) == []
    for _ in range(3):
        await anext(records)
    await settle()
    assert sum(each.bytes for each in server.link.of(f.Credit)) == 18
    records.close()


async def test_an_ended_subscription_raises(server: FakeServer, client: Any) -> None:
    records = client.topic("t").subscribe()
    (opening,) = await begun(records.__aenter__())
    asked = server.link.last(f.Subscribe)
    server.link.say(f.Subscribed(asked.req, asked.sub, 0, 5, 0))
    await opening
    server.link.say(f.Error(0, 33, "too slow", None, asked.sub))
    with pytest.raises(tidewire.RefusedError) as ended:
        await anext(records)
    assert (ended.value.code, client.state) == ("too_slow", ConnectionState.CONNECTED)


async def test_a_silent_server_is_asked_and_given_up(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    await clock.advance(1.5)
    assert len(server.link.of(f.Ping)) == 1
    server.link.say(f.Pong(0))
    await clock.advance(2.9)
    assert client.state is ConnectionState.CONNECTED
    await clock.advance(0.2)
    assert client.state is ConnectionState.DISCONNECTED
    assert "silent" in client.state_change.reason


async def test_a_ping_is_answered(server: FakeServer, client: Any) -> None:
    server.link.say(f.Ping(42))
    await settle()
    assert server.link.last(f.Pong).nonce == 42


async def test_bytes_that_are_no_frames_end_the_connection(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    server.link.inflow.message(b"\xc1")
    await settle()
    assert client.state is ConnectionState.DISCONNECTED
    await clock.advance(1)
    assert client.state is ConnectionState.CONNECTED


async def test_moved_makes_the_new_connection_before_it_breaks_the_old_one(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    server.info["b"] = {"actor": [2, 1]}
    records = client.topic("t").subscribe("latest")
    (opening,) = await begun(records.__aenter__())
    old = server.link
    asked = old.last(f.Subscribe)
    old.say(f.Subscribed(asked.req, asked.sub, 0, 5, 3))
    await opening
    (under_way,) = await begun(client.counter("c").incr())
    old.say(f.GoAway(38, "drained", 8000, ["ws://b"]))
    await clock.advance(1)
    assert server.dialed == ["a", "b"]
    assert not old.closed, "what was asked is answered first"
    (later,) = await begun(client.counter("c").incr(2))
    old.say(f.Counted(old.last(f.Incr).req, 1, 1, 1, 1, False))
    assert (await under_way).value == 1
    await settle()
    assert old.closed and client.state is ConnectionState.CONNECTED
    new = server.link
    assert new.last(f.Subscribe).start == [2, 5, 3]
    assert new.last(f.Incr).operand == 2
    later.cancel()
    records.close()


async def test_moved_stays_where_it_is_when_no_other_node_answers(
    clock: FakeClock, server: FakeServer, client: Any
) -> None:
    server.down = {"b"}
    server.answers.append(lambda frame: f.Pong(frame.nonce) if isinstance(frame, f.Ping) else None)
    server.link.say(f.GoAway(38, "drained", 4000, ["ws://b"]))
    await clock.advance(10)
    assert "b" in server.dialed
    assert not server.links[0].closed
    assert client.state is ConnectionState.CONNECTED
    assert all(link.closed for link in server.links[1:]), "what leads to the same node is given up"


async def test_a_token_is_renewed_before_its_end(clock: FakeClock, server: FakeServer) -> None:
    server.info["a"] = {
        "identity": {"subject": "ann", "expires_at_ms": 1_000_000 + 10_000},
        "heartbeat_ms": 60_000,
    }
    tokens = iter(["t1", "t2", "t3"])
    client = await server.connect(clock, token_callback=lambda: next(tokens))
    assert server.link.last(f.Hello).token == "t1"
    await clock.advance(7.9)
    assert server.link.of(f.Auth) == []
    await clock.advance(0.1)
    assert server.link.last(f.Auth).token == "t2"
    server.link.say(f.Ok(server.link.last(f.Auth).req, {"expires_at_ms": 1_000_000 + 20_000}))
    server.link.cut()
    await clock.advance(1)
    assert server.link.last(f.Hello).token == "t2", "the newest one"
    await client.close()


async def test_a_closed_client_refuses_everything(clock: FakeClock, server: FakeServer) -> None:
    client = await server.connect(clock)
    states = client.states()
    await client.close()
    assert [change.state async for change in states] == [
        ConnectionState.CONNECTED,
        ConnectionState.DISCONNECTED,
    ]
    with pytest.raises(tidewire.ClientClosedError):
        await client.topic("t").publish("x")
    with pytest.raises(tidewire.ClientClosedError):
        async with client.topic("t").subscribe():
            pass
    assert server.link.closed


async def test_what_was_not_opened_says_so(client: Any) -> None:
    for each in (
        client.topic("t").subscribe(),
        client.counter("c").watch(),
        client.topic("t").group("g").consume(),
    ):
        with pytest.raises(RuntimeError, match="async with"):
            await anext(each)
