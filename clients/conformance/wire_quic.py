"""The scripted server over QUIC: frames with their lengths on the control stream, and a stream for each subscription."""

import asyncio
import datetime
import functools
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aioquic.asyncio import serve
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

#: QUIC's own INTERNAL_ERROR: the connection breaks without a word of the protocol.
_BROKEN = 1


class QuicEnd(QuicConnectionProtocol):
    """What arrives on one connection, cut into frames. Its first stream is the control stream."""

    def __init__(self, *args: Any, begin: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begin = begin
        self._link: Any = None
        self._buffers: dict[int, bytearray] = {}
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue(10_000)
        self._taking: asyncio.Task[None] | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Takes frames, in their order, and the end."""
        if isinstance(event, StreamDataReceived):
            if self._link is None:
                self._link = self._begin(QuicWire(self, event.stream_id))
                self._taking = asyncio.create_task(self._take())
            self._cut_into_frames(event)
        elif isinstance(event, ConnectionTerminated) and self._link is not None:
            self._link.ended.set()
            self._taking.cancel()

    def _cut_into_frames(self, event: StreamDataReceived) -> None:
        buffer = self._buffers.setdefault(event.stream_id, bytearray())
        buffer += event.data
        while len(buffer) >= 4 and len(buffer) >= 4 + (length := int.from_bytes(buffer[:4], "big")):
            self._arrived.put_nowait(bytes(buffer[4 : 4 + length]))
            del buffer[: 4 + length]

    async def _take(self) -> None:
        while True:
            await self._link.take(await self._arrived.get())


class QuicWire:
    """The server's end of one connection."""

    def __init__(self, end: QuicEnd, control: int) -> None:
        self._end, self._control = end, control
        self._streams: dict[int, int] = {}

    async def send(self, frame: bytes, sub: int | None) -> None:
        """Sends a frame, on the subscription's own stream if it is one's."""
        stream = self._control
        if sub is not None:
            if sub not in self._streams:
                self._streams[sub] = self._end._quic.get_next_available_stream_id(is_unidirectional=True)
            stream = self._streams[sub]
        self._write(stream, len(frame).to_bytes(4, "big") + frame)

    async def send_bytes(self, message: bytes) -> None:
        """Sends what is no frame."""
        self._write(self._control, message)

    def _write(self, stream: int, data: bytes) -> None:
        self._end._quic.send_stream_data(stream, data)
        self._end.transmit()

    def cut(self) -> None:
        """The network fails. A client learns that at once here, as it does of a reset of TCP."""
        self._end._quic.close(error_code=_BROKEN, frame_type=0, reason_phrase="cut")
        self._end.transmit()

    async def close(self, code: int, reason: str) -> None:
        """Ends it with an error code of the protocol."""
        self._end._quic.close(error_code=code, reason_phrase=reason)
        self._end.transmit()


@functools.cache
def identity() -> tuple[x509.Certificate, Any]:
    """A certificate that clients pin, and its key; one for all servers."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scripted")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def fingerprint() -> str:
    """The SHA-256 of the certificate, in hexadecimal."""
    return hashlib.sha256(identity()[0].public_bytes(Encoding.DER)).hexdigest()


class QuicListener:
    """Listens on a UDP port."""

    def __init__(self, begin: Callable[[Any], Any]) -> None:
        self._begin = begin
        self._server: Any = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"quic://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listens, at the same port as before if there was one."""
        protocol = functools.partial(QuicEnd, begin=self._begin)
        configuration = _configuration()
        self._server = await serve(
            "127.0.0.1", self._port, configuration=configuration, create_protocol=protocol
        )
        self._port = self._server._transport.get_extra_info("sockname")[1]

    async def stop(self) -> None:
        """Listens no more, and ends what is there."""
        if self._server is not None:
            self._server.close()
            self._server = None


def _configuration() -> QuicConfiguration:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["tidewire/1"])
    certificate, key = identity()
    with tempfile.TemporaryDirectory() as folder:
        chain, secret = Path(folder, "chain.pem"), Path(folder, "key.pem")
        chain.write_bytes(certificate.public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        configuration.load_cert_chain(chain, secret)
    return configuration
