"""Subscriptions: the records of a topic, or of all topics that match a pattern.

The server may send as many bytes ahead as the window says; the window opens again as records are taken.
A subscription that is not read costs no more than that and delays nothing else. When very small
deliveries pile up beyond `EVENTS_MAX`, what comes is ignored, and the subscription starts again
where it stopped once everything was read: nothing is lost by that.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from . import frames as f
from .codec import Malformed
from .cursor import Cursor
from .errors import ProtocolError, TidewireError
from .events import GAP_REASONS, START_STATUSES, Event, Gap, GapReason, Progress, Started, StartStatus
from .names import has_wildcards
from .records import Record, decode_body
from .route import NOT_OPENED
from .routes import Routes
from .starts import AtOffset, Start, start_array

log = logging.getLogger("tidewire")

WINDOW_BYTES = 4 * 1024 * 1024
EVENTS_MAX = 32 * 1024


class Subscription:
    """An asynchronous iterator over `Record` and `Gap`; use it with `async with`.

    Iterating ends when the subscription is closed, and raises when the server has ended it.
    """

    def __init__(self, routes: Routes, pattern: str, start: Start, options: dict[str, Any]) -> None:
        self.sub = 0
        self.ran = False
        self.opened_once: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pattern = pattern
        self._routes = routes
        self._options = options
        self._window = max(int(options.get("credit") or WINDOW_BYTES), 1)
        self._one_topic = not has_wildcards(pattern)
        self._cursor = Cursor(start, self._one_topic)
        self._arrived: deque[f.Deliver | Started | Gap | Progress] = deque()
        #: The delivery that is being read, its records, and how many of them were taken.
        self._delivery: f.Deliver | None = None
        self._batch: list[Record] = []
        self._at = 0
        #: Where the application stands; `_cursor` is where the server stands.
        self._read = Cursor(start, self._one_topic)
        self._ready = asyncio.Event()
        self._unread = 0
        self._owed = 0
        self._overrun = False
        self._closed = False
        self._has_started = False
        self._error: TidewireError | None = None

    async def __aenter__(self) -> "Subscription":
        await self._routes.open(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it here and on the server."""
        self._routes.close(self)

    @property
    def position(self) -> Start:
        """Where to start to get what was not taken yet: for a later `subscribe`, also of another process.

        Of a pattern, and of a topic with partitions, it moves when all records of a delivery are taken.
        """
        delivery = self._delivery
        if delivery is not None and self._at < len(self._batch):
            if self._at and self._one_topic and delivery.position is None:
                return AtOffset(self._batch[self._at - 1].offset + 1, delivery.epoch)
            return self._read.resume()
        self._close_batch()
        return self._read.resume()

    def __aiter__(self) -> AsyncIterator[Record | Gap]:
        return self

    async def __anext__(self) -> Record | Gap:
        # The hot path: a record of the delivery that is being read.
        at = self._at
        if at < len(self._batch):
            self._at = at + 1
            return self._batch[at]
        while True:
            event = await self.next_event()
            if isinstance(event, Record | Gap):
                return event

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens: also where delivery begins, and how far a filter has looked."""
        while True:
            try:
                event = await self.next_event()
            except StopAsyncIteration:
                return
            yield event

    async def next_event(self) -> Event:
        """The next event; raises StopAsyncIteration at the end. May be cancelled without losing one."""
        while True:
            at = self._at
            if at < len(self._batch):
                self._at = at + 1
                return self._batch[at]
            event = await self._next_arrived()
            if not isinstance(event, f.Deliver):
                return event
            self._open_batch(event)

    async def next_batch(self) -> list[Record]:
        """The records of the next delivery, or what is left of the one that is being read.

        Other events are passed over; this is the fastest way to read. Raises StopAsyncIteration at the end.
        """
        while self._at >= len(self._batch):
            event = await self._next_arrived()
            if isinstance(event, f.Deliver):
                self._open_batch(event)
        records = self._batch[self._at :] if self._at else self._batch
        self._at = len(self._batch)
        return records

    async def _next_arrived(self) -> f.Deliver | Started | Gap | Progress:
        self._close_batch()
        while not self._arrived:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            if self._overrun:
                self._overrun = False
                self._routes.restart(self)
            if not self.sub:
                raise RuntimeError(NOT_OPENED)
            self._ready.clear()
            await self._ready.wait()
        event = self._arrived.popleft()
        if isinstance(event, f.Deliver):
            self._give_credit(len(event.body))
        elif isinstance(event, Started):
            if not event.resumed:
                self._read.started(event.epoch, event.offset, event.positions)
        elif event.position is not None or event.topic is not None:
            self._read.advance(event.epoch, event.next, event.position)
        return event

    def _close_batch(self) -> None:
        """The delivery that was read lies behind."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            self._read.advance(delivery.epoch, delivery.next, delivery.position)

    def _give_credit(self, count: int) -> None:
        self._unread -= count
        self._owed += count
        if self._owed * 4 >= self._window and not self._overrun:
            self._routes.grant(self, self._owed)
            self._owed = 0

    def _open_batch(self, delivery: f.Deliver) -> None:
        partition = delivery.position[0] if delivery.position is not None and self._one_topic else None
        try:
            self._batch = records_of(delivery, partition)
        except Malformed as error:
            fault = ProtocolError(f"a delivery of '{delivery.topic}' cannot be read: {error}")
            self._routes.close(self)
            raise fault from error
        self._delivery, self._at = delivery, 0

    # The client's side.

    def opening(self) -> f.Subscribe | None:
        """SUBSCRIBE: from the start that was asked for, or behind what has arrived."""
        if self._closed or self._error is not None or self._overrun:
            return None
        self._owed = 0
        options = {**self._options, "credit": max(self._window - self._unread, 1)}
        return f.Subscribe(0, self.sub, self.pattern, start_array(self._cursor.resume()), options)

    def started(self, reply: f.Frame) -> None:
        """SUBSCRIBED."""
        if not isinstance(reply, f.Subscribed):
            return self.end(ProtocolError("SUBSCRIBED expected"))
        positions = reply.positions or []
        known = reply.status < len(START_STATUSES)
        status = START_STATUSES[reply.status] if known else StartStatus.OTHER
        missing = None if reply.missing is None else (reply.missing[0], reply.missing[1])
        rows = tuple((of, epoch, at) for of, epoch, at in positions)
        resumed = self._has_started
        self._has_started = True
        self._cursor.started(reply.epoch, reply.offset, positions)
        self._keep(Started(status, reply.epoch, reply.offset, missing, rows, resumed))
        topic = self.pattern if self._one_topic else None
        if status is StartStatus.NEW_EPOCH:
            self._keep(Gap(topic, reply.epoch, 0, reply.offset, GapReason.NEW_EPOCH))
        elif status is StartStatus.GAP:
            first, end = missing or (0, 0)
            self._keep(Gap(topic, reply.epoch, first, end, GapReason.RETENTION))

    def receive(self, frame: Any) -> None:
        """DELIVER, GAP and PROGRESS."""
        if self._overrun or self._closed or self._error is not None:
            return
        if len(self._arrived) >= EVENTS_MAX or self._unread > 2 * self._window + WINDOW_BYTES:
            log.debug("'%s' is not read fast enough; it starts again later", self.pattern)
            self._overrun = True
        elif type(frame) is f.Deliver:
            self._keep_delivery(frame)
        elif type(frame) is f.GapSeen:
            self._cursor.advance(frame.epoch, frame.next, frame.position)
            known = frame.reason < len(GAP_REASONS)
            reason = GAP_REASONS[frame.reason] if known else GapReason.OTHER
            self._keep(Gap(frame.topic, frame.epoch, frame.first, frame.next, reason, _row(frame.position)))
        elif type(frame) is f.Progressed:
            self._keep_progress(frame)

    def end(self, error: TidewireError | None) -> None:
        """It is over."""
        if error is None:
            self._closed = True
            self._arrived.clear()
        elif self._error is None:
            self._error = error
        self._ready.set()

    def _keep(self, event: f.Deliver | Started | Gap | Progress) -> None:
        self._arrived.append(event)
        self._ready.set()

    def _keep_delivery(self, delivery: f.Deliver) -> None:
        hole = self._cursor.hole_before(delivery.epoch, delivery.first, delivery.position)
        if hole is not None:
            log.error("the server left out [%d, %d) of '%s'", hole, delivery.first, delivery.topic)
            gap = Gap(delivery.topic, delivery.epoch, hole, delivery.first, GapReason.UNEXPLAINED)
            self._keep(gap)
        self._cursor.advance(delivery.epoch, delivery.next, delivery.position)
        self._unread += len(delivery.body)
        self._arrived.append(delivery)
        self._ready.set()

    def _keep_progress(self, frame: f.Progressed) -> None:
        """Of several in a row only the newest says anything."""
        self._cursor.advance(frame.epoch, frame.next, frame.position)
        position = _row(frame.position)
        last = self._arrived[-1] if self._arrived else None
        if isinstance(last, Progress) and last.topic == frame.topic:
            if (last.position or (None,))[0] == (position or (None,))[0]:
                self._arrived.pop()
        self._keep(Progress(frame.topic, frame.epoch, frame.next, position))


def _row(position: list[int] | None) -> tuple[int, int, int] | None:
    return None if position is None else (position[0], position[1], position[2])


def records_of(delivery: f.Deliver, partition: int | None) -> list[Record]:
    """The records of a delivery."""
    topic, epoch, first, time_ms = delivery.topic, delivery.epoch, delivery.first, delivery.time_ms
    raw = decode_body(delivery.body)
    offsets = delivery.offsets
    if len(raw) != (delivery.next - first if offsets is None else len(offsets)):
        raise Malformed("a delivery holds another number of records than it says")
    if offsets is None:
        return [
            Record(topic, epoch, offset, key, headers, payload, time_ms, partition)
            for offset, (key, headers, payload) in enumerate(raw, first)
        ]
    return [
        Record(topic, epoch, first + at, key, headers, payload, time_ms, partition)
        for at, (key, headers, payload) in zip(offsets, raw, strict=True)
    ]
