"""The life of a client: one connection after the other, and what goes on over all of them."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Any

from . import frames as f
from .backoff import Backoff
from .clock import Clock
from .connector import Connector, Established, server_is_leaving
from .errors import (
    ClientClosedError,
    ClientFailedError,
    ConnectionLostError,
    RefusedError,
    TidewireError,
    UnauthenticatedError,
    is_final,
    refused,
)
from .leaving import find_another
from .producer import Numbering
from .repeating import Repeating
from .requests import Request, Requests
from .routes import Routes
from .state import ConnectionState, StateChange, States
from .token import TokenCallbackError

log = logging.getLogger("tidewire")

#: A clean close waits so long for replies.
_CLOSE_S = 5.0
#: A connection that held so long was a good one: the delays start short again.
_STEADY_S = 10.0
#: So long what was asked is answered over the old connection before the client moves to another node.
_SETTLE_S = 7.0


class _Lost(Exception):
    """The connection is gone."""


class _Moved(Exception):
    """Another node is to serve the client."""

    def __init__(self, to: Established) -> None:
        super().__init__(to.target.url)
        self.to = to


@dataclass(slots=True)
class Settings:
    """What the life of a client depends on."""

    clock: Clock
    backoff_ms: tuple[int, int]
    reconnect: bool
    offline_queue: int
    repeat_for_ms: int


class Session:
    """Holds the connection; everything that the application asks for goes through it."""

    def __init__(self, connector: Connector, settings: Settings, states: States) -> None:
        self.connector, self.settings, self.states = connector, settings, states
        self.clock = settings.clock
        self.numbering = Numbering()
        self.requests = Requests(settings.offline_queue, self.numbering.may_publish, self.numbering.give)
        self.numbering.requests = self.requests
        self.repeating = Repeating(self.requests, self.numbering, self.clock, settings.repeat_for_ms)
        self.routes = Routes(self)
        self.members: dict[tuple[str, str], bytes | None] = {}
        self.current: Established | None = None
        self.end: TidewireError | None = None
        self._parting: RefusedError | None = None
        self._goaway: asyncio.Queue[f.GoAway] = asyncio.Queue(1)
        self._closing = asyncio.Event()
        self._lost: asyncio.Future[str] | None = None
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._heard = 0.0
        self._life: asyncio.Task[None] | None = None
        self._farewells: set[asyncio.Task[None]] = set()
        #: The connection to another node that is about to take the place of the one in use.
        self._next: Established | None = None

    # What the application wants.

    async def start(self) -> None:
        """Makes the first connection, or says why there is none."""
        self.states.set(StateChange(ConnectionState.CONNECTING))
        try:
            established = await self.connector.connect_first()
        except TidewireError as error:
            self.end = ClientFailedError(error)
            self.states.set(StateChange(ConnectionState.FAILED, str(error), error), over=True)
            raise
        self._adopt(established)
        self._life = asyncio.create_task(self._live(established), name="tidewire client")

    async def call(
        self, frame: f.Frame, repeatable: bool, numbered: bool = False, silent: bool = False
    ) -> Any:
        """Sends a request and waits for its reply. May be cancelled: the reply is dropped then."""
        if self.end is not None:
            raise self.end
        future: asyncio.Future[f.Frame] = asyncio.get_running_loop().create_future()
        self.requests.submit(Request(frame, repeatable, future, silent=silent, numbered=numbered))
        return await future

    async def ping(self) -> float:
        """Seconds that the server takes for a sign of life."""
        if self.end is not None:
            raise self.end
        nonce = self.requests.next_req()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings[nonce] = future
        sent = self.clock.now()
        try:
            if not self.requests.online:
                raise ConnectionLostError(self.requests.offline_reason)
            self.requests.control(f.Ping(nonce))
            await future
        finally:
            del self._pings[nonce]
        return self.clock.now() - sent

    async def close(self) -> None:
        """Closes the connection cleanly: what was asked is answered first, for at most five seconds."""
        self._closing.set()
        if self._life is not None:
            await asyncio.wait([self._life])
        if self._farewells:
            await asyncio.wait(list(self._farewells), timeout=_CLOSE_S)

    # One connection after the other.

    async def _live(self, established: Established) -> None:
        backoff = Backoff(*self.settings.backoff_ms)
        try:
            while True:
                since = self.clock.now()
                try:
                    await self._hold(established)
                    return self._shut(ClientClosedError(), ConnectionState.DISCONNECTED)
                except _Moved as moved:
                    self._leave_behind(established)
                    reason = "the server has asked to go to another node"
                    self.requests.cut(ConnectionLostError(reason), established.actor)
                    established = moved.to
                except _Lost as lost:
                    await self._cut(established, str(lost))
                    if self.clock.now() - since >= _STEADY_S:
                        backoff.reset()
                    again = await self._reconnect(established, backoff)
                    if again is None:
                        return self._shut(ClientClosedError(), ConnectionState.DISCONNECTED)
                    established = again
                self._adopt(established)
        except TidewireError as error:
            self._shut(ClientFailedError(error), ConnectionState.FAILED, error)
        except Exception as error:
            log.exception("the client has failed")
            fault = TidewireError(f"a fault of this client: {error!r}")
            self._shut(ClientFailedError(fault), ConnectionState.FAILED, fault)

    def _adopt(self, established: Established) -> None:
        """A new connection is there: what goes on after a cut is sent first."""
        self.current = established
        self._parting = self._next = None
        self._lost = asyncio.get_running_loop().create_future()
        self._heard = self.clock.now()
        requests = self.requests
        requests.begin(established.number("in_flight_max"), established.number("max_frame_bytes"))
        self.numbering.begin()
        self.repeating.begin()
        for (name, member), data in self.members.items():
            requests.send_now(Request(f.Presence(0, 0, name, member, data), False, on_reply=self._rejoined))
        self.routes.resume()
        requests.online = True
        requests.pump()
        # Frames that have come already are taken before the application hears of the connection.
        established.inflow.attach(self._on_frame, self._on_lost)
        self.states.set(StateChange(ConnectionState.CONNECTED, session=established.session))

    async def _cut(self, established: Established, reason: str) -> None:
        error = self._parting or ConnectionLostError(reason)
        if isinstance(error, UnauthenticatedError):
            self.connector.token.refuse()
        words = str(self._parting) if self._parting is not None else reason
        log.debug("disconnected: %s", words)
        self._offline(words, error)
        self.requests.cut(ConnectionLostError(words), established.actor)
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(ConnectionLostError(words))
        self.repeating.stop()
        self._leave_behind(established)
        if not self.settings.reconnect:
            raise error

    def _offline(self, reason: str, error: TidewireError) -> None:
        self.requests.online = False
        self.requests.offline_reason = reason
        self.states.set(StateChange(ConnectionState.DISCONNECTED, reason, error))

    async def _reconnect(self, lost: Established, backoff: Backoff) -> Established | None:
        """Tries until a connection is there; None when the client is closed meanwhile."""
        targets = self.connector.targets
        random = self.clock.random
        delay = backoff.next_elsewhere_s(random()) if targets.are_several else backoff.next_s(random())
        while True:
            if await self._closed_within(self.clock.sleep(delay)):
                return None
            failures: list[TidewireError] = []
            for target in targets.round(lost.target):
                self.states.set(StateChange(ConnectionState.CONNECTING))
                attempt = asyncio.ensure_future(self.connector.connect(target))
                if await self._closed_within(attempt):
                    return None
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                if not isinstance(error, TidewireError):
                    raise error
                failures.append(error)
                self._offline(str(error), error)
            if all(is_final(error) for error in failures):
                raise failures[-1]
            delay = backoff.next_s(random())

    async def _closed_within(self, work: Any) -> bool:
        """Whether the client is closed before this is done; it is given up then."""
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([task, closing], return_when=asyncio.FIRST_COMPLETED)
            return not task.done()
        finally:
            closing.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, TidewireError):
                    await task

    def _leave_behind(self, established: Established) -> None:
        """Closes a connection that is not used any more; nothing waits for its end."""
        established.inflow.detach()
        task = asyncio.create_task(established.link.close(), name="tidewire farewell")
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _shut(self, end: TidewireError, state: ConnectionState, error: TidewireError | None = None) -> None:
        """The end of this client; everybody who waits is told."""
        self.end = end
        self.repeating.stop()
        self.requests.fail_all(end)
        self.routes.end_all(end)
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(end)
        self.states.set(StateChange(state, str(error or end), error or end), over=True)

    # Serving one connection.

    async def _hold(self, established: Established) -> None:
        """Serves a connection; returns when the client was closed and all is answered."""
        assert self._lost is not None
        lost = self._lost
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(work, name=f"tidewire {name}")
            for name, work in {
                "writer": self._write(established),
                "heartbeat": self._beat(established.heartbeat_s),
                "token": self._renew_token(),
                "mover": self._follow_goaways(established, lost),
            }.items()
        ]
        closing = asyncio.create_task(self._closing.wait())
        waited: list[asyncio.Future[Any]] = [lost, closing, *tasks]
        try:
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done:
                    task.result()
            if lost.done():
                raise _Lost(lost.result()) if self._next is None else _Moved(self._next)
            await self._settle(self.requests.emptied(), _CLOSE_S, lost)
            self.requests.online = False
        finally:
            for each in waited[1:]:
                each.cancel()
            await asyncio.gather(*waited[1:], return_exceptions=True)
        if self._next is not None:
            self._leave_behind(self._next)
        await established.link.close()

    async def _settle(self, all_done: Any, seconds: float, lost: asyncio.Future[str]) -> None:
        """Waits until everything is answered, for a limited time."""
        waiting = [asyncio.ensure_future(all_done), asyncio.ensure_future(self.clock.sleep(seconds))]
        try:
            await asyncio.wait([*waiting, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _write(self, established: Established) -> None:
        requests, write = self.requests, established.link.write
        while True:
            await requests.filled.wait()
            batch = requests.take()
            await write(batch)
            requests.written(batch)

    async def _beat(self, heartbeat_s: float) -> None:
        while True:
            silent = self.clock.now() - self._heard
            if silent >= heartbeat_s * 3:
                raise _Lost(f"the server was silent for {silent:.1f} s")
            if silent >= heartbeat_s and not self.requests.control(f.Ping(0)):
                raise _Lost("the server takes no more bytes")
            await self.clock.sleep(heartbeat_s - silent % heartbeat_s)

    async def _renew_token(self) -> None:
        token = self.connector.token
        retry = Backoff(500, 20_000)
        while True:
            due = token.refresh_due_in() if token.can_refresh else None
            if due is None:
                await asyncio.Event().wait()
                continue
            await self.clock.sleep(due)
            try:
                await self.authenticate(await token.refresh())
                retry.reset()
            except (TokenCallbackError, RefusedError) as error:
                log.warning("the token could not be renewed: %s", error)
                await self.clock.sleep(retry.next_s(self.clock.random()))

    async def authenticate(self, shown: str) -> dict[str, Any]:
        """Shows the server a newer token."""
        reply = await self.call(f.Auth(0, shown), repeatable=False)
        identity: dict[str, Any] = dict(getattr(reply, "result", None) or {})
        self.connector.token.value = shown
        if self.current is not None:
            info = self.current.info
            # The server's clock, as far as it is known: what it said first, and what has passed since.
            ends_ms, began_ms = identity.get("expires_at_ms"), info.get("time_ms")
            passed_s = self.clock.now() - self.current.began_s
            left_s = None
            if isinstance(ends_ms, int) and isinstance(began_ms, int):
                left_s = (ends_ms - began_ms) / 1000 - passed_s
            self.connector.token.expires_in(left_s)
            info["identity"] = identity
        return identity

    # Going to another node.

    async def _follow_goaways(self, here: Established, lost: asyncio.Future[str]) -> None:
        """Returns never; raises when the client is to go, or has lost the connection."""
        while True:
            goaway = await self._goaway.get()
            grace_s = goaway.grace_ms / 1000
            found: Established | None = None
            if self.settings.reconnect:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(grace_s / 2, 0.05)):
                        found = await find_another(
                            self.connector, self.clock, goaway, here, self._leave_behind
                        )
            if found is not None:
                self._next = found
                self.requests.online = False
                self.requests.offline_reason = "going to another node"
                self.states.set(StateChange(ConnectionState.CONNECTING, goaway.message))
                # The new connection is not served yet, and its server wants to hear something.
                await self._settle(self.requests.drained(), min(_SETTLE_S, found.heartbeat_s * 2), lost)
                raise _Moved(found)
            if server_is_leaving(goaway.code):
                error = refused(goaway.code, goaway.message)
                self._parting = error
                self.requests.online = False
                await self._settle(self.requests.drained(), grace_s, lost)
                raise _Lost(str(error))
            log.debug("stays, since no other node is reached")

    # What arrives.

    def _on_lost(self, reason: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)

    def _on_frame(self, frame: Any) -> None:
        self._heard = self.clock.now()
        kind = type(frame)
        if kind is f.Deliver or kind in _ROUTED:
            self.routes.receive(frame)
        elif kind in _REPLIES:
            self._reply(frame.req, frame)
        elif kind is f.Error:
            self._refusal(frame)
        elif kind is f.Ping:
            self.requests.control(f.Pong(frame.nonce))
        elif kind is f.Pong:
            ping = self._pings.get(frame.nonce)
            if ping is not None and not ping.done():
                ping.set_result(None)
        elif kind is f.GoAway:
            if self._goaway.full():
                self._goaway.get_nowait()
            self._goaway.put_nowait(frame)
        else:
            log.debug("a frame of type %s is ignored", getattr(frame, "type", frame.TYPE))

    def _reply(self, req: int, frame: f.Frame) -> None:
        request = self.requests.answered(req)
        if request is not None:
            if request.refused_at is not None:
                self.repeating.succeeded()
            request.finish(frame)

    def _refusal(self, frame: f.Error) -> None:
        error = refused(frame.code, frame.message, frame.retry_after_ms, frame.actual)
        request = self.requests.sent.pop(frame.req, None)
        if request is not None:
            self._refused(request, error)
        elif frame.sub is not None:
            self.routes.refused(frame.sub, error)
        elif frame.req == 0:
            # Said before the server closes the connection.
            self._parting = error
        else:
            log.warning("the server refused a request that wanted no answer: %s", error)

    def _refused(self, request: Request, error: RefusedError) -> None:
        if self.numbering.renumbers(request, error):
            self.requests.sent[request.frame.req] = request
            self.requests.requeue(lambda each: each is request)
            return
        settles_here = isinstance(request.frame, f.Settle) and request.frame.sub in self.routes
        if not self.repeating.postpone(request, error, settles_here):
            request.finish(error)
        self.requests.settled.set()
        self.requests.pump()

    def _rejoined(self, reply: Any) -> None:
        if isinstance(reply, TidewireError):
            log.warning("a member could not be declared present again: %s", reply)


_ROUTED = frozenset({f.Update, f.GapSeen, f.Progressed, f.Leased})
_REPLIES = frozenset({f.Ok, f.PubAck, f.Subscribed, f.Counted, f.Voted, f.Value, f.Watching})
