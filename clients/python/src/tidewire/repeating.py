"""Requests that the server could not carry out at the moment, sent again after a pause.

The node that led a name is gone, and another one is about to take its place. Only what may be done
twice is sent again, for a limited time, and it keeps its room in flight meanwhile.
"""

import asyncio
from collections.abc import Callable

from .backoff import Backoff
from .clock import Clock
from .codes import ErrorCode
from .errors import RefusedError
from .producer import Numbering
from .requests import Request, Requests

_PAUSE_MS = (50, 500)
#: Who asks for a longer pause is not about to change leaders: the caller is told so.
_ASKED_MS_MAX = 2_000


class Repeating:
    """What waits to be sent again over the same connection."""

    def __init__(self, requests: Requests, numbering: Numbering, clock: Clock, repeat_for_ms: int) -> None:
        self._requests, self._numbering, self._clock = requests, numbering, clock
        self._repeat_for_s = repeat_for_ms / 1000
        self._backoff = Backoff(*_PAUSE_MS)
        self._openings: dict[int, float] = {}
        self._due: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self.reopen: Callable[[int], None] = lambda sub: None

    def postpone(self, request: Request, error: RefusedError, settles_here: bool) -> bool:
        """Keeps a refused request to be sent again; False if the caller is to be told."""
        brief = error.number == ErrorCode.UNAVAILABLE
        # Its consumer is about to be opened again.
        brief = brief or (error.number == ErrorCode.SUBSCRIPTION_UNKNOWN and settles_here)
        if not brief or not request.repeatable or request.abandoned:
            return False
        now = self._clock.now()
        if request.refused_at is None:
            request.refused_at = now
        if now - request.refused_at >= self._repeat_for_s or (error.retry_after_ms or 0) > _ASKED_MS_MAX:
            return False
        request.postponed = True
        self._requests.sent[request.frame.req] = request
        # Publishes behind it wait, for the sake of their order.
        self._numbering.held = self._numbering.held or request.numbered
        self._schedule(error.retry_after_ms)
        return True

    def postpone_opening(self, sub: int, error: RefusedError, at_least_s: float) -> bool:
        """The same for a subscription, watch or consumer that was refused, or ended, for the moment."""
        since = self._openings.setdefault(sub, self._clock.now())
        if self._clock.now() - since >= max(self._repeat_for_s, at_least_s):
            del self._openings[sub]
            return False
        if at_least_s == 0 and (error.retry_after_ms or 0) > _ASKED_MS_MAX:
            del self._openings[sub]
            return False
        self._due.add(sub)
        self._schedule(error.retry_after_ms)
        return True

    def forget_opening(self, sub: int) -> None:
        """It runs, or is over."""
        self._openings.pop(sub, None)
        self._due.discard(sub)

    def begin(self) -> None:
        """A new connection: everything is sent on it."""
        self.stop()
        self._due.clear()
        self._numbering.held = False

    def stop(self) -> None:
        """Sends nothing any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _schedule(self, asked_ms: int | None) -> None:
        if self._task is None:
            pause_s = max(self._backoff.next_s(self._clock.random()), (asked_ms or 0) / 1000)
            self._task = asyncio.create_task(self._send_later(pause_s), name="tidewire repeats")

    async def _send_later(self, pause_s: float) -> None:
        await self._clock.sleep(pause_s)
        self._task = None
        self._numbering.held = False
        due, self._due = sorted(self._due), set()
        # Consumers first: what they settle refers to them.
        for sub in due:
            self.reopen(sub)
        self._requests.requeue(lambda request: request.postponed)

    def succeeded(self) -> None:
        """Something was carried out: the next pause is a short one."""
        self._backoff.reset()
