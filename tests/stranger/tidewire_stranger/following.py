"""What a client holds of the things it follows: a cursor in topics, a cell's newest version."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .codes import Code, Flags, GapReason, Kind
from .frames import (
    Deliver,
    Error,
    Frame,
    Gap,
    Leased,
    Position,
    Progress,
    Subscribed,
    Update,
    Watching,
)
from .records import Delivered, Record, decode_body, delivered

WAIT = 10.0


class Refused(Exception):
    """The server answered ERROR."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code} {error.message}")
        self.error = error
        self.code = error.code

    @property
    def name(self) -> str:
        return Code(self.code).name.lower()


class Hole(AssertionError):
    """A range does not start where the one before it ended."""


@dataclass
class Continuity:
    """Checks that the ranges of each topic and epoch follow each other."""

    ends: dict[tuple[str, int, int | None], int] = field(default_factory=dict)

    def follow(self, frame: Deliver | Gap | Progress) -> None:
        if frame.topic is None:
            if isinstance(frame, Gap):  # of a shard: which topics it concerns is not known
                self.ends.clear()
            return
        # Partitions of one topic are told apart by the first number of their positions.
        place = (frame.topic, frame.epoch, frame.position.shard if frame.position else None)
        if isinstance(frame, Progress):
            if frame.next < self.ends.get(place, 0):
                raise Hole(f"{frame} goes back behind {self.ends[place]}")
        else:
            new_epoch = isinstance(frame, Gap) and frame.reason == GapReason.HISTORY_CHANGED
            expected = self.ends.get(place, frame.start) if not new_epoch else 0
            if frame.start != expected or frame.next < frame.start:
                raise Hole(f"{frame} should start at {expected}")
        self.ends[place] = frame.next


class Inbox:
    """The frames of one subscription or watch, in order; an exception ends it."""

    def __init__(self, sub: int) -> None:
        self.sub = sub
        self._frames: asyncio.Queue[Frame | Exception] = asyncio.Queue()

    def put(self, item: Frame | Exception) -> None:
        self._frames.put_nowait(item)

    async def take(self, wait: float = WAIT) -> Any:
        async with asyncio.timeout(wait):
            item = await self._frames.get()
        if isinstance(item, Exception):
            self._frames.put_nowait(item)
            raise item
        return item

    def arrived(self) -> list[Any]:
        """What has arrived and was not taken; afterwards it is."""
        found = []
        while not self._frames.empty():
            found.append(self._frames.get_nowait())
        return [item for item in found if not isinstance(item, Exception)]

    async def silent(self, seconds: float = 0.4) -> bool:
        """Whether nothing but PROGRESS arrives for so long. Absence has no other sign than time."""
        passed: list[Frame | Exception] = []
        try:
            async with asyncio.timeout(seconds):
                while not passed or isinstance(passed[-1], Progress):
                    passed.append(await self._frames.get())
        except TimeoutError:
            return True
        finally:
            for item in passed:
                self._frames.put_nowait(item)
        return False


class Subscription:
    def __init__(self, inbox: Inbox, reply: Subscribed, pattern: str) -> None:
        self.inbox, self.reply, self.sub = inbox, reply, inbox.sub
        self.continuity = Continuity()
        self.positions: dict[int, Position] = {}
        for position in reply.positions or []:
            self.positions[position.shard] = position
        if reply.positions is None:
            self.continuity.ends[(pattern, reply.epoch, None)] = reply.offset

    async def next(self, wait: float = WAIT) -> Deliver | Gap | Progress:
        frame = await self.inbox.take(wait)
        self.continuity.follow(frame)
        if frame_position := getattr(frame, "position", None):
            self.positions[frame_position.shard] = frame_position
        return frame

    async def next_delivery(self, wait: float = WAIT) -> Deliver:
        """The next DELIVER; PROGRESS is passed over, a GAP is an error here."""
        async with asyncio.timeout(wait):
            while not isinstance(frame := await self.next(wait), Deliver):
                if isinstance(frame, Gap):
                    raise Hole(f"a gap where none was expected: {frame}")
        return frame

    async def records(self, count: int, wait: float = WAIT) -> list[Delivered]:
        """Exactly `count` records; more in the last delivery is an error."""
        found: list[Delivered] = []
        async with asyncio.timeout(wait):
            while len(found) < count:
                found += delivered(await self.next_delivery(wait))
        if len(found) > count:
            raise AssertionError(f"{len(found)} records in place of {count}")
        return found

    def resume_from(self) -> list[list[int]]:
        return [list(position) for position in self.positions.values()]


class Watcher:
    """The newest version of a cell, as far as this client has heard."""

    def __init__(self, inbox: Inbox, reply: Watching, kind: Kind, held: int | None) -> None:
        self.inbox, self.reply, self.sub = inbox, reply, inbox.sub
        self.keyed = kind in (Kind.MAP, Kind.PRESENCE)
        self.version = held
        self.value: Any = None
        self.entries: dict[str, bytes] = {}
        self.deleted = False
        self.updates: list[Update] = []
        self.parts: list[Update] = []  # of an update whose last part has not come
        self.frames = 0

    def apply(self, update: Update) -> None:
        self.frames += 1
        # Datagrams come late and twice; on a stream this never happens.
        if self.version is not None and update.version <= self.version:
            return
        if self.parts and self.parts[0].version != update.version:
            self.parts = []
        self.parts.append(update)
        if Flags.MORE in Flags(update.flags):
            return
        if len(self.parts) > 1:
            entries = [entry for part in self.parts for entry in part.value]
            update = Update(update.sub, update.version, update.flags, entries)
        self.parts = []
        self.updates.append(update)
        self.version, flags = update.version, Flags(update.flags)
        self.deleted = Flags.DELETED in flags
        if not self.keyed:
            self.value = update.value
            return
        if Flags.FULL in flags or self.deleted:
            self.entries = {}
        for key, _, value in update.value or []:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    def holds(self, version: int) -> bool:
        """Whether everything that was answered with a version up to this one is included."""
        return self.version is not None and self.version >= version

    async def update(self, wait: float = WAIT) -> Update:
        update = await self.inbox.take(wait)
        self.apply(update)
        return update

    async def until(self, met: Callable[["Watcher"], bool], wait: float = WAIT) -> "Watcher":
        async with asyncio.timeout(wait):
            while not met(self):
                await self.update(wait)
        return self


@dataclass(frozen=True)
class Job:
    """A record that a consumer has to do."""

    offset: int
    times: int
    partition: int | None
    record: Record


class Consumer:
    """A share of a topic's records."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox, self.sub = inbox, inbox.sub
        self.waiting: list[Job] = []

    async def job(self, wait: float = WAIT) -> Job:
        while not self.waiting:
            frame: Leased = await self.inbox.take(wait)
            records = decode_body(frame.body)
            for (offset, times), record in zip(frame.deliveries, records, strict=True):
                self.waiting.append(Job(offset, times, frame.partition, record))
        return self.waiting.pop(0)

    async def jobs(self, count: int, wait: float = WAIT) -> list[Job]:
        return [await self.job(wait) for _ in range(count)]

    async def idle(self) -> bool:
        return not self.waiting and await self.inbox.silent()
