"""Frames on QUIC streams, each preceded by its length.

Requests go on the control stream. The server opens a stream for each subscription and watch; frames
are routed by their `sub`, so here all streams are read alike.
"""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    ProtocolNegotiated,
    QuicEvent,
    StreamDataReceived,
)
from cryptography.hazmat.primitives.serialization import Encoding

from ..codec import MESSAGE_BYTES_MAX
from ..codes import code_of
from ..errors import ConfigError, ConnectError, UntrustedError
from ..targets import Target
from .link import Inflow, Trust
from .tls import check_pinned

ALPN = "tidewire/1"
#: A server that answers nothing for so long is gone; it is asked for a sign of life three times before.
_IDLE_SECONDS = 30.0
_KEEP_ALIVE_SECONDS = 10.0
_DATAGRAM_BYTES = 65_536
_CLOSE_SECONDS = 5
#: What may be written and not yet sent; writers wait beyond it.
_UNSENT_BYTES_MAX = 1024 * 1024
_FLOW_BYTES = 8 * 1024 * 1024


class QuicProtocol(QuicConnectionProtocol):
    """What arrives, cut into frames."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inflow: Inflow | None = None
        self.control: int | None = None
        self._buffers: dict[int, bytearray] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        """Takes data of streams, datagrams, and the end."""
        inflow = self.inflow
        if inflow is None or isinstance(event, ProtocolNegotiated):
            return
        if isinstance(event, StreamDataReceived):
            self._stream(inflow, event)
        elif isinstance(event, DatagramFrameReceived):
            inflow.datagram(event.data)
        elif isinstance(event, ConnectionTerminated):
            inflow.lost(closing_words(event))

    def _stream(self, inflow: Inflow, event: StreamDataReceived) -> None:
        buffer = self._buffers.setdefault(event.stream_id, bytearray())
        buffer += event.data
        at = 0
        while len(buffer) - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if length > MESSAGE_BYTES_MAX:
                inflow.lost(f"the server announced a frame of {length:,} bytes")
                return
            if len(buffer) - at - 4 < length:
                break
            inflow.message(bytes(buffer[at + 4 : at + 4 + length]))
            at += 4 + length
        del buffer[:at]
        if event.end_stream:
            del self._buffers[event.stream_id]
            if event.stream_id == self.control:
                inflow.lost("the server ended the control stream")


def closing_words(event: ConnectionTerminated) -> str:
    """How the connection ended."""
    code = code_of(event.error_code) if event.frame_type is None else None
    if code is not None:
        return f"the server closed the connection ({code.text}): {event.reason_phrase}"
    return f"the connection broke: {event.reason_phrase or 'no answer'}"


class QuicLink:
    """One QUIC connection with its control stream."""

    def __init__(self, protocol: QuicProtocol, held: AsyncExitStack) -> None:
        self._protocol = protocol
        self._held = held
        self._stream = protocol._quic.get_next_available_stream_id()
        protocol.control = self._stream
        self._keeper = asyncio.create_task(self._keep_alive(), name="tidewire quic keep-alive")

    async def write(self, frames: Sequence[bytes]) -> None:
        """Writes the frames to the control stream; waits while too much is unsent."""
        quic = self._protocol._quic
        data = b"".join(part for frame in frames for part in (len(frame).to_bytes(4, "big"), frame))
        quic.send_stream_data(self._stream, data)
        self._protocol.transmit()
        while self._unsent() > _UNSENT_BYTES_MAX and self._protocol.inflow is not None:
            if self._protocol.inflow.lost_reason is not None:
                return
            # The library has no signal for room; acknowledgements come within a round trip.
            await asyncio.sleep(0.005)

    async def _keep_alive(self) -> None:
        serial = 0
        while True:
            await asyncio.sleep(_KEEP_ALIVE_SECONDS)
            serial += 1
            self._protocol._quic.send_ping(serial)
            self._protocol.transmit()

    def _unsent(self) -> int:
        stream = self._protocol._quic._streams.get(self._stream)
        if stream is None:
            return 0
        sender = stream.sender
        return int(sender._buffer_stop - sender._buffer_start)

    async def close(self) -> None:
        """Ends the connection."""
        self._protocol.inflow = None
        self._keeper.cancel()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._held.aclose()
        except TimeoutError:
            transport = self._protocol._transport
            if transport is not None:
                transport.abort()


def _configuration(target: Target, trust: Trust) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[ALPN],
        idle_timeout=_IDLE_SECONDS,
        max_datagram_frame_size=_DATAGRAM_BYTES,
        max_data=2 * _FLOW_BYTES,
        max_stream_data=_FLOW_BYTES,
        server_name=target.host,
    )
    try:
        if trust.ca_file is not None:
            configuration.load_verify_locations(str(trust.ca_file))
        if trust.certificate is not None:
            configuration.load_cert_chain(trust.certificate, trust.key)
    except (OSError, ValueError) as error:
        raise ConfigError(f"a certificate or key file cannot be used: {error}") from error
    if trust.fingerprint is not None:
        # The one certificate is compared instead, before anything is sent; that the server has its key
        # is proved by the handshake in any case.
        configuration.verify_mode = ssl.CERT_NONE
    return configuration


async def connect_quic(target: Target, inflow: Inflow, trust: Trust) -> QuicLink:
    """Opens a QUIC connection to the target."""
    held = AsyncExitStack()
    link = None
    early = Inflow()

    def protocol_of(*args: Any, **kwargs: Any) -> QuicProtocol:
        made = QuicProtocol(*args, **kwargs)
        made.inflow = early
        return made

    try:
        connection = connect(
            target.host,
            target.port,
            configuration=_configuration(target, trust),
            create_protocol=protocol_of,
            wait_connected=True,
        )
        protocol = await held.enter_async_context(connection)
        assert isinstance(protocol, QuicProtocol)
        certificate = protocol._quic.tls._peer_certificate
        der = None if certificate is None else certificate.public_bytes(Encoding.DER)
        check_pinned(target, trust, der)
        protocol.inflow = inflow
        link = QuicLink(protocol, held)
        return link
    except ConnectionError as error:
        raise _dial_error(target, early.lost_reason or str(error), error) from error
    except OSError as error:
        raise ConnectError(target.url, str(error)) from error
    finally:
        if link is None:
            await held.aclose()


def _dial_error(target: Target, reason: str, error: Exception) -> ConnectError | UntrustedError:
    if "certificate" in reason.lower() or "hostname" in reason.lower():
        return UntrustedError(target.url, reason)
    return ConnectError(target.url, f"{reason}; does a Tidewire server listen there, on UDP?")
