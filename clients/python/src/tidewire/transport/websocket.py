"""Frames in WebSocket messages."""

import asyncio
import ssl
from collections.abc import Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ..codec import MESSAGE_BYTES_MAX
from ..codes import code_of
from ..errors import ConnectError, UntrustedError
from ..targets import Target
from .link import Inflow, Trust
from .tls import check_pinned, ssl_context

SUBPROTOCOL = Subprotocol("tidewire.v1")
#: Frames are gathered up to so many bytes per message. A server takes no smaller limit than one frame.
_MESSAGE_BYTES = 128 * 1024
_CLOSE_SECONDS = 5
_STATUS_BASE = 4000


class WebSocketLink:
    """One WebSocket, and the task that reads it."""

    def __init__(self, socket: ClientConnection, inflow: Inflow) -> None:
        self._socket = socket
        self._inflow = inflow
        self._reader = asyncio.create_task(self._read(), name="tidewire websocket reader")

    async def write(self, frames: Sequence[bytes]) -> None:
        """Writes the frames in as few messages as possible."""
        batch: list[bytes] = []
        size = 0
        try:
            for frame in frames:
                if batch and size + len(frame) > _MESSAGE_BYTES:
                    await self._socket.send(b"".join(batch))
                    batch, size = [], 0
                batch.append(frame)
                size += len(frame)
            if batch:
                await self._socket.send(b"".join(batch))
        except ConnectionClosed as closed:
            self._inflow.lost(_words(closed))

    async def close(self) -> None:
        """Closes the WebSocket; the other side has five seconds to answer."""
        try:
            await self._socket.close()
        finally:
            self._reader.cancel()

    async def _read(self) -> None:
        message = self._inflow.message
        receive = self._socket.recv
        try:
            while True:
                data = await receive(decode=False)
                message(data)
        except ConnectionClosed as closed:
            self._inflow.lost(_words(closed))
        except Exception as error:
            self._inflow.lost(f"a fault of this client: {error!r}")
            raise


def _words(closed: ConnectionClosed) -> str:
    received = closed.rcvd
    if received is None:
        return "the connection broke"
    code = code_of(received.code - _STATUS_BASE)
    name = f" ({code.text})" if code is not None else f" (status {received.code})"
    return f"the server closed the connection{name}" + (f": {received.reason}" if received.reason else "")


async def connect_websocket(target: Target, inflow: Inflow, trust: Trust) -> WebSocketLink:
    """Opens a WebSocket to the target."""
    scheme = "wss" if target.is_encrypted else "ws"
    try:
        socket = await connect(
            f"{scheme}://{target.authority}{target.path}",
            ssl=ssl_context(trust) if target.is_encrypted else None,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            # The protocol has a heartbeat of its own.
            ping_interval=None,
            open_timeout=None,
            close_timeout=_CLOSE_SECONDS,
            max_size=MESSAGE_BYTES_MAX,
            user_agent_header=None,
        )
    except ssl.SSLCertVerificationError as error:
        raise UntrustedError(target.url, error.verify_message) from error
    except InvalidStatus as error:
        reason = f"it answers with HTTP status {error.response.status_code} at {target.path}"
        raise ConnectError(target.url, reason) from error
    except (OSError, EOFError, InvalidHandshake) as error:
        reason = str(error) or type(error).__name__
        raise ConnectError(target.url, f"{reason}; does a Tidewire server listen there?") from error
    link = None
    try:
        if socket.subprotocol != SUBPROTOCOL:
            raise ConnectError(target.url, f"the server there does not speak {SUBPROTOCOL}")
        tls = socket.transport.get_extra_info("ssl_object")
        check_pinned(target, trust, None if tls is None else tls.getpeercert(binary_form=True))
        link = WebSocketLink(socket, inflow)
        return link
    finally:
        if link is None:
            await socket.close()
