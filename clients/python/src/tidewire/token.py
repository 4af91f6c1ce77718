"""What proves to the server who this is; it may change while the client lives."""

import inspect
from collections.abc import Awaitable, Callable

from .clock import Clock
from .errors import TidewireError, UnauthenticatedError

TokenCallback = Callable[[], str | Awaitable[str]]

#: A token is replaced this long before it expires, or when four fifths of its time are over: whichever is later.
_MARGIN_S = 60.0
_FRACTION = 0.8


class TokenCallbackError(TidewireError):
    """The application's token callback failed; it is asked again with the next attempt."""

    code = "token_callback_failed"
    retryable = True


class Token:
    """The newest token, and where the next one comes from."""

    def __init__(self, token: str | None, callback: TokenCallback | None, clock: Clock) -> None:
        self.value = token
        self._callback = callback
        self.clock = clock
        self._expires_at: float | None = None
        self._is_refused = False

    @property
    def can_refresh(self) -> bool:
        """Whether there is a callback."""
        return self._callback is not None

    async def fresh(self) -> str | None:
        """The token to begin a connection with."""
        is_over = self._is_refused or (self._expires_at is not None and self.clock.now() >= self._expires_at)
        if self._callback is not None and (self.value is None or is_over):
            await self.refresh()
        return self.value

    async def refresh(self) -> str:
        """Asks the callback for the next one."""
        if self._callback is None:
            raise UnauthenticatedError(12, "the token has expired, and there is no callback for another one")
        try:
            answer = self._callback()
            self.value = await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            raise TokenCallbackError(f"the token callback failed: {error!r}") from error
        self._expires_at = None
        self._is_refused = False
        return self.value

    def refuse(self) -> None:
        """The server has ended a connection because of it: the next one begins with another."""
        self._is_refused = True

    def expires_in(self, seconds: float | None) -> None:
        """The server has said how long this token is good."""
        self._expires_at = None if seconds is None else self.clock.now() + seconds

    def refresh_due_in(self) -> float | None:
        """Seconds until it should be replaced; None if it does not expire."""
        if self._expires_at is None:
            return None
        left = max(self._expires_at - self.clock.now(), 0.0)
        return max(left - _MARGIN_S, left * _FRACTION)
