"""The servers that a client may connect to."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import ConfigError

PORT = 7171
GIVEN_MAX = 64
LEARNED_MAX = 64
_WEBSOCKET_PATH = "/v1/ws"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is, and how to talk to it."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Reads `ws://`, `wss://` and `quic://` URLs."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"invalid server URL '{url}': {error}") from error
        if parts.scheme not in ("ws", "wss", "quic"):
            raise ConfigError(f"invalid server URL '{url}': it must begin with ws://, wss:// or quic://")
        if "@" in parts.netloc:
            raise ConfigError(f"invalid server URL '{url}': credentials do not belong there; use a token")
        if not host:
            raise ConfigError(f"invalid server URL '{url}': it names no host")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if parts.scheme == "quic" and path not in ("", "/"):
            raise ConfigError(f"invalid server URL '{url}': a quic:// URL has no path")
        path = _WEBSOCKET_PATH if path in ("", "/") else path
        return cls(parts.scheme, host, PORT if port is None else port, path)

    @property
    def is_encrypted(self) -> bool:
        """Whether the server proves who it is by a certificate."""
        return self.scheme != "ws"

    @property
    def authority(self) -> str:
        """HOST:PORT, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL as it stands in messages."""
        return f"{self.scheme}://{self.authority}"


class Targets:
    """Those that were given, and those that servers have told of; both are bounded."""

    def __init__(self, urls: Iterable[str]) -> None:
        self.given: list[Target] = []
        self._learned: list[Target] = []
        for url in urls:
            target = Target.parse(url)
            if target not in self.given:
                self.given.append(target)
        if not 1 <= len(self.given) <= GIVEN_MAX:
            raise ConfigError(f"a client has 1 to {GIVEN_MAX} URLs: a few nodes know all others")
        if len({target.is_encrypted for target in self.given}) > 1:
            raise ConfigError("of these URLs some are encrypted and some are not: give URLs of one kind")

    def learn(self, urls: Iterable[str]) -> None:
        """Remembers what a server has told, the newest first.

        Only URLs of a scheme that was given count: nobody is led to a connection that is less safe.
        """
        told = self._usable(urls)
        merged = dict.fromkeys([*told, *self._learned])
        self._learned = [target for target in merged if target not in self.given][:LEARNED_MAX]

    @property
    def are_several(self) -> bool:
        """Whether there is more than one."""
        return len(self.given) + len(self._learned) > 1

    def round(self, lost: Target) -> list[Target]:
        """All of them in a random order, the one that was lost at the end."""
        others = [target for target in [*self.given, *self._learned] if target != lost]
        random.shuffle(others)
        return [*others, lost]

    def beginning_with(self, urls: Iterable[str], left: Target) -> list[Target]:
        """Those of these that may be gone to, in this order, then the others, without the one that is left."""
        found = dict.fromkeys([*self._usable(urls), *self.round(left)])
        return [target for target in found if target != left]

    def _usable(self, urls: Iterable[str]) -> list[Target]:
        schemes = {target.scheme for target in self.given}
        found = []
        for url in urls:
            try:
                target = Target.parse(url)
            except ConfigError:
                continue
            if target.scheme in schemes:
                found.append(target)
        return found
