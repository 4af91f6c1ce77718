"""What a transport has to offer, and where it hands over what arrives."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..codec import Decoder, Malformed
from ..errors import ConfigError
from ..frames import Frame
from ..targets import Target

_EARLY_FRAMES_MAX = 256


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificate is accepted, for `wss://` and `quic://`.

    Without a CA file and a fingerprint: those that the system trusts. A fingerprint pins the one
    certificate whose DER bytes have this SHA-256; names, dates and issuers in it are not looked at.
    `certificate` and `key` are PEM files that prove who the client is.
    """

    ca_file: Path | None = None
    fingerprint: bytes | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(
        cls,
        ca_file: str | Path | None,
        fingerprint: str | None,
        certificate: str | Path | None,
        key: str | Path | None,
    ) -> "Trust":
        """Reads the settings as `connect` takes them."""
        if ca_file is not None and fingerprint is not None:
            raise ConfigError("give a CA file or a fingerprint, not both")
        if (certificate is None) != (key is None):
            raise ConfigError("a client certificate needs its key, and the other way round")
        pinned = None
        if fingerprint is not None:
            try:
                pinned = bytes.fromhex(fingerprint.replace(":", ""))
            except ValueError:
                pinned = b""
            if len(pinned) != 32:
                raise ConfigError("a fingerprint is a SHA-256: 64 hexadecimal digits")
        paths = [None if path is None else Path(path) for path in (ca_file, certificate, key)]
        return cls(paths[0], pinned, paths[1], paths[2])


class Link(Protocol):
    """One connection. It hands what arrives to its `Inflow`."""

    async def write(self, frames: Sequence[bytes]) -> None:
        """Writes encoded frames in order; waits while the other side takes no more."""

    async def close(self) -> None:
        """Ends the connection; waits for its end for a bounded time."""


class Inflow:
    """What arrives over one connection: its frames, and how it ended."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._early: list[Frame] = []
        self._on_frame: Callable[[Frame], None] | None = None
        self._on_lost: Callable[[str], None] | None = None
        self.lost_reason: str | None = None

    def message(self, data: bytes) -> None:
        """Takes one or more whole frames."""
        if self.lost_reason is not None:
            return
        try:
            on_frame = self._on_frame
            if on_frame is None:
                self._keep(data)
            else:
                for frame in self._decoder.frames(data):
                    on_frame(frame)
        except Malformed as error:
            self.lost(f"the server sent what cannot be read: {error}")

    def datagram(self, data: bytes) -> None:
        """Takes the one frame of a datagram; its bytes have nothing to do with those of messages."""
        try:
            for frame in Decoder().frames(data):
                self._early.append(frame) if self._on_frame is None else self._on_frame(frame)
        except Malformed as error:
            self.lost(f"the server sent a datagram that cannot be read: {error}")

    def lost(self, reason: str) -> None:
        """The connection has ended, or is of no more use."""
        if self.lost_reason is None:
            self.lost_reason = reason
            if self._on_lost is not None:
                self._on_lost(reason)

    def attach(self, on_frame: Callable[[Frame], None], on_lost: Callable[[str], None]) -> None:
        """Says who gets what arrives from now on, and what has arrived so far."""
        self._on_frame, self._on_lost = on_frame, on_lost
        early, self._early = self._early, []
        for frame in early:
            on_frame(frame)
        if self.lost_reason is not None:
            on_lost(self.lost_reason)

    def detach(self) -> None:
        """Keeps what arrives until somebody is there again."""
        self._on_frame = self._on_lost = None

    def _keep(self, data: bytes) -> None:
        self._early.extend(self._decoder.frames(data))
        if len(self._early) > _EARLY_FRAMES_MAX:
            self.lost("the server sent more than it was asked for")


Dialer = Callable[[Target, Inflow], Awaitable[Link]]


def dial(trust: Trust) -> Dialer:
    """Makes connections over the transport that a target names."""

    async def connect(target: Target, inflow: Inflow) -> Link:
        if target.scheme == "quic":
            try:
                from .quic import connect_quic
            except ImportError as error:
                raise ConfigError(f"quic:// needs aioquic: pip install 'tidewire[quic]' ({error})") from error
            return await connect_quic(target, inflow, trust)
        from .websocket import connect_websocket

        return await connect_websocket(target, inflow, trust)

    return connect
