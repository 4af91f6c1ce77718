"""The webhook: questions as an application of another make sees and verifies them."""

import asyncio
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from conftest import TRANSPORTS, Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger.codes import Code
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record

SECRET = "whsec_" + "c2l4dGVlbiBieXRlcyBhbmQgdGhlbiBzb21l"

CONFIG = """
[webhook]
url = "{url}"
secret_file = "{secret}"
on = ["publish"]
timeout_ms = 500
remember_ms = 0
{more}
"""

X = Record(payload=b"x")

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Application:
    """An application over HTTPS, with a certificate of its own."""

    def __init__(self, directory: Path) -> None:
        self.questions: list[dict[str, Any]] = []
        self.answer: Answer = allow
        self.certificate = directory / "app.pem"
        key = directory / "app.key"
        certify(self.certificate, key)
        (directory / "webhook-secret").write_text(SECRET)
        application = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                # Fails where the signature is not that of the body, the id and the time.
                question = Webhook(SECRET).verify(body, dict(self.headers.items()))
                assert json.loads(body) == question
                application.questions.append(question)
                application.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Connections that the daemon gives up are not errors of the test."""

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}/decide"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def certify(certificate: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def answering(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


allow = answering(b'{"allow": true}')


def without_end(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b" " * 65_536)


def byte_by_byte(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "15")
    handler.end_headers()
    for byte in b'{"allow": true}':
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.2)


def hanging_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


def no_http(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff" * 5_000)
    handler.close_connection = True


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    running = Application(tmp_path)
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def asking(application: Application, tmp_path: Path) -> Iterator[Callable[[str], daemons.Daemon]]:
    started = []

    def start(more: str) -> daemons.Daemon:
        secret = tmp_path / "webhook-secret"
        config = CONFIG.format(url=application.url, secret=secret, more=more)
        started.append(daemons.start(tmp_path, config))
        return started[-1]

    yield start
    for daemon in started:
        assert daemon.stop() == 0


def trusting(application: Application) -> str:
    return f'ca_file = "{application.certificate}"'


async def code_of(publish: Any) -> int:
    with pytest.raises(Refused) as problem:
        await publish
    return problem.value.code


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_questions_are_signed_and_say_who_wants_what(
    application: Application, asking: Any, transport: str
) -> None:
    daemon = asking(trusting(application))
    async with Dialer(daemon.endpoint, transport)() as client:
        await client.publish("a.b", X)
        application.answer = answering(b'{"allow": false, "reason": "full"}')
        assert await code_of(client.publish("a.c", X)) == Code.FORBIDDEN
    first, second = application.questions
    assert abs(first.pop("time_ms") / 1000 - time.time()) < 60
    assert first == {
        "operation": "publish",
        "name": "a.b",
        "voter": None,
        "identity": None,
        "tenant": None,
        "address": "127.0.0.1",
        "node": "tidewire-1",
    }
    assert second["name"] == "a.c"


async def test_an_application_that_nobody_vouches_for_is_not_asked(
    application: Application, asking: Any
) -> None:
    daemon = asking("")
    async with Dialer(daemon.endpoint, TRANSPORTS[0])() as client:
        assert await code_of(client.publish("a", X)) == Code.UNAVAILABLE
    assert application.questions == []


@pytest.mark.parametrize(
    "answer",
    [
        without_end,
        byte_by_byte,
        hanging_up,
        no_http,
        answering(b'{"allow": true}', status=302, Location="/elsewhere"),
        answering(b'{"allow": true}', status=204),
        answering(b'{"allow": true}', status=401),
        answering(b'{"allow": "true"}'),
        answering(b'{"allow": true, "allow": 1}'),
        answering(b"[" * 15_000),
        answering(b""),
        answering(b"\xff\xfe"),
    ],
)
async def test_what_is_no_answer_allows_nothing(
    application: Application, asking: Any, answer: Answer
) -> None:
    daemon = asking(trusting(application))
    before = daemon.resident_kib()
    async with Dialer(daemon.endpoint, TRANSPORTS[0])() as client:
        application.answer = answer
        began = time.monotonic()
        assert await code_of(client.publish("a", X)) == Code.UNAVAILABLE
        assert time.monotonic() - began < 5
        application.answer = allow
        await client.publish("a", X)
    assert daemon.resident_kib() - before < 32 * 1024


async def test_many_that_wait_are_all_answered_in_the_end(
    application: Application, asking: Any
) -> None:
    daemon = asking(trusting(application) + "\nin_flight_max = 2")
    under_way, most, lock = 0, 0, threading.Lock()

    def late(handler: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        allow(handler)

    application.answer = late
    outcomes = {"taken": 0, "refused": 0}

    async def one(number: int) -> None:
        async with Dialer(daemon.endpoint, TRANSPORTS[0])() as client:
            try:
                await client.publish(f"a.{number}", X)
                outcomes["taken"] += 1
            except Refused as problem:
                assert problem.code == Code.UNAVAILABLE
                outcomes["refused"] += 1

    await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(60))), 60)
    # Two at a time for half a second: the others are told to come again.
    assert most == 2
    assert outcomes["taken"] >= 2 and outcomes["refused"] >= 10, outcomes
    assert len(application.questions) >= outcomes["taken"]
