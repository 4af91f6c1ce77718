"""Consumers: a share of a topic's records, each to be settled.

The server leases only so many records at once, so what waits here is bounded by `in_flight`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import frames as f
from .codec import Malformed
from .errors import ProtocolError, TidewireError
from .records import Record, decode_body
from .route import NOT_OPENED

if TYPE_CHECKING:
    from .session import Session

_ACK, _NACK, _EXTEND, _REJECT = 0, 1, 2, 3


@dataclass(slots=True, eq=False)
class Job:
    """A record that this consumer has to do.

    One of which nothing is said is delivered again when its time is over. Settling returns whether it
    counted: not if its time was over and another consumer has got it, or if the connection was lost
    meanwhile.
    """

    record: Record
    #: The how manieth delivery this is: from 2 on somebody may have done it before.
    deliveries: int
    _consumer: "Consumer"

    async def ack(self) -> bool:
        """It is done."""
        return await self._consumer.settle(_ACK, self, {})

    async def nack(self, delay_ms: int | None = None, reason: str | None = None) -> bool:
        """It is to be delivered again, after a pause: that of the group's rules unless given."""
        return await self._consumer.settle(_NACK, self, {"delay_ms": delay_ms, "reason": reason})

    async def extend(self) -> bool:
        """It needs more time: its time begins anew."""
        return await self._consumer.settle(_EXTEND, self, {})

    async def reject(self, reason: str | None = None) -> bool:
        """Nobody can do it: it becomes a dead letter."""
        return await self._consumer.settle(_REJECT, self, {"reason": reason})


class Consumer:
    """An asynchronous iterator over `Job`; use it with `async with`.

    After a cut it goes on by itself; what it had then is delivered again, to whoever is there.
    """

    def __init__(self, session: "Session", topic: str, group: str, in_flight: int) -> None:
        self.sub = 0
        self.ran = False
        self.opened_once: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._session, self._topic, self._group, self._in_flight = session, topic, group, in_flight
        self._jobs: deque[Job] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._error: TidewireError | None = None

    async def __aenter__(self) -> "Consumer":
        await self._session.routes.open(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; what it has not settled goes to others."""
        self._session.routes.close(self)

    def __aiter__(self) -> AsyncIterator[Job]:
        return self

    async def __anext__(self) -> Job:
        while not self._jobs:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            if not self.sub:
                raise RuntimeError(NOT_OPENED)
            self._ready.clear()
            await self._ready.wait()
        return self._jobs.popleft()

    async def settle(self, op: int, job: Job, options: dict[str, Any]) -> bool:
        """Says what became of a record."""
        record = job.record
        given = {**options, "partition": record.partition}
        given = {key: value for key, value in given.items() if value is not None}
        frame = f.Settle(0, self.sub, op, [[record.offset, record.offset + 1]], given or None)
        # Only what is done stays done: a refusal or an extension that is said again might meet a later delivery.
        reply = await self._session.call(frame, repeatable=op == _ACK)
        return bool((getattr(reply, "result", None) or {}).get("records"))

    # The client's side.

    def opening(self) -> f.Consume | None:
        """CONSUME. What was leased over the connection before is not this consumer's any more."""
        if self._closed or self._error is not None:
            return None
        self._jobs.clear()
        return f.Consume(0, self.sub, self._topic, self._group, {"in_flight": self._in_flight})

    def started(self, reply: f.Frame) -> None:
        """OK; leases may have come before it."""

    def receive(self, frame: Any) -> None:
        """LEASED."""
        if type(frame) is not f.Leased or self._closed or self._error is not None:
            return
        try:
            raw = decode_body(frame.body)
            leased = list(zip(frame.deliveries, raw, strict=True))
        except (Malformed, ValueError) as error:
            return self.end(ProtocolError(f"a lease of '{frame.topic}' cannot be read: {error}"))
        again = {(frame.partition, offset) for offset, _ in frame.deliveries}
        if any((job.record.partition, job.record.offset) in again for job in self._jobs):
            # One that was not taken in time comes again.
            kept = [job for job in self._jobs if (job.record.partition, job.record.offset) not in again]
            self._jobs = deque(kept)
        for (offset, deliveries), (key, headers, payload) in leased:
            record = Record(
                frame.topic, frame.epoch, offset, key, headers, payload, frame.time_ms, frame.partition
            )
            self._jobs.append(Job(record, deliveries, self))
        self._ready.set()

    def end(self, error: TidewireError | None) -> None:
        """It is over."""
        if error is None:
            self._closed = True
            self._jobs.clear()
        elif self._error is None:
            self._error = error
        self._ready.set()
