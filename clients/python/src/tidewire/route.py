"""What runs under a `sub` on the connection: subscriptions, watches and consumers."""

import asyncio
from typing import Any, Protocol

from . import frames as f
from .errors import TidewireError


NOT_OPENED = "nothing comes before it is opened: use it with 'async with'"


class Route(Protocol):
    """The client's side of one of them; it outlives connections."""

    sub: int
    #: Whether the server has said once that it runs.
    ran: bool
    opened_once: asyncio.Future[None]

    def opening(self) -> Any:
        """The frame that starts it, or lets it go on; None if there is nothing to start now."""

    def started(self, reply: f.Frame) -> None:
        """The server has answered that frame."""

    def receive(self, frame: Any) -> None:
        """Takes a frame with its `sub`."""

    def end(self, error: TidewireError | None) -> None:
        """It is over; None if the application wanted that."""
