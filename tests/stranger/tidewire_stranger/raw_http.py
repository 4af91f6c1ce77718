"""HTTP by hand: bytes as they are, also those that no library sends."""

import re
import socket
import ssl
import time
from dataclasses import dataclass

from .links import Endpoint

UPGRADE = (
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: tidewire.v1\r\n"
)
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
WAIT = 10.0


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.status} {self.body[:200]!r}"


class Wire:
    """A TCP connection, with TLS if it is asked for."""

    def __init__(self, endpoint: Endpoint, tls: bool = False) -> None:
        self.host = f"{endpoint.host}:{endpoint.port}"
        self.socket = socket.create_connection((endpoint.host, endpoint.port), timeout=WAIT)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self._came = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """What the server does not take any more is lost: it may have hung up already."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def request(self, path: str, headers: str = "", method: str = "GET") -> Response:
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{headers}\r\n".encode())
        return self.response(method)

    def response(self, method: str = "GET") -> Response:
        """The next response."""
        while b"\r\n\r\n" not in self._came:
            if not self._more():
                raise ConnectionError(f"it ended within a response: {self._came[:200]!r}")
        head, self._came = self._came.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        status = int(first.split()[1])
        length = 0 if method == "HEAD" or status == 101 else int(headers["content-length"])
        while len(self._came) < length:
            if not self._more():
                raise ConnectionError("it ended within a body")
        body, self._came = self._came[:length], self._came[length:]
        return Response(status, headers, body)

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        while self._more():
            pass
        return self._came

    def statuses(self) -> list[int]:
        """The statuses of all that comes until the server closes."""
        return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d+) ", self.rest())]

    def drip(self, data: bytes, seconds: float = WAIT) -> None:
        """Sends this again and again, reading what comes, until the server ends the connection."""
        deadline = time.monotonic() + seconds
        self.socket.settimeout(0.05)
        while time.monotonic() < deadline:
            try:
                self.socket.sendall(data)
                if not self.socket.recv(65536):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        raise TimeoutError(f"the connection is still open after {seconds} s")

    def _more(self) -> bool:
        try:
            read = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._came += read
        return bool(read)
