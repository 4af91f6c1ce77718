"""Bytes that are no frames: ERROR with request 0, then the close; others are served on."""

import asyncio
import contextlib
import os
import socket
from struct import pack

import msgpack
import pytest

from conftest import Dialer
from test_hostile_frames import answer, greeted
from tidewire_stranger import frames as f
from tidewire_stranger.codec import encode
from tidewire_stranger.codes import Code, Kind
from tidewire_stranger.following import WAIT
from tidewire_stranger.links import Link, LinkClosed

pytestmark = pytest.mark.usefixtures("unharmed")


async def closed_with(link: Link) -> tuple[list[f.Error], LinkClosed]:
    """What the server said before it closed, and how it closed."""
    errors: list[f.Error] = []
    try:
        async with asyncio.timeout(WAIT):
            while True:
                frame = await link.receive()
                assert isinstance(frame, f.Error), frame
                errors.append(frame)
    except LinkClosed as closed:
        return errors, closed


BROKEN = {
    "truncated frame": encode(f.Incr(1, "counter", 0, 1))[:-3],
    "truncated text": b"\x94\x14\x01\xdb\xff\xff\xff\xff",
    "length bomb": b"\xdd\xff\xff\xff\xff",
    "length bomb inside": b"\x95\x0a\x01\xa1t\x01\xc6\xff\xff\xff\xff",
    "map bomb": b"\x96\x0a\x01\xa1t\x01\xc4\x00\xdf\xff\xff\xff\xff",
    "reserved byte": b"\xc1",
    "reserved byte inside": b"\x92\x03\xc1",
    "random": b"\xc1" + os.urandom(5000),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_messagepack(dial: Dialer, data: bytes) -> None:
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(data)
        errors, closed = await closed_with(link)
        assert [(error.req, error.code) for error in errors] == [(0, Code.MALFORMED)]
        assert closed.code == Code.MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * 100_000 + b"\xc0",
        b"\x92\x03" + b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a" * 100_000 + b"\xc0",
        b"\x92\x03" + b"\x91" * 17 + b"\x01",
    ],
    ids=["arrays", "arrays in a frame", "maps", "seventeen levels"],
)
async def test_deep_nesting(dial: Dialer, data: bytes) -> None:
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(data)
        errors, closed = await closed_with(link)
        assert [(error.req, error.code) for error in errors] == [(0, Code.MALFORMED)]
        assert closed.code == Code.MALFORMED


async def test_deep_nesting_in_a_body(dial: Dialer) -> None:
    """A body is no part of the envelope."""
    body = msgpack.packb(b"\x91" * 100_000 + b"\xc0")
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(b"\x95\x0a\x01\xa1t\x01" + body)
        error = await answer(link)
        assert isinstance(error, f.Error) and (error.req, error.code) == (1, Code.MALFORMED)
        await link.send(f.Ping(7))
        assert await answer(link) == f.Pong(7)


@pytest.mark.parametrize("data", [b"\xc0", b"\x80", b"\x07", b"\xa1x", b"\x90", b"\x91\xa1x"])
async def test_values_that_are_no_frames(dial: Dialer, data: bytes) -> None:
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(data)
        error = await answer(link)
        assert isinstance(error, f.Error) and (error.req, error.code) == (0, Code.MALFORMED)


async def test_good_frames_before_a_broken_one_count(dial: Dialer, fresh) -> None:
    """They are carried out; whether their replies still come is not said."""
    counter = fresh("counter")
    async with dial.bare() as link:
        await greeted(link)
        await link.send(f.Incr(0, counter, 0, 1))
        await link.send_bytes(b"\xc1")
        await closed_with(link)
    async with dial() as client:
        assert (await client.get(Kind.COUNTER, counter)).value == 1


async def test_too_large_a_message(dial_websocket: Dialer) -> None:
    async with dial_websocket.bare() as link:
        limit = (await greeted(link))["max_frame_bytes"]
        # The server may close before all of it is written.
        with contextlib.suppress(LinkClosed):
            await link.send_bytes(b"\x92\x03" + b"\x00" * (limit + 1))
        _, closed = await closed_with(link)
        assert closed.number == 1009


async def test_text(dial_websocket: Dialer) -> None:
    async with dial_websocket.bare() as link:
        await greeted(link)
        await link.send_text("[3, 1]")
        _, closed = await closed_with(link)
        assert closed.number == 1003


async def test_several_frames_and_a_broken_one_in_a_message(dial_websocket: Dialer) -> None:
    async with dial_websocket.bare() as link:
        await greeted(link)
        await link.send_bytes(encode(f.Ping(1)) + encode(f.Ping(2)))
        assert [await answer(link), await answer(link)] == [f.Pong(1), f.Pong(2)]
        await link.send_bytes(encode(f.Ping(3)) + b"\xc1")
        seen = await answer(link)
        if seen == f.Pong(3):  # whether it still counts is not said
            seen = await answer(link)
        assert isinstance(seen, f.Error) and (seen.req, seen.code) == (0, Code.MALFORMED)


@pytest.mark.parametrize("length", [2**20 + 1, 2**31, 2**32 - 1])
async def test_too_long_a_length(dial_quic: Dialer, length: int) -> None:
    """Refused at the prefix: the server does not wait for the bytes."""
    async with dial_quic.bare() as link:
        info = await greeted(link)
        await link.send_raw(pack(">I", max(length, info["max_frame_bytes"] + 1)))
        errors, closed = await closed_with(link)
        assert [(error.req, error.code) for error in errors] == [(0, Code.FRAME_TOO_LARGE)]
        assert closed.code == Code.FRAME_TOO_LARGE


async def test_two_frames_under_one_length(dial_quic: Dialer) -> None:
    async with dial_quic.bare() as link:
        await greeted(link)
        await link.send_bytes(encode(f.Ping(1)) + encode(f.Ping(2)))
        seen = await answer(link)
        assert isinstance(seen, f.Error) and (seen.req, seen.code) == (0, Code.MALFORMED)
        await closed_with(link)


async def test_a_length_of_zero(dial_quic: Dialer) -> None:
    async with dial_quic.bare() as link:
        await greeted(link)
        await link.send_bytes(b"")
        error = await answer(link)
        assert isinstance(error, f.Error) and error.code == Code.MALFORMED


def test_garbage_on_the_udp_port(dial_quic: Dialer) -> None:
    place = (dial_quic.endpoint.host, dial_quic.endpoint.port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for number in range(2000):
            # Every first byte, so that long and short headers of all kinds occur.
            udp.sendto(bytes([number % 256]) + os.urandom(number % 1400), place)


def test_garbage_on_the_tcp_port(dial_websocket: Dialer) -> None:
    place = (dial_websocket.endpoint.host, dial_websocket.endpoint.port)
    for start in (b"", b"\x16\x03\x01", b"GET /v1/ws HTTP/1.1\r\n", b"\xff"):
        with socket.create_connection(place, timeout=5) as tcp:
            try:
                tcp.sendall(start + os.urandom(4096))
            except OSError:
                pass  # the server may have hung up already


async def test_connections_that_say_nothing(dial: Dialer, fresh) -> None:
    links = [await dial.link() for _ in range(50)]
    try:
        async with dial() as client:
            assert (await client.incr(fresh("others"))).value == 1
    finally:
        await asyncio.gather(*(link.close() for link in links))


async def test_garbage_in_datagrams(dial_quic: Dialer) -> None:
    async with dial_quic(["datagrams"], datagrams=True) as client:
        for _ in range(100):
            client.link.connection._quic.send_datagram_frame(os.urandom(500))
        client.link.connection.transmit()
    # Whether the connection lives is not said; `unharmed` looks after the others.
