"""The scripted server over WebSocket: a message holds frames."""

from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class WebSocketWire:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    async def send(self, frame: bytes, sub: int | None) -> None:
        """Sends a frame."""
        await self._socket.send(frame)

    async def send_bytes(self, message: bytes) -> None:
        """Sends what is no frame."""
        await self._socket.send(message)

    def cut(self) -> None:
        """The network fails."""
        self._socket.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        """Ends it with an error code of the protocol."""
        await self._socket.close(4_000 + code, reason)


class WebSocketListener:
    """Listens on a TCP port."""

    def __init__(self, begin: Callable[[Any], Any]) -> None:
        self._begin = begin
        self._server: Any = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self._port}/v1/ws"

    async def start(self) -> None:
        """Listens, at the same port as before if there was one."""
        self._server = await serve(
            self._serve, "127.0.0.1", self._port, subprotocols=["tidewire.v1"], ping_interval=None
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, socket: ServerConnection) -> None:
        link = self._begin(WebSocketWire(socket))
        try:
            async for message in socket:
                await link.take(message)
        except ConnectionClosed:
            # How it ended is for the scenario to know.
            pass
        finally:
            link.ended.set()

    async def stop(self) -> None:
        """Listens no more, and ends what is there."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
