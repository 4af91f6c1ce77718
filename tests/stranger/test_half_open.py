"""Connections that never become one: silent, half through a handshake, a byte at a time, or never reading."""

import asyncio
import resource
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from conftest import Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger.client import LATEST
from tidewire_stranger.links import Endpoint
from tidewire_stranger.raw_http import KEY, UPGRADE, Wire
from tidewire_stranger.records import Record

OF_A_KIND = 1_000
CROWD_MS = 8_000
SLOW_MS = 500
REAPED_SECONDS = 40


def client_hello() -> bytes:
    """The first flight of a TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


def upgrade(host: str) -> bytes:
    return f"GET /v1/ws HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}{KEY}\r\n".encode()


def daemon_with(directory: Any, handshake_timeout_ms: int) -> daemons.Daemon:
    # Who has asked for something may take as long for the next, or for what it is sent.
    config = f"handshake_timeout_ms = {handshake_timeout_ms}\n[http]\nidle_timeout_ms = {handshake_timeout_ms}\n"
    return daemons.start(directory, config)


@pytest.fixture
def many_files() -> Any:
    """As many descriptors as the system allows, also for the daemon, which inherits that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def falls_to(count: Callable[[], int], number: int) -> None:
    """Waits until a count is no larger than this number."""
    deadline = time.monotonic() + REAPED_SECONDS
    while (found := count()) > number:
        assert time.monotonic() < deadline, f"{found}, and {number} at most was waited for"
        time.sleep(0.05)


async def test_five_thousand_half_open_connections(many_files: int, tmp_path: Any) -> None:
    kinds = [b"", client_hello()[:100], client_hello(), b"GET / HTTP/1.1\r\nHost: ", None]
    if many_files < 3 * OF_A_KIND * len(kinds):
        pytest.fail(f"the system allows {many_files} open files only")
    daemon = daemon_with(tmp_path, CROWD_MS)
    crowd: list[socket.socket] = []
    place = (daemon.endpoint.host, daemon.endpoint.port)
    began_kib = daemon.resident_kib()
    try:
        dial = Dialer(daemon.endpoint, "websocket")
        async with dial() as publisher, dial() as subscriber:
            subscription = await subscriber.subscribe("beside", LATEST)

            async def served() -> None:
                await publisher.publish("beside", Record(payload=b"x"))
                assert len(await subscription.records(1)) == 1

            await served()
            before = daemon.open_files()
            for number in range(OF_A_KIND * len(kinds)):
                said = kinds[number % len(kinds)]
                crowd.append(socket.create_connection(place, timeout=10))
                crowd[-1].sendall(upgrade("%s:%d" % place) if said is None else said)
                if number % 100 == 0:
                    await served()
            # All of them at once, and whoever comes now is let in.
            assert daemon.open_files() - before >= len(crowd)
            async with dial() as late:
                assert (await late.incr("late")).value == 1
            assert daemon.resident_kib() - began_kib < 600 * 1024
            while daemon.open_files() > before + OF_A_KIND:
                await served()
            await asyncio.to_thread(falls_to, daemon.open_files, before)
            await served()
    finally:
        for each in crowd:
            each.close()
        code = daemon.stop()
    assert code == 0


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A daemon that gives little time for a handshake."""
    daemon = daemon_with(tmp_path_factory.mktemp("hasty"), SLOW_MS)
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture(params=["public", "admin"])
def listener(hasty: daemons.Daemon, request: pytest.FixtureRequest) -> Endpoint:
    return hasty.endpoint if request.param == "public" else Endpoint.parse(hasty.admin, "")


HEAD = "GET / HTTP/1.1\r\nHost: {host}\r\n"
POST = (
    "POST /v1/recording HTTP/1.1\r\nHost: {host}\r\n"
    "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("", ""),
        (HEAD, ""),
        (HEAD, "X"),
        (HEAD, "X: y\r\n"),
        (HEAD + "\r\n", ""),
        (POST, " "),
        ("", "\r\n"),
    ],
    ids=["silent", "half a head", "a head by bytes", "a head by lines", "idle", "a body", "empty lines"],
)
def test_a_request_has_its_time(listener: Endpoint, first: str, then: str) -> None:
    with Wire(listener) as wire:
        wire.send(first.format(host=wire.host).encode())
        wire.drip(then.encode())


@pytest.mark.parametrize(
    "then",
    [b"", b"\x89\x80abcd", b"\x02\x80abcd", b"x"],
    ids=["silent", "pings", "empty fragments", "a frame by bytes"],
)
def test_an_upgrade_without_hello_has_its_time(hasty: daemons.Daemon, then: bytes) -> None:
    with Wire(hasty.endpoint) as wire:
        wire.send(upgrade(wire.host))
        assert wire.response().status == 101
        if then == b"x":
            wire.send(b"\x82\xfe\xff\xffabcd")
        wire.drip(then)


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02\x00\x01", client_hello()], ids=["half", "whole"])
def test_a_tls_handshake_has_its_time(hasty: daemons.Daemon, first: bytes) -> None:
    with Wire(hasty.endpoint) as wire:
        wire.send(first)
        wire.drip(b"")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_who_asks_for_pages_and_does_not_read_them_has_their_time(
    hasty: daemons.Daemon, tls: bool
) -> None:
    falls_to(hasty.tcp_connections, 0)
    with Wire(hasty.endpoint, tls) as wire:
        wire.socket.settimeout(SLOW_MS / 2000)
        asked = f"GET /app.js HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode() * 1_000
        try:
            for _ in range(1_000):
                wire.socket.sendall(asked)
            pytest.fail("the daemon reads on though its answers are not read")
        except OSError:
            pass  # it takes no more, or has hung up
        falls_to(hasty.tcp_connections, 0)
