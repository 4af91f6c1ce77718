"""Requests that are not what they seem: paths that lead elsewhere, one request within another, floods of headers."""

import base64
import os

import pytest

from conftest import harmless
from tidewire_stranger.links import Endpoint
from tidewire_stranger.raw_http import Wire


@pytest.fixture(scope="module", autouse=True)
def unharmed_by_all_of_this(daemon):
    with harmless(daemon):
        yield


PATHS = [
    "/../etc/passwd",
    "/../../../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/%252e%252e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/..%c0%af..%c0%afetc/passwd",
    "/..\\..\\etc\\passwd",
    "/..%5c..%5cetc",
    "/.",
    "/./index.html",
    "//index.html",
    "//etc/passwd",
    "/etc/passwd",
    "/app.js/../index.html",
    "/app.js/",
    "/APP.JS",
    "/app.js%00.html",
    "/app.js;a=b",
    "/Cargo.toml",
    "/.git/config",
    "/tidewire.key",
    "/healthz",
    "/metrics",
    "/v1/status",
    "/v1/backup",
    "/v1/connections",
    "/v1/ws/../status",
    "http://127.0.0.1/../etc/passwd",
    "*",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_to_a_page_or_nowhere(daemon, path: str) -> None:
    with Wire(daemon.endpoint) as wire:
        answer = wire.request(path)
        assert answer.status == 404, answer
        assert b"root:" not in answer.body
        assert wire.request("/").status == 200, "the connection goes on"


@pytest.mark.parametrize("path", ["/\x00", "/app.js\x00", "/a b", "/\x7f", "file:///etc/passwd", ""])
def test_a_target_that_is_none(daemon, path: str) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode())
        assert wire.statuses() == [400]


def test_the_absolute_form_is_the_same_page_whatever_host_it_names(daemon) -> None:
    """A request that a proxy would pass on is not: nothing is fetched for anybody."""
    with Wire(daemon.endpoint) as wire:
        page = wire.request("/").body
        for form in ("http://evil.example/", "https://127.0.0.1:1/", "http://user@evil.example/"):
            answer = wire.request(form)
            assert (answer.status, answer.body) == (200, page), answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS", "X"])
def test_other_methods(daemon, method: str) -> None:
    target = "127.0.0.1:22" if method == "CONNECT" else "/"
    with Wire(daemon.endpoint) as wire:
        answer = wire.request(target, "Cookie: secret\r\n", method=method)
        assert answer.status == 405
        assert b"secret" not in answer.body


# One request within another

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

TWO_IN_ONE = {
    "CL.TE": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE.CL": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2d\r\n",
    "TE": "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE in capitals": "TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
    "TE that is not known": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "TE twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE with a space before its colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE behind a vertical tab": "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "TE on a folded line": "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n",
    "one length twice": "Content-Length: 5\r\nContent-Length: 5\r\n\r\nxxxxx",
    "a list of lengths": "Content-Length: 5, 5\r\n\r\nxxxxx",
    "a length with a sign": "Content-Length: +5\r\n\r\nxxxxx",
    "a hexadecimal length": "Content-Length: 0x5\r\n\r\nxxxxx",
    "a negative length": "Content-Length: -1\r\n\r\n",
    "an endless length": "Content-Length: 99999999999999999999999\r\n\r\n",
    "a folded line": "X: a\r\n Content-Length: 5\r\n\r\n",
    "a line that a bare CR ends": "X: a\rContent-Length: 5\r\n\r\n",
    "a NUL in a header": "X: a\0b\r\n\r\n",
    "a header without a name": ": x\r\n\r\n",
    "a header without a colon": "x\r\n\r\n",
    "chunk extensions": "Transfer-Encoding: chunked\r\n\r\n0;" + "a" * 20_000 + "\r\n\r\n",
    "a chunk of negative size": "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk whose size runs over": "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n\r\n",
    "a chunk that a bare LF ends": "Transfer-Encoding: chunked\r\n\r\n0\n\n",
    "trailers": "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.example\r\n\r\n",
    "a second Host": "Host: evil.example\r\n\r\n",
    "a body that is one": f"Content-Length: {len(SMUGGLED)}\r\n\r\n",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("lines", TWO_IN_ONE.values(), ids=TWO_IN_ONE.keys())
def test_what_follows_a_doubtful_request_is_not_answered(daemon, lines: str, method: str) -> None:
    """Refused, and the connection is closed, so that nobody else's request can be behind it."""
    with Wire(daemon.endpoint) as wire:
        head = f"{method} / HTTP/1.1\r\nHost: {wire.host}\r\n{lines}"
        wire.send(head.encode("latin-1") + SMUGGLED)
        assert wire.statuses() == [400]


def test_http_1_0_knows_no_chunks(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED)
        assert wire.statuses() == [400]


def test_a_request_without_a_host(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED)
        assert wire.statuses() == [400]


@pytest.mark.parametrize("preface", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n\r\n", b"\r\n" * 5000])
def test_other_versions(daemon, preface: bytes) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(preface + b"\0" * 100)
        assert wire.statuses() in ([], [400], [431])


def test_honest_requests_in_a_row_are_answered_in_order(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        for path in ("/", "/nothing", "/app.js"):
            wire.send(f"GET {path} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode())
        assert [wire.response().status for _ in range(3)] == [200, 404, 200]


# Headers

@pytest.mark.parametrize(
    "lines",
    [
        "X: " + "a" * 20_000 + "\r\n",
        "X-" + "a" * 20_000 + ": 1\r\n",
        "".join(f"x{number}: 1\r\n" for number in range(150)),
        "Cookie: a\r\n" * 5_000,
    ],
    ids=["a long value", "a long name", "too many", "too many of a name"],
)
def test_a_head_has_its_limits(daemon, lines: str) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: {wire.host}\r\n{lines}\r\n".encode())
        assert wire.statuses() == [431]


def test_a_long_target(daemon) -> None:
    with Wire(daemon.endpoint) as wire:
        wire.send(f"GET /{'a' * 20_000} HTTP/1.1\r\nHost: {wire.host}\r\n\r\n".encode())
        assert wire.statuses() in ([414], [431])


# The admin listener

@pytest.fixture
def admin(daemon) -> Endpoint:
    return Endpoint.parse(daemon.admin, "")


@pytest.mark.parametrize(
    "lines",
    [
        "Host: evil.example\r\n",
        "Host: {host}\r\nOrigin: http://evil.example\r\n",
        "Host: {host}\r\nOrigin: null\r\n",
        "Host: {host}\r\nSec-Fetch-Site: cross-site\r\n",
        "Host: {host}\r\nSec-Fetch-Site: same-site\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "",
    ],
)
def test_pages_do_not_reach_the_admin_listener(admin: Endpoint, lines: str) -> None:
    with Wire(admin) as wire:
        wire.send(f"GET /v1/status HTTP/1.1\r\n{lines.format(host=wire.host)}\r\n".encode())
        assert wire.response().status == 403


@pytest.mark.parametrize("path", ["/v1/../healthz", "/v1%2fstatus", "//healthz", "/healthz/", "/%2e%2e/etc/passwd"])
def test_a_path_at_the_admin_listener_is_what_it_says(admin: Endpoint, path: str) -> None:
    with Wire(admin) as wire:
        assert wire.request(path).status == 404


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", ".hidden", "a\\..\\b", "a\\u0000b"])
def test_a_recording_stays_in_its_directory(admin: Endpoint, name: str) -> None:
    body = f'{{"name": "{name}", "max_seconds": 1}}'
    with Wire(admin) as wire:
        headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        wire.send(f"POST /v1/recording HTTP/1.1\r\nHost: {wire.host}\r\n{headers}\r\n{body}".encode())
        answer = wire.response()
        assert answer.status == 400, answer


def test_a_large_body_is_not_taken_in(admin: Endpoint) -> None:
    with Wire(admin) as wire:
        headers = "Content-Type: application/json\r\nContent-Length: 1000000\r\n"
        wire.send(f"POST /v1/revocations HTTP/1.1\r\nHost: {wire.host}\r\n{headers}\r\n".encode())
        wire.send(base64.b64encode(os.urandom(100_000)))
        assert wire.response().status == 413
