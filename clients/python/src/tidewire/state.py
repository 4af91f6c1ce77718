"""What the application can see of the connection."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from .errors import TidewireError

#: A reader of states that has so many unread gets the newest ones; the oldest are dropped.
UNREAD_MAX = 64


class ConnectionState(StrEnum):
    """Where the connection stands."""

    #: There is none; unless the application has closed the client, the next attempt comes by itself.
    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    #: Connecting again makes no sense; the client is of no more use.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state and how it came about."""

    state: ConnectionState
    reason: str = ""
    error: TidewireError | None = None
    #: The server's name for the connection, as it stands in its log.
    session: str | None = None

    @property
    def code(self) -> str | None:
        """The code of the error, if there is one."""
        return None if self.error is None else self.error.code


class StateReader:
    """Iterates over the changes of the state, beginning with the one that holds now.

    It ends behind `failed`, and when the client is closed.
    """

    def __init__(self, states: "States") -> None:
        self._states = states
        self._unread: deque[StateChange] = deque([states.now], maxlen=UNREAD_MAX)
        self._ready = asyncio.Event()
        self._over = False
        states.readers.add(self)

    def __aiter__(self) -> "StateReader":
        return self

    async def __anext__(self) -> StateChange:
        while not self._unread:
            if self._over or self._states.over:
                self._states.readers.discard(self)
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._unread.popleft()

    def put(self, change: StateChange) -> None:
        """Takes a change."""
        self._unread.append(change)
        self._ready.set()

    def close(self) -> None:
        """Reads no more."""
        self._over = True
        self._states.readers.discard(self)
        self._ready.set()


class States:
    """The newest state, and who follows it."""

    def __init__(self, on_state: Callable[[StateChange], None] | None) -> None:
        self.now = StateChange(ConnectionState.DISCONNECTED, "not connected yet")
        self.over = False
        self.readers: set[StateReader] = set()
        self._on_state = on_state

    def set(self, change: StateChange, over: bool = False) -> None:
        """Tells everyone of a change."""
        self.now = change
        self.over = self.over or over
        for reader in list(self.readers):
            reader.put(change)
        if self._on_state is not None:
            self._on_state(change)
