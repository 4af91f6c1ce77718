"""Requests: those that wait to be sent, and those that wait for their reply.

Bounds: the server says how many may be unanswered, and what is encoded and not yet written is at most
`OUTBOX_BYTES_MAX`; what is beyond waits in its order. Without a connection at most `offline_max`
requests wait, and more are refused.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import frames as f
from .codec import encode
from .errors import OfflineQueueFullError, TidewireError, refused

OUTBOX_BYTES_MAX = 4 * 1024 * 1024
#: What the client's own frames (PONG, CREDIT) may take beyond that.
CONTROL_BYTES_MAX = 1024 * 1024
IN_FLIGHT_MAX = 1024
FRAME_BYTES_MAX = 1024 * 1024
_IN_FLIGHT_CEILING = 1 << 20
#: Actors that an increment may name.
TRIED_MAX = 16

Reply = f.Frame | TidewireError


@dataclass(slots=True, eq=False)
class Request:
    """A request until it is answered."""

    frame: Any
    #: Whether sending it twice is the same as sending it once.
    repeatable: bool
    future: asyncio.Future[f.Frame] | None = None
    #: Who gets the reply instead: what the client asks for by itself.
    on_reply: Callable[[Reply], None] | None = None
    #: Whether a success is not answered.
    silent: bool = False
    #: Whether this client numbers it, so that the server knows it again.
    numbered: bool = False
    renumbered: int = 0
    attempts: int = 0
    refused_at: float | None = None
    postponed: bool = False

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future is not None and self.future.done()

    def finish(self, reply: Reply) -> None:
        """Hands the reply over."""
        if self.on_reply is not None:
            self.on_reply(reply)
        elif self.future is not None and not self.future.done():
            if isinstance(reply, TidewireError):
                self.future.set_exception(reply)
            else:
                self.future.set_result(reply)


def note_tried(frame: f.Frame, actor: list[int] | None) -> bool:
    """Has a numbered increment say who may have counted it; False if it can name no more of them."""
    options = frame.options if isinstance(frame, f.Incr) else None
    if actor is None or options is None or "producer" not in options:
        return True
    tried = options.setdefault("tried", [])
    if actor not in tried:
        if len(tried) >= TRIED_MAX:
            return False
        tried.append(actor)
    return True


@dataclass(slots=True)
class Requests:
    """All of them, over one connection after the other."""

    offline_max: int
    #: Whether publishes may be sent now; asks for what they need if not.
    may_publish: Callable[[], bool]
    #: Gives a publish its number.
    give_number: Callable[[Request], None]
    online: bool = False
    offline_reason: str = "not connected yet"
    in_flight_max: int = IN_FLIGHT_MAX
    frame_bytes_max: int = FRAME_BYTES_MAX
    sent: dict[int, Request] = field(default_factory=dict)
    repeated: int = 0
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    _queue: deque[Request] = field(default_factory=deque)
    _publishes: deque[Request] = field(default_factory=deque)
    _outbox: list[bytes] = field(default_factory=list)
    _outbox_bytes: int = 0
    _writing: bool = False
    _last_req: int = 0

    def next_req(self) -> int:
        """A request id that was never used."""
        self._last_req += 1
        return self._last_req

    def submit(self, request: Request) -> None:
        """Sends a request as soon as there is room, in its order."""
        frame = request.frame
        frame.req = self.next_req()
        if not self.online and len(self._queue) + len(self._publishes) >= self.offline_max:
            raise OfflineQueueFullError(self.offline_max, self.offline_reason)
        (self._publishes if request.numbered else self._queue).append(request)
        self.pump()

    def send_now(self, request: Request) -> None:
        """Sends what a connection begins with, whatever waits and however much is unanswered."""
        request.frame.req = self.next_req()
        self._send(request)

    def control(self, frame: f.Frame) -> bool:
        """Sends a frame without reply; False if so much is unwritten that the connection must be dead."""
        if self._outbox_bytes > OUTBOX_BYTES_MAX + CONTROL_BYTES_MAX:
            return False
        self._push(encode(frame))
        return True

    def pump(self) -> None:
        """Sends what there is room for."""
        while self.online and len(self.sent) < self.in_flight_max and self._outbox_bytes < OUTBOX_BYTES_MAX:
            source = self._next_source()
            if source is None:
                return
            request = source.popleft()
            if not request.abandoned:
                if request.numbered:
                    self.give_number(request)
                self._send(request)

    def _next_source(self) -> deque[Request] | None:
        """The queue whose first request is the older one. Publishes wait for their producer's id."""
        for queue in (self._queue, self._publishes):
            while queue and queue[0].abandoned:
                queue.popleft()
        if self._publishes and self.may_publish():
            if not self._queue or self._publishes[0].frame.req < self._queue[0].frame.req:
                return self._publishes
        return self._queue if self._queue else None

    def _send(self, request: Request) -> None:
        data = encode(request.frame)
        if len(data) > self.frame_bytes_max:
            message = (
                f"a frame of {len(data):,} bytes is larger than the server takes ({self.frame_bytes_max:,})"
            )
            request.finish(refused(2, message))
            return
        request.attempts += 1
        request.postponed = False
        self.repeated += request.attempts > 1
        self._push(data)
        if request.silent:
            request.finish(f.Ok(request.frame.req))
        else:
            self.sent[request.frame.req] = request

    def _push(self, data: bytes) -> None:
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        self.filled.set()

    def take(self) -> list[bytes]:
        """What is to be written now; `written` is to be called when it is."""
        batch, self._outbox = self._outbox, []
        self.filled.clear()
        self._writing = bool(batch)
        return batch

    def written(self, batch: list[bytes]) -> None:
        """The transport has taken these."""
        self._outbox_bytes -= sum(map(len, batch))
        self._writing = False
        self.pump()
        self.settled.set()

    def answered(self, req: int) -> Request | None:
        """Takes the request that is answered by now."""
        request = self.sent.pop(req, None)
        if request is not None:
            self.settled.set()
            self.pump()
        return request

    async def drained(self) -> None:
        """Waits until nothing is unwritten, or unanswered over this connection."""
        while self._outbox or self._writing or any(not each.postponed for each in self.sent.values()):
            self.settled.clear()
            await self.settled.wait()

    async def emptied(self) -> None:
        """Waits until nothing waits to be sent either."""
        while self._queue or self._publishes:
            self.settled.clear()
            await self.settled.wait()
        await self.drained()

    def requeue(self, which: Callable[[Request], bool]) -> None:
        """Sends these again, before anything newer; their room is free until then."""
        again = sorted((each for each in self.sent.values() if which(each)), key=lambda each: -each.frame.req)
        for request in again:
            del self.sent[request.frame.req]
            if not request.abandoned:
                (self._publishes if request.numbered else self._queue).appendleft(request)
        self.pump()

    def cut(self, error: TidewireError, actor: list[int] | None = None) -> None:
        """The connection is gone: what must not be sent twice fails, the rest waits for the next one.

        `actor` is who may have counted the increments that were not answered.
        """
        self.online = False
        self._outbox, self._outbox_bytes, self._writing = [], 0, False
        self.filled.clear()
        lost = [each for each in self.sent.values() if not (each.repeatable and note_tried(each.frame, actor))]
        for request in lost:
            del self.sent[request.frame.req]
        self.requeue(lambda _: True)
        self.settled.set()
        for request in lost:
            if request.on_reply is None:
                request.finish(error)

    def fail_all(self, error: TidewireError) -> None:
        """The end: nothing is sent any more."""
        self.cut(error)
        rest = [*self._queue, *self._publishes]
        self._queue.clear()
        self._publishes.clear()
        for request in rest:
            request.finish(error)

    def begin(self, in_flight_max: int, frame_bytes_max: int) -> None:
        """A new connection is there, and takes so much."""
        self.in_flight_max = min(in_flight_max or IN_FLIGHT_MAX, _IN_FLIGHT_CEILING)
        self.frame_bytes_max = frame_bytes_max or FRAME_BYTES_MAX
