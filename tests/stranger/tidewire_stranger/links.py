"""What the client needs of a transport, whichever it is."""

import ssl
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from .frames import Frame


@dataclass
class LinkClosed(Exception):
    """The connection has ended. `number` is the transport's own: 1009, 4001, ..."""

    number: int | None
    code: int | None  # the protocol's error code, if the number carries one
    reason: str = ""


class WrongCertificate(ssl.SSLCertVerificationError):
    """The server's certificate is not the pinned one."""


class Link(Protocol):
    name: str

    async def send(self, *frames: Frame) -> None: ...

    async def send_bytes(self, data: bytes) -> None:
        """One message (WebSocket) or one frame with its length (QUIC), unchecked."""

    async def receive(self) -> Frame:
        """The next frame, or LinkClosed."""

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, and the certificate that it is known by."""

    host: str
    port: int
    certificate_sha256: str

    @classmethod
    def parse(cls, address: str, certificate_sha256: str) -> "Endpoint":
        host, port = address.rsplit(":", 1)
        return cls(host.strip("[]"), int(port), certificate_sha256)


def check_pin(der: bytes | None, pin: str) -> None:
    found = sha256(der or b"").hexdigest()
    if found != pin.lower().replace(":", ""):
        raise WrongCertificate(f"pinned {pin}, the server shows {found}")
