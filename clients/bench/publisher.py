"""One publisher: python publisher.py SERVER HOST:PORT TOPIC.

It writes prepared bytes to the server's port, which costs it next to nothing. Each line of its standard input is a
number of messages; it publishes so many and answers with a line when the server has taken all of them.
"""

import base64
import http.client
import json
import os
import select
import socket
import sys
import time
from typing import Protocol

import msgpack

PAYLOAD = b"x" * 128
#: Types of Tidewire's frames.
WELCOME, PUBACK = 2, 11
#: Messages in one write, and in one request to Centrifugo.
PER_WRITE = 64
PER_REQUEST = 256
#: Writes between two looks at what the server has said.
WRITES_PER_LOOK = 64


class Sink(Protocol):
    """Where messages are written to."""

    #: Messages in one write.
    per_write: int

    def write(self) -> None:
        """Publishes that many."""

    def hear(self) -> None:
        """Answers what has to be answered; raises SystemExit if the server has refused something."""

    def finish(self) -> None:
        """Returns when the server has taken everything."""


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    stream = socket.create_connection((host, int(port)))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def readable(stream: socket.socket) -> bool:
    return bool(select.select([stream], [], [], 0)[0])


class Tidewire:
    """PUBLISH frames over WebSocket, one record each, without acknowledgement."""

    per_write = PER_WRITE

    def __init__(self, address: str, topic: str) -> None:
        self._stream = connected(address)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /v1/ws HTTP/1.1", f"Host: {address}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: tidewire.v1",
        ]  # fmt: skip
        self._stream.sendall("\r\n".join([*lines, "", ""]).encode())
        reply = b""
        while b"\r\n\r\n" not in reply:
            reply += self._stream.recv(4_096)
        if not reply.startswith(b"HTTP/1.1 101"):
            sys.exit(f"Tidewire has refused the publisher: {reply.decode(errors='replace')}")
        self._stream.sendall(self._message(msgpack.packb([1, 1, [], None, "bench"])))
        record = msgpack.packb([None, None, PAYLOAD])
        self._bytes = self._message(msgpack.packb([10, 0, topic, 0, record, None]) * PER_WRITE)
        self._last = self._message(msgpack.packb([10, 1, topic, 1, record, None]))

    @staticmethod
    def _message(body: bytes) -> bytes:
        """A binary message; with a mask of zeros the body stays as it is."""
        length = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        return b"\x82" + length + bytes(4) + body

    def write(self) -> None:
        self._stream.sendall(self._bytes)

    def hear(self) -> None:
        while readable(self._stream):
            self._type()

    def finish(self) -> None:
        # One more record of the topic; it is acknowledged when all before it are there.
        self._stream.sendall(self._last)
        while self._type() != PUBACK:
            pass

    def _type(self) -> int:
        """The type of the next frame: WELCOME comes once, and PUBACK at the end."""
        said = self._stream.recv(65_536)
        frame = said[4:] if said[1:2] == b"\x7e" else said[2:]
        if said[:1] != b"\x82" or frame[1] not in (WELCOME, PUBACK):
            sys.exit(f"Tidewire has refused something: {said[:200]!r}")
        return frame[1]


class Nats:
    """PUB over TCP."""

    per_write = PER_WRITE

    def __init__(self, address: str, topic: str) -> None:
        self._stream = connected(address)
        self._stream.sendall(b'CONNECT {"verbose":false}\r\n')
        self._bytes = (f"PUB {topic} {len(PAYLOAD)}\r\n".encode() + PAYLOAD + b"\r\n") * PER_WRITE

    def write(self) -> None:
        self._stream.sendall(self._bytes)

    def hear(self) -> None:
        while readable(self._stream):
            self._said()

    def finish(self) -> None:
        self._stream.sendall(b"PING\r\n")
        while b"PONG\r\n" not in self._said():
            pass

    def _said(self) -> bytes:
        said = self._stream.recv(65_536)
        if not said or b"-ERR" in said:
            sys.exit(f"NATS has refused something: {said[:200]!r}")
        if b"PING\r\n" in said:
            self._stream.sendall(b"PONG\r\n")
        return said


class Centrifugo:
    """Batches of the HTTP API, each answered. `data` is text for clients of JSON, bytes for those of Protobuf."""

    per_write = PER_REQUEST

    def __init__(self, address: str, topic: str, protobuf: bool) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port))
        data = {"b64data": base64.b64encode(PAYLOAD).decode()} if protobuf else {"data": PAYLOAD.decode()}
        commands = [{"publish": {"channel": topic, **data}}] * PER_REQUEST
        self._body = json.dumps({"commands": commands}).encode()

    def write(self) -> None:
        self._connection.request("POST", "/api/batch", self._body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        said = reply.read()
        if reply.status != 200 or b'"error"' in said:
            sys.exit(f"Centrifugo has refused something: {reply.status} {said[:200]!r}")

    def hear(self) -> None:
        """Each request has been answered already."""

    def finish(self) -> None:
        """So has the last one."""


def publish(sink: Sink, messages: int) -> dict[str, float]:
    """Publishes so many; returns how it went."""
    began, cpu = time.perf_counter(), time.process_time()
    for written in range(messages // sink.per_write):
        if written % WRITES_PER_LOOK == 0:
            sink.hear()
        sink.write()
    sink.finish()
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def main() -> None:
    server, address, topic = sys.argv[1:]
    sink: Sink
    if server == "tidewire":
        sink = Tidewire(address, topic)
    elif server == "nats":
        sink = Nats(address, topic)
    else:
        sink = Centrifugo(address, topic, protobuf=server == "centrifugo-protobuf")
    for line in sys.stdin:
        print(json.dumps(publish(sink, int(line))), flush=True)


try:
    main()
except ConnectionError as error:
    sys.exit(f"the server has cut the publisher's connection: {error}")
