"""Upgrades that are not what they seem, extensions that nobody agreed to, and pages of other sites."""

import os
from dataclasses import replace

import pytest

from conftest import harmless
from tidewire_stranger.raw_http import KEY, UPGRADE, Wire

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def unharmed_by_all_of_this(daemon):
    with harmless(daemon):
        yield


def upgrade(wire: Wire, more: str = "", key: str = KEY, method: str = "GET"):
    return wire.request("/v1/ws", UPGRADE + key + more, method=method)


def frame(payload: bytes, first: int = 0x82) -> bytes:
    """A masked frame of at most 125 bytes."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([first, 0x80 | len(payload)]) + mask + masked


def closed_with(wire: Wire) -> int:
    """The status of the close frame that ends what the server says."""
    said = wire.rest()
    at = said.rfind(b"\x88")
    assert at >= 0, said
    return int.from_bytes(said[at + 2 : at + 4], "big")


def test_an_honest_upgrade(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        answer = upgrade(wire)
        assert answer.status == 101
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "CONNECT"])
def test_an_upgrade_is_a_get(daemon, method: str) -> None:
    with Wire(daemon.endpoint) as wire:
        assert upgrade(wire, method=method).status == 400


@pytest.mark.parametrize(
    "key",
    ["", KEY + KEY, "Sec-WebSocket-Key: x\r\n", "Sec-WebSocket-Key: " + "a" * 8000 + "\r\n"],
    ids=["none", "two", "short", "long"],
)
def test_an_upgrade_has_one_key(daemon, key: str) -> None:
    with Wire(daemon.endpoint) as wire:
        assert upgrade(wire, key=key).status == 400


@pytest.mark.parametrize("more", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
def test_an_upgrade_has_no_body(daemon, more: str) -> None:
    """What a proxy takes for a body would be taken for frames."""
    with Wire(daemon.endpoint) as wire:
        wire.send(f"GET /v1/ws HTTP/1.1\r\nHost: {wire.host}\r\n{UPGRADE}{KEY}{more}\r\n".encode())
        wire.send(frame(b"\x95\x01\x01\x90\xc0\xc0"))
        assert wire.statuses() == [400]


def test_http_1_0_is_not_upgraded(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(f"GET /v1/ws HTTP/1.0\r\nHost: {wire.host}\r\n{UPGRADE}{KEY}\r\n".encode())
        assert wire.statuses() == [400]


def test_a_request_behind_an_upgrade_is_taken_for_frames(daemon) -> None:
    """It is no masked frame, so it ends the WebSocket; it is not answered as a request."""
    with Wire(daemon.endpoint) as wire:
        head = f"GET /v1/ws HTTP/1.1\r\nHost: {wire.host}\r\n{UPGRADE}{KEY}\r\n".encode()
        wire.send(head + SMUGGLED)
        assert wire.response().status == 101
        assert closed_with(wire) == 1002
        assert wire.statuses() == []


OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "x-webkit-deflate-frame",
    "permessage-bzip2, permessage-deflate",
]


@pytest.mark.parametrize("offer", OFFERS)
def test_no_extension_is_agreed_to(daemon, offer: str) -> None:
    with Wire(daemon.endpoint) as wire:
        answer = upgrade(wire, f"Sec-WebSocket-Extensions: {offer}\r\n")
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers
        # As if it had been.
        wire.send(frame(b"\x95\x01\x01\x90\xc0\xc0", first=0xC2))
        assert closed_with(wire) == 1002


@pytest.mark.parametrize("bit", [0x40, 0x20, 0x10])
@pytest.mark.parametrize("opcode", [0x2, 0x0, 0x8, 0x9, 0xA])
def test_reserved_bits_are_refused_on_every_frame(daemon, bit: int, opcode: int) -> None:
    with Wire(daemon.endpoint) as wire:
        assert upgrade(wire).status == 101
        wire.send(frame(b"", first=0x80 | bit | opcode))
        assert closed_with(wire) == 1002


# Pages of other sites

ORIGINS = {
    "null": "null",
    "another": "https://evil.example",
    "another port": "http://127.0.0.1:1",
    "no port": "http://127.0.0.1",
    "as user": "http://{host}@evil.example",
    "user of the host": "http://evil.example@{host}",
    "subdomain": "http://{host}.evil.example",
    "superdomain": "http://evil.{host}",
    "with a path": "http://{host}/",
    "with a query": "http://{host}?",
    "with a fragment": "http://{host}#",
    "with a space": "http://{host} ",
    "two in one": "http://{host} https://evil.example",
    "without a scheme": "{host}",
    "half a scheme": "//{host}",
    "trailing dot": "http://127.0.0.1.:{port}",
    "decimal": "http://2130706433:{port}",
    "hexadecimal": "http://0x7f000001:{port}",
    "short": "http://127.1:{port}",
    "in IPv6": "http://[::ffff:127.0.0.1]:{port}",
    "escaped": "http://127%2e0.0.1:{port}",
    "empty": "",
    "not ASCII": "http://\u0661\u0662\u0667.0.0.1:{port}",
}


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS.keys())
def test_a_page_of_another_site_may_not_connect(daemon, origin: str) -> None:
    port = str(daemon.endpoint.port)
    with Wire(daemon.endpoint) as wire:
        shown = origin.format(host=wire.host, port=port)
        lone = shown.endswith(" ")  # white space around a value is not a part of it
        assert upgrade(wire, f"Origin: {shown}\r\n").status == (101 if lone else 403)


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_its_own_page_may_connect_in_any_case(daemon, tls: bool) -> None:
    own = replace(daemon.endpoint, host="localhost")
    scheme = "https" if tls else "http"
    for origin in (f"{scheme}://localhost:{own.port}", f"{scheme.upper()}://LocalHost:{own.port}"):
        with Wire(own, tls) as wire:
            assert upgrade(wire, f"Origin: {origin}\r\n").status == 101


def test_two_origins_are_none(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        own = f"Origin: http://{wire.host}\r\n"
        assert upgrade(wire, own + own).status == 403
        assert upgrade(wire, own + "Origin: https://evil.example\r\n").status == 403


def test_a_name_that_was_pointed_here_is_not_trusted(daemon) -> None:
    """Its page names itself in Origin and in Host; a server without accounts must not take that."""
    for name in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1.nip.io"):
        with Wire(daemon.endpoint) as wire:
            wire.host = f"{name}:{daemon.endpoint.port}"
            assert upgrade(wire, f"Origin: http://{wire.host}\r\n").status == 403
