"""Watches: the newest version of a cell.

A watch holds one version, however many have arrived: who reads seldom gets the newest, not every one.
Entries that changed meanwhile are merged, so nothing is missing from them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from . import frames as f
from .cells import (
    COUNTER,
    MAP,
    PRESENCE,
    CounterValue,
    Entries,
    Entry,
    Freshness,
    Standings,
    read_entries,
    read_standings,
)
from .errors import ProtocolError, TidewireError
from .route import NOT_OPENED
from .routes import Routes

FULL, DELETED, STALE, PROVISIONAL, MORE, BEHIND = 1, 2, 4, 8, 16, 32
_AGE_SHIFT = 8

T = TypeVar("T")


class Watch(Generic[T]):
    """An asynchronous iterator over the newest values; use it with `async with`.

    Iterating ends when the watch is closed, and raises when the server has ended it. A tally that was
    deleted comes as None.
    """

    def __init__(
        self,
        routes: Routes,
        kind: int,
        name: str,
        options: dict[str, Any],
        read: Callable[["Watch[T]", "Newest"], T],
    ) -> None:
        self.sub = 0
        self.ran = False
        self.opened_once: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.info: dict[str, Any] = {}
        self.entries: dict[str, Entry] = {}
        self._routes, self._kind, self._name, self._options = routes, kind, name, options
        self._read = read
        self._epoch = 0
        self._version: int | None = None
        self._behind = False
        self._parts: tuple[int, list[Any]] = (0, [])
        self._newest: Newest | None = None
        self._ready = asyncio.Event()
        self._closed = False
        self._error: TidewireError | None = None

    async def __aenter__(self) -> "Watch[T]":
        await self._routes.open(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it here and on the server."""
        self._routes.close(self)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while self._newest is None:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            if not self.sub:
                raise RuntimeError(NOT_OPENED)
            self._ready.clear()
            await self._ready.wait()
        newest, self._newest = self._newest, None
        return self._read(self, newest)

    # The client's side.

    def opening(self) -> f.Watch | None:
        """WATCH: from the version that is held."""
        if self._closed or self._error is not None:
            return None
        self._parts = (0, [])
        options = dict(self._options)
        if self._behind:
            # Whether a value still is behind is not told otherwise, so it is asked for again.
            self._behind, self._version = False, None
        elif self._version:
            options |= {"epoch": self._epoch, "version": self._version}
        return f.Watch(0, self.sub, self._kind, self._name, options or None)

    def started(self, reply: f.Frame) -> None:
        """WATCHING."""
        if not isinstance(reply, f.Watching):
            return self.end(ProtocolError("WATCHING expected"))
        if reply.epoch != self._epoch:
            # Versions of another epoch say nothing about the one that is held.
            self._epoch, self._version = reply.epoch, None
        if reply.info is not None:
            self.info = reply.info

    def receive(self, frame: Any) -> None:
        """UPDATE: takes the place of what was not read yet."""
        if type(frame) is not f.Update or self._closed or self._error is not None:
            return
        behind = bool(frame.flags & BEHIND)
        # Datagrams come late and twice. The same version again says that it may be old, or is not.
        if self._version is not None and self._version != 0:
            if frame.version < self._version or (frame.version == self._version and behind == self._behind):
                return
        value: Any = frame.value
        full = bool(frame.flags & (FULL | DELETED))
        if self._kind in (MAP, PRESENCE):
            parts = self._complete(frame)
            if parts is None:
                return
            try:
                value = self._merged(full, parts)
            except ProtocolError as error:
                return self.end(error)
            full = full or (self._newest is not None and self._newest.full)
        self._version, self._behind = frame.version, behind
        age_ms = frame.flags >> _AGE_SHIFT
        stale_ms = age_ms if frame.flags & STALE else None
        freshness = Freshness(stale_ms, age_ms if behind else None)
        deleted = bool(frame.flags & DELETED)
        self._newest = Newest(frame.version, deleted, full, value, freshness)
        self._ready.set()

    def end(self, error: TidewireError | None) -> None:
        """It is over; what has arrived can still be read unless the application has closed it."""
        if error is None:
            self._closed = True
            self._newest = None
        elif self._error is None:
            self._error = error
        self._ready.set()

    def _complete(self, frame: f.Update) -> list[Any] | None:
        """Every part of an update, once the last one is here."""
        version, parts = self._parts
        if version != frame.version:
            parts = []
        if frame.value is not None:
            parts.append(frame.value)
        self._parts = (frame.version, parts if frame.flags & MORE else [])
        return None if frame.flags & MORE else parts

    def _merged(self, full: bool, parts: list[Any]) -> dict[str, Entry | None]:
        merged = {} if full or self._newest is None else dict(self._newest.value)
        for part in parts:
            merged.update(read_entries(part))
        return merged


class Newest:
    """What a watch holds for its reader."""

    __slots__ = ("deleted", "freshness", "full", "value", "version")

    def __init__(self, version: int, deleted: bool, full: bool, value: Any, freshness: Freshness) -> None:
        self.version, self.deleted, self.full = version, deleted, full
        self.value, self.freshness = value, freshness


def read_counter(watch: Watch[CounterValue], newest: Newest) -> CounterValue:
    """A counter's value."""
    value = None if newest.deleted else newest.value
    if value is not None and type(value) is not int:
        raise ProtocolError("a counter's value is no integer")
    return CounterValue(value, newest.version, newest.freshness)


def read_tally(watch: Watch[Standings | None], newest: Newest) -> Standings | None:
    """A tally's standings."""
    if newest.deleted or newest.value is None:
        return None
    return read_standings(newest.value, watch.info, newest.version, newest.freshness)


def read_all_entries(watch: Watch[Entries], newest: Newest) -> Entries:
    """All entries, and those that are new."""
    changes: dict[str, Entry | None] = dict(newest.value)
    if newest.full:
        gone = [key for key in watch.entries if changes.get(key) is None]
        watch.entries = {}
        changes |= dict.fromkeys(gone)
    for key, entry in changes.items():
        if entry is None:
            watch.entries.pop(key, None)
        else:
            watch.entries[key] = entry
    return Entries(dict(watch.entries), changes, newest.version, newest.freshness)


def watch_counter(routes: Routes, name: str, options: dict[str, Any]) -> Watch[CounterValue]:
    """A watch of a counter."""
    return Watch(routes, COUNTER, name, options, read_counter)
