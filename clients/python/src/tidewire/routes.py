"""The subscriptions, watches and consumers of a client, by `sub`."""

from typing import TYPE_CHECKING, Any

from . import frames as f
from .codes import ErrorCode
from .errors import RefusedError, TidewireError, refused
from .requests import Reply, Request
from .route import Route

if TYPE_CHECKING:
    from .session import Session

#: What ran before is not given up sooner than this.
_PATIENCE_S = 10.0
_SUBSCRIPTIONS_MAX = 100_000


class Routes:
    """Opens them, again after each cut, and hands each what is for it."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._table: dict[int, Route] = {}
        self._last_sub = 0
        session.repeating.reopen = self._reopen

    def __contains__(self, sub: int) -> bool:
        return sub in self._table

    async def open(self, route: Route) -> None:
        """Starts it; returns when the server has said that it runs."""
        session = self._session
        if session.end is not None:
            raise session.end
        bound = session.current.number("subscriptions_max") if session.current is not None else 0
        if len(self._table) >= (bound or _SUBSCRIPTIONS_MAX):
            raise refused(ErrorCode.LIMIT_EXCEEDED, f"a connection has at most {bound} subscriptions")
        self._number(route)
        if session.requests.online:
            self._send(route)
        try:
            await route.opened_once
        except BaseException:
            self.close(route)
            raise

    def _number(self, route: Route) -> None:
        self._last_sub += 1
        route.sub = self._last_sub
        self._table[route.sub] = route

    def close(self, route: Route) -> None:
        """The application wants no more of it."""
        session = self._session
        route.end(None)
        session.repeating.forget_opening(route.sub)
        if self._table.pop(route.sub, None) is not None and session.requests.online:
            session.requests.send_now(Request(f.Unsubscribe(0, route.sub), False, on_reply=lambda _: None))

    def restart(self, route: Route) -> None:
        """Goes on where it stopped, under another number."""
        session = self._session
        if self._table.pop(route.sub, None) is None:
            return
        if session.requests.online:
            session.requests.send_now(Request(f.Unsubscribe(0, route.sub), False, on_reply=lambda _: None))
        self._number(route)
        if session.requests.online:
            self._send(route)

    def grant(self, route: Route, count: int) -> None:
        """Lets the server send so many bytes more."""
        if self._session.requests.online and self._table.get(route.sub) is route:
            self._session.requests.control(f.Credit(route.sub, count))

    def resume(self) -> None:
        """Opens all of them over a new connection."""
        for route in list(self._table.values()):
            self._send(route)

    def receive(self, frame: Any) -> None:
        """Hands over a frame; what comes for one that was just closed is ignored."""
        route = self._table.get(frame.sub)
        if route is not None:
            route.receive(frame)

    def refused(self, sub: int, error: RefusedError) -> None:
        """What has run does not run any more. One that a change of leaders has ended begins again."""
        route = self._table.get(sub)
        if route is not None:
            brief = error.number == ErrorCode.UNAVAILABLE
            if not (brief and self._session.repeating.postpone_opening(sub, error, _PATIENCE_S)):
                self._end(route, error)

    def end_all(self, error: TidewireError) -> None:
        """The client is at its end."""
        for route in list(self._table.values()):
            self._end(route, error)

    def _reopen(self, sub: int) -> None:
        route = self._table.get(sub)
        if route is not None and self._session.requests.online:
            self._send(route)

    def _send(self, route: Route) -> None:
        frame = route.opening()
        if frame is None:
            return
        sub = route.sub

        def answered(reply: Reply) -> None:
            if self._table.get(sub) is route:
                self._opened(route, reply)

        self._session.requests.send_now(Request(frame, False, on_reply=answered))

    def _opened(self, route: Route, reply: Reply) -> None:
        if not isinstance(reply, TidewireError):
            self._session.repeating.forget_opening(route.sub)
            route.ran = True
            route.started(reply)
            if not route.opened_once.done():
                route.opened_once.set_result(None)
        elif not (isinstance(reply, RefusedError) and self._goes_on_later(route, reply)):
            self._end(route, reply)

    def _goes_on_later(self, route: Route, error: RefusedError) -> bool:
        """One that ran before may wait for what has not arrived yet at the node that it goes on with."""
        later = error.number == ErrorCode.UNAVAILABLE
        later = later or (route.ran and (error.retryable or error.number == ErrorCode.OUT_OF_RANGE))
        patience_s = _PATIENCE_S if route.ran else 0.0
        return later and self._session.repeating.postpone_opening(route.sub, error, patience_s)

    def _end(self, route: Route, error: TidewireError) -> None:
        self._table.pop(route.sub, None)
        self._session.repeating.forget_opening(route.sub)
        route.end(error)
        if not route.opened_once.done():
            route.opened_once.set_exception(error)
