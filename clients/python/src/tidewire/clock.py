"""Time and chance, handed in so that tests decide about both."""

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where a client gets time and random numbers from."""

    def now(self) -> float:
        """Seconds from any beginning; they never go back."""

    async def sleep(self, seconds: float) -> None:
        """Returns after so long."""

    def random(self) -> float:
        """A number from 0 to 1."""


class SystemClock:
    """The machine's own time, and its random numbers."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleeps in the event loop."""
        await asyncio.sleep(seconds)

    def random(self) -> float:
        """Drawn uniformly."""
        return random.random()
