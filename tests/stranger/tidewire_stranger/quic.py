"""Tidewire over QUIC: frames with a length on streams, bare frames in datagrams."""

import asyncio
import ssl
from collections import defaultdict
from contextlib import AsyncExitStack
from struct import pack, unpack_from
from typing import cast

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography.hazmat.primitives.serialization import Encoding

from .codec import decode, encode
from .frames import Frame
from .links import Endpoint, LinkClosed, WrongCertificate, check_pin

ALPN = "tidewire/1"
LENGTH_BYTES = 4


def with_length(data: bytes) -> bytes:
    return pack(">I", len(data)) + data


class Connection(QuicConnectionProtocol):
    """Cuts the streams into frames and puts all of them into one queue.

    A client routes by subscription and request, never by stream, so the queue remembers
    the stream only for those who want to look at it.
    """

    def __init__(self, quic: QuicConnection, **kwargs) -> None:
        super().__init__(quic, **kwargs)
        self.pin = ""
        self.pin_checked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.incoming: asyncio.Queue[tuple[int | None, Frame] | Exception] = asyncio.Queue()
        self.finished_streams: set[int] = set()
        self.drop_datagrams = False
        self.datagrams_seen = 0
        self._partial: dict[int, bytearray] = defaultdict(bytearray)

    def quic_event_received(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self._check_certificate()
            case events.StreamDataReceived():
                self._stream_data(event.stream_id, event.data, event.end_stream)
            case events.DatagramFrameReceived():
                self.datagrams_seen += 1
                if not self.drop_datagrams:
                    self._frame(None, event.data)
            case events.ConnectionTerminated():
                # Frame type None marks an application's close, as opposed to QUIC's own.
                code = event.error_code if event.frame_type is None else None
                ended = LinkClosed(event.error_code, code or None, event.reason_phrase)
                self.incoming.put_nowait(ended)
                if not self.pin_checked.done():
                    self.pin_checked.set_exception(ended)

    def _check_certificate(self) -> None:
        # The library checks that the server owns the certificate's key; it offers no other
        # way to look at a certificate than this attribute.
        certificate = self._quic.tls._peer_certificate
        try:
            check_pin(certificate.public_bytes(Encoding.DER) if certificate else None, self.pin)
            self.pin_checked.set_result(None)
        except WrongCertificate as problem:
            self.pin_checked.set_exception(problem)

    def _stream_data(self, stream: int, data: bytes, end: bool) -> None:
        partial = self._partial[stream]
        partial += data
        while len(partial) >= LENGTH_BYTES:
            (length,) = unpack_from(">I", partial)
            if len(partial) < LENGTH_BYTES + length:
                break
            self._frame(stream, bytes(partial[LENGTH_BYTES : LENGTH_BYTES + length]))
            del partial[: LENGTH_BYTES + length]
        if end:
            self.finished_streams.add(stream)

    def _frame(self, stream: int | None, data: bytes) -> None:
        try:
            self.incoming.put_nowait((stream, decode(data)))
        except ValueError as problem:
            self.incoming.put_nowait(problem)

    def write(self, stream: int, data: bytes) -> None:
        self._quic.send_stream_data(stream, data)
        self.transmit()

    def open_stream(self) -> int:
        stream = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream, b"")
        return stream


class QuicLink:
    name = "quic"

    def __init__(self, connection: Connection, cleanup: AsyncExitStack) -> None:
        self.connection = connection
        self.control = connection.open_stream()
        self.last_stream: int | None = None  # where the frame received last came from
        self._cleanup = cleanup
        self._ended: LinkClosed | None = None

    @classmethod
    async def open(
        cls, endpoint: Endpoint, datagrams: bool = False, server_streams: bool = True
    ) -> "QuicLink":
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[ALPN],
            verify_mode=ssl.CERT_NONE,  # the chain; the certificate itself is compared
            max_datagram_frame_size=65536 if datagrams else None,
        )
        endpoint_pin = endpoint.certificate_sha256

        def create(quic: QuicConnection, **kwargs) -> Connection:
            if not server_streams:
                quic._local_max_streams_uni.value = 0
            connection = Connection(quic, **kwargs)
            connection.pin = endpoint_pin
            return connection

        cleanup = AsyncExitStack()
        try:
            opened = await cleanup.enter_async_context(
                connect(
                    endpoint.host,
                    endpoint.port,
                    configuration=configuration,
                    create_protocol=create,
                )
            )
            connection = cast(Connection, opened)  # `create` has made it
            # Nothing is written before the certificate is known to be the right one.
            await connection.pin_checked
        except BaseException:
            await cleanup.aclose()
            raise
        return cls(connection, cleanup)

    async def send(self, *frames: Frame) -> None:
        await self.send_raw(b"".join(with_length(encode(frame)) for frame in frames))

    async def send_bytes(self, data: bytes) -> None:
        await self.send_raw(with_length(data))

    async def send_raw(self, data: bytes) -> None:
        self._write(self.control, data)

    def open_stream(self) -> int:
        """One more bidirectional stream for requests."""
        return self.connection.open_stream()

    async def send_on(self, stream: int, *frames: Frame) -> None:
        self._write(stream, b"".join(with_length(encode(frame)) for frame in frames))

    def _write(self, stream: int, data: bytes) -> None:
        if self._ended is not None:
            raise self._ended
        self.connection.write(stream, data)

    async def receive(self) -> Frame:
        if self._ended is not None:
            raise self._ended
        got = await self.connection.incoming.get()
        if isinstance(got, LinkClosed):
            self._ended = got
        if isinstance(got, Exception):
            raise got
        self.last_stream, frame = got
        return frame

    async def close(self) -> None:
        await self._cleanup.aclose()
