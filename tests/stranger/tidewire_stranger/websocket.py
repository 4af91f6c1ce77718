"""Tidewire over WebSocket, plain or TLS with a pinned certificate."""

import ssl
from collections import deque

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from .codec import decode_all, encode
from .frames import Frame
from .links import Endpoint, LinkClosed, check_pin

PATH = "/v1/ws"
SUBPROTOCOL = Subprotocol("tidewire.v1")
FIRST_OWN_CLOSE_CODE = 4000
# A DELIVER may be longer than the limit of frames by the server's own header.
RECEIVE_MAX = 16 * 1024 * 1024


def pinned_context(pin: str) -> ssl.SSLContext:
    """A TLS context that takes exactly one certificate, whoever has signed it.

    The check runs inside the handshake, so that nothing is sent to another server.
    """

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check_pin(self.getpeercert(binary_form=True), pin)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the chain; the certificate itself is compared
    context.sslobject_class = PinnedObject
    return context


class WebSocketLink:
    name = "websocket"

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._decoded: deque[Frame] = deque()

    @classmethod
    async def open(cls, endpoint: Endpoint, tls: bool = False) -> "WebSocketLink":
        connection = await connect(
            f"{'wss' if tls else 'ws'}://{endpoint.host}:{endpoint.port}{PATH}",
            subprotocols=[SUBPROTOCOL],
            ssl=pinned_context(endpoint.certificate_sha256) if tls else None,
            compression=None,
            max_size=RECEIVE_MAX,
            ping_interval=None,
            proxy=None,
            close_timeout=2,
        )
        return cls(connection)

    async def send(self, *frames: Frame) -> None:
        await self.send_bytes(b"".join(map(encode, frames)))

    async def send_bytes(self, data: bytes) -> None:
        await self._send(data)

    async def send_text(self, text: str) -> None:
        await self._send(text)

    async def _send(self, message: bytes | str) -> None:
        try:
            await self.connection.send(message)
        except ConnectionClosed:
            raise self._closed() from None

    async def receive(self) -> Frame:
        while not self._decoded:
            try:
                message = await self.connection.recv(decode=False)
            except ConnectionClosed:
                raise self._closed() from None
            self._decoded.extend(decode_all(message))
        return self._decoded.popleft()

    async def close(self) -> None:
        await self.connection.close()

    def _closed(self) -> LinkClosed:
        number, reason = self.connection.close_code, self.connection.close_reason
        code = number - FIRST_OWN_CLOSE_CODE if number is not None else 0
        return LinkClosed(number, code if code > 0 else None, reason or "")
