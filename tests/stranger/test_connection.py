"""HELLO, requests in general, PING, and the end of a connection."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger import frames as f
from tidewire_stranger.client import Client
from tidewire_stranger.codes import Ack, Code, IncrOp, Kind
from tidewire_stranger.following import WAIT, Refused
from tidewire_stranger.links import Link, LinkClosed
from tidewire_stranger.records import Record


async def receive(link: Link) -> f.Frame:
    async with asyncio.timeout(WAIT):
        return await link.receive()


async def error_then_closed(link: Link, code: Code) -> None:
    """ERROR with request 0, then the close that carries the same code."""
    error = await receive(link)
    assert isinstance(error, f.Error), error
    assert error.code == code, error
    with pytest.raises(LinkClosed) as closed:
        await receive(link)
    assert closed.value.code == code


async def test_welcome_tells_what_the_document_lists(dial: Dialer) -> None:
    async with dial() as client:
        welcome = client.welcome
        assert (welcome.version, welcome.capabilities) == (1, [])
        assert welcome.session
        for key in ("shards", "max_frame_bytes", "heartbeat_ms", "in_flight_max"):
            assert welcome.info[key] > 0, key
        assert welcome.info["subscriptions_max"] > 0 and welcome.info["time_ms"] > 0
        assert isinstance(welcome.info["server"], str) and isinstance(welcome.info["node"], str)


async def test_capabilities_that_nobody_knows_are_not_agreed(dial: Dialer) -> None:
    async with dial(["datagrams", "telepathy"]) as client:
        assert "telepathy" not in client.welcome.capabilities


async def test_version_is_checked(dial: Dialer) -> None:
    async with dial.bare() as link:
        await link.send(f.Hello(999, []))
        await error_then_closed(link, Code.VERSION_UNSUPPORTED)


@pytest.mark.parametrize(
    "frame",
    [
        f.Ping(1),
        f.Incr(5, "c", 0, 1),
        f.Subscribe(5, 1, "t", [0]),
        f.Publish(5, "t", 1, b"\x93\xc0\xc0\xc0"),
    ],
    ids=lambda frame: type(frame).__name__,
)
async def test_nothing_is_accepted_before_hello(dial: Dialer, frame: f.Frame) -> None:
    async with dial.bare() as link:
        await link.send(frame)
        await error_then_closed(link, Code.HELLO_REQUIRED)


async def test_a_second_hello_is_refused(dial: Dialer) -> None:
    async with dial() as client:
        await client.link.send(f.Hello(1, []))
        async with asyncio.timeout(WAIT):
            assert (await client.errors.get()).code == Code.HELLO_REQUIRED
        await client.ping(1)  # the connection lives


async def test_requests_may_follow_hello_at_once(dial: Dialer, fresh) -> None:
    async with dial.bare() as link:
        await link.send(f.Hello(1, []), f.Incr(5, fresh("at.once"), IncrOp.ADD, 3))
        assert isinstance(await receive(link), f.Welcome)
        counted = await receive(link)
        assert isinstance(counted, f.Counted) and (counted.req, counted.value) == (5, 3)


async def test_a_long_client_name_is_refused(dial: Dialer) -> None:
    async with dial.bare() as link:
        await link.send(f.Hello(1, [], None, "c" * 129))
        await error_then_closed(link, Code.INVALID_ARGUMENT)


async def test_ping(dial: Dialer) -> None:
    async with dial() as client:
        for nonce in (0, 1, 2**53, 2**64 - 1):
            assert await client.ping(nonce) == f.Pong(nonce)


async def test_five_hundred_requests_in_a_pipeline(dial: Dialer, fresh) -> None:
    counter = fresh("pipeline")
    async with dial() as client:
        futures = [await client.begin(f.Incr(0, counter, IncrOp.ADD, 1)) for _ in range(500)]
        async with asyncio.timeout(WAIT):
            replies = await asyncio.gather(*futures)
        assert sorted(reply.value for reply in replies) == list(range(1, 501))
        assert (await client.get(Kind.COUNTER, counter)).value == 500


async def test_more_requests_than_may_be_in_flight(dial: Dialer, fresh) -> None:
    """The server stops reading beyond the limit; it does not refuse."""
    counter = fresh("pipeline")
    async with dial() as client:
        count = client.welcome.info["in_flight_max"] + 500
        futures = [await client.begin(f.Incr(0, counter, IncrOp.ADD, 1)) for _ in range(count)]
        async with asyncio.timeout(WAIT):
            replies = await asyncio.gather(*futures)
        assert max(reply.value for reply in replies) == count


async def test_request_zero_has_no_reply(dial: Dialer, fresh) -> None:
    counter = fresh("quiet")
    async with dial.bare() as link:
        await link.send(f.Hello(1, []))
        assert isinstance(await receive(link), f.Welcome)
        await link.send(f.Incr(0, counter, IncrOp.ADD, 4))
        await link.send(f.Incr(0, "no name", IncrOp.ADD, 4))  # a refusal is dropped too
        await link.send(f.Publish(0, fresh("topic"), Ack.MEMORY, b"\x93\xc0\xc0\xc0"))
        await link.send(f.Ping(1))
        assert await receive(link) == f.Pong(1)
        await link.send(f.Get(9, Kind.COUNTER, counter))
        value = await receive(link)
        assert isinstance(value, f.Value) and (value.req, value.value) == (9, 4)


async def test_requests_on_several_streams(dial_quic: Dialer, fresh) -> None:
    """A reply comes on the stream of its request; so does ERROR."""
    async with dial_quic.bare() as link:
        await link.send(f.Hello(1, []))
        assert isinstance(await receive(link), f.Welcome)
        assert link.last_stream == link.control
        for number in range(1, 9):
            stream = link.open_stream()
            name = fresh("streams") if number % 2 else "not a name"
            await link.send_on(stream, f.Incr(number, name, IncrOp.ADD, 1))
            reply = await receive(link)
            assert isinstance(reply, f.Counted if number % 2 else f.Error)
            assert (reply.req, link.last_stream) == (number, stream)


async def test_goaway_then_close_then_exit_zero(tmp_path) -> None:
    daemon = daemons.start(tmp_path)
    try:
        async with (
            Dialer(daemon.endpoint, "websocket")() as one,
            Dialer(daemon.endpoint, "quic")() as other,
        ):
            await one.publish("before.the.end", Record(payload=b"x"))
            code = asyncio.create_task(asyncio.to_thread(daemon.stop))
            for client in (one, other):
                async with asyncio.timeout(20):
                    assert (await client.goaway).code == Code.SHUTTING_DOWN
                    assert (await client.closed).code == Code.SHUTTING_DOWN
            assert await code == 0
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()


async def test_a_refusal_explains_itself(dial: Dialer) -> None:
    async with dial() as client:
        with pytest.raises(Refused) as refused:
            await client.incr("two words")
        assert refused.value.code == Code.INVALID_NAME
        assert refused.value.error.message


def test_client_is_closed_by_its_owner(dial: Dialer) -> None:
    """A client that goes leaves nothing waiting."""

    async def scenario() -> None:
        async with dial() as client:
            assert isinstance(client, Client)
        assert client._reader.done()

    asyncio.run(scenario())
