"""Counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import frames as f
from .cells import COUNTER, CounterValue
from .errors import ProtocolError
from .names import checked_name
from .watch import Watch, watch_counter

if TYPE_CHECKING:
    from .session import Session

_ADD, _SET, _RESET = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Counted:
    """What a counter holds after an operation."""

    value: int
    #: By how much the value really changed: less than asked for at a bound.
    applied: int
    version: int
    epoch: int
    #: It had been counted by an earlier attempt.
    duplicate: bool
    #: Who has counted it, for `get(at_least=...)`; eventual counters only.
    as_of: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class ReadCounter:
    """A counter's number, and how old it may be."""

    value: int | None
    version: int
    epoch: int
    #: Everything before this Unix time is in the value; None: it is as of now.
    as_of_ms: int | None
    stale: bool


class Counter:
    """A counter, by its name; made by `Client.counter`. Nothing is sent by that."""

    def __init__(self, session: "Session", name: str) -> None:
        self._session = session
        self.name = checked_name(name)

    async def incr(
        self,
        by: int = 1,
        *,
        id: str | None = None,
        min: int | None = None,
        max: int | None = None,
        strict: bool = False,
        ttl_ms: int | None = None,
    ) -> Counted:
        """Adds to the counter; one that does not exist counts from 0.

        With an `id` it counts once, however often it is sent, and is sent again when the connection is
        lost. Without one it fails then with `ConnectionLostError`, since it may have been counted.
        `min` and `max` clamp the result; `strict` refuses it instead.
        """
        return await self._apply(_ADD, by, _options(id, min, max, strict, ttl_ms))

    async def decr(self, by: int = 1, *, id: str | None = None, min: int | None = None) -> Counted:
        """Subtracts from the counter, as `incr` adds to it."""
        return await self.incr(-by, id=id, min=min)

    async def set(self, value: int, *, id: str | None = None, ttl_ms: int | None = None) -> Counted:
        """Sets it to a number."""
        return await self._apply(_SET, value, _options(id, None, None, False, ttl_ms))

    async def reset(self, *, id: str | None = None) -> Counted:
        """Deletes it."""
        return await self._apply(_RESET, 0, _options(id, None, None, False, None))

    async def get(self) -> int:
        """The counter's number; 0 if it does not exist."""
        return (await self.read()).value or 0

    async def read(
        self, *, linearizable: bool = False, at_least: Sequence[tuple[int, int, int]] = ()
    ) -> ReadCounter:
        """The number with its version, and how old it may be.

        `linearizable` refuses to answer from a copy. `at_least` (eventual counters) wants what an
        increment's `as_of` says to be in it.
        """
        options: dict[str, Any] = {"at_least": [list(each) for each in at_least]} if at_least else {}
        if linearizable:
            options["linearizable"] = True
        reply = await self._session.call(f.Get(0, COUNTER, self.name, None, options or None), repeatable=True)
        if not isinstance(reply, f.Value) or not (reply.value is None or type(reply.value) is int):
            raise ProtocolError("the value of a counter expected")
        return ReadCounter(reply.value, reply.version, reply.epoch, reply.as_of_ms, bool(reply.stale))

    def watch(self, *, interval_ms: int = 0) -> Watch[CounterValue]:
        """Follows the newest number: `async with counter.watch() as values: async for value in values`.

        Of a counter that does not exist yet nothing comes before it does. At most one update in
        `interval_ms` is sent; 0: as fast as the connection takes them.
        """
        return watch_counter(
            self._session.routes, self.name, {"interval_ms": interval_ms} if interval_ms else {}
        )

    async def _apply(self, op: int, operand: int, options: dict[str, Any]) -> Counted:
        frame = f.Incr(0, self.name, op, operand, options or None)
        return await count(self._session, frame, repeatable="id" in options)


class Increments:
    """A numbering of increments of eventual counters, so that each counts once; made by `Client.increments`.

    When the connection is lost before one was answered, it is sent again, to whichever node there is
    then. Where that node cannot say whether it was counted, it is refused with `OutcomeUnknownError`, and
    nothing was counted now. A server remembers the newest 64 of a numbering, for an hour after the last.
    """

    def __init__(self, session: "Session", producer: int) -> None:
        self._session, self._producer, self._last = session, producer, 0

    async def add(self, counter: str, by: int = 1) -> Counted:
        """Adds to an eventual counter."""
        self._last += 1
        options = {"producer": self._producer, "sequence": self._last}
        frame = f.Incr(0, checked_name(counter), _ADD, by, options)
        return await count(self._session, frame, repeatable=True)


async def count(session: "Session", frame: f.Incr, repeatable: bool) -> Counted:
    """Sends an increment."""
    reply = await session.call(frame, repeatable)
    if not isinstance(reply, f.Counted):
        raise ProtocolError("COUNTED expected")
    as_of = None if reply.as_of is None else (reply.as_of[0], reply.as_of[1], reply.as_of[2])
    return Counted(reply.value, reply.applied, reply.version, reply.epoch, reply.duplicate, as_of)


def _options(
    id: str | None, min: int | None, max: int | None, strict: bool, ttl_ms: int | None
) -> dict[str, Any]:
    options = {"min": min, "max": max, "strict": strict or None, "ttl_ms": ttl_ms, "id": id}
    return {key: value for key, value in options.items() if value is not None}
