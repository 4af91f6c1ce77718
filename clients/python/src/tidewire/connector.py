"""Making connections: HELLO, WELCOME, and which server is tried when."""

import asyncio
from dataclasses import dataclass
from typing import Any

from . import frames as f
from .codec import encode
from .codes import ErrorCode
from .errors import ConnectError, ProtocolError, TidewireError, UnauthenticatedError, is_final, refused
from .targets import Target, Targets
from .token import Token
from .transport import Dialer, Inflow, Link

VERSION = 1
_HEARTBEAT_MS = 30_000


@dataclass(slots=True, eq=False)
class Established:
    """A connection whose server has said WELCOME."""

    link: Link
    inflow: Inflow
    target: Target
    session: str
    info: dict[str, Any]
    #: When WELCOME came, by the client's clock.
    began_s: float

    @property
    def heartbeat_s(self) -> float:
        """After so long without a word the server is asked for a sign of life."""
        return (self.number("heartbeat_ms") or _HEARTBEAT_MS) / 1000

    def number(self, name: str) -> int:
        """A number of the server's information; 0 if it is not there."""
        value = self.info.get(name)
        return value if type(value) is int and value > 0 else 0

    @property
    def nodes(self) -> list[str]:
        """URLs of other nodes."""
        nodes = self.info.get("nodes")
        return [each for each in nodes if isinstance(each, str)][:16] if isinstance(nodes, list) else []

    @property
    def actor(self) -> list[int] | None:
        """Who counts for this connection in eventual counters: the node, and which of its lives it is."""
        actor = self.info.get("actor")
        return actor if isinstance(actor, list) and len(actor) == 2 else None

    def is_another(self, before: "Established") -> bool:
        """Whether it is another server than this one was."""
        if before.actor is not None and self.actor is not None:
            return before.actor[0] != self.actor[0]
        return self.target != before.target


@dataclass(slots=True, eq=False)
class Connector:
    """What connections are made with."""

    targets: Targets
    dial: Dialer
    token: Token
    client_name: str
    timeout_ms: int
    #: Whether the client goes to another node when it is asked to.
    moves: bool

    async def connect_first(self) -> Established:
        """Tries each server that was given, once."""
        failed: TidewireError | None = None
        for target in self.targets.given:
            try:
                return await self.connect(target)
            except TidewireError as error:
                # What no other attempt would mend says more than that a server is not there.
                if failed is None or is_final(error):
                    failed = error
        assert failed is not None
        raise failed

    async def connect(self, target: Target) -> Established:
        """Connects, and shows another token if the first one is not taken any more."""
        token = await self.token.fresh()
        try:
            return await self._connect(target, token)
        except UnauthenticatedError:
            if not self.token.can_refresh:
                raise
        return await self._connect(target, await self.token.refresh())

    async def _connect(self, target: Target, token: str | None) -> Established:
        try:
            async with asyncio.timeout(self.timeout_ms / 1000):
                established = await self._shake_hands(target, token)
        except TimeoutError as error:
            raise ConnectError(target.url, f"no answer within {self.timeout_ms} ms") from error
        self.targets.learn(established.nodes)
        self._note_expiry(established.info)
        return established

    def _note_expiry(self, info: dict[str, Any]) -> None:
        identity, now_ms = info.get("identity"), info.get("time_ms")
        ends_ms = identity.get("expires_at_ms") if isinstance(identity, dict) else None
        if isinstance(ends_ms, int) and isinstance(now_ms, int):
            self.token.expires_in((ends_ms - now_ms) / 1000)
        else:
            self.token.expires_in(None)

    async def _shake_hands(self, target: Target, token: str | None) -> Established:
        inflow = Inflow()
        link = await self.dial(target, inflow)
        first: asyncio.Future[f.Frame] = asyncio.get_running_loop().create_future()

        def frame(frame: f.Frame) -> None:
            if not first.done():
                first.set_result(frame)
                inflow.detach()

        def lost(reason: str) -> None:
            if not first.done():
                first.set_exception(ConnectError(target.url, reason))

        welcomed = False
        try:
            inflow.attach(frame, lost)
            await link.write([encode(self._hello(target, token))])
            established = self._welcomed(target, link, inflow, await first)
            welcomed = True
            return established
        finally:
            if not welcomed:
                first.cancel()
                await link.close()

    def _hello(self, target: Target, token: str | None) -> f.Hello:
        known = ["datagrams"] if target.scheme == "quic" else []
        return f.Hello(VERSION, known + (["move"] if self.moves else []), token, self.client_name)

    def _welcomed(self, target: Target, link: Link, inflow: Inflow, answer: f.Frame) -> Established:
        if isinstance(answer, f.Welcome) and answer.version == VERSION:
            return Established(link, inflow, target, answer.session, answer.info, self.token.clock.now())
        if isinstance(answer, f.Error):
            raise refused(answer.code, answer.message, answer.retry_after_ms, answer.actual)
        if isinstance(answer, f.GoAway):
            raise ConnectError(target.url, answer.message)
        raise ProtocolError(f"{target.url} did not begin with WELCOME")


def server_is_leaving(code: int) -> bool:
    """Whether a GOAWAY with this code announces the end of the connection."""
    return code != ErrorCode.MOVED
