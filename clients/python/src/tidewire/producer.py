"""The numbers of publishes, by which a server knows one that is sent again."""

from . import frames as f
from .codes import ErrorCode
from .errors import RefusedError
from .requests import Reply, Request, Requests

_RENUMBERED_MAX = 3


class Numbering:
    """The producer that a client is, for one connection after the other.

    An id is asked for with the first publish. Publishes wait for it, in their order.
    """

    def __init__(self) -> None:
        self.requests: Requests | None = None
        self._producer: int | None = None
        self._asked = False
        #: The server issues none: publishes go without numbers and are not repeated.
        self._unavailable = False
        self._last = 0
        self.held = False

    def may_publish(self) -> bool:
        """Whether a publish can be sent now."""
        if self.held:
            return False
        if self._producer is not None or self._unavailable:
            return True
        self._ask()
        return False

    def give(self, request: Request) -> None:
        """Gives a publish its number, if it has none yet."""
        publish = request.frame
        options = publish.options or {}
        if "producer" in options:
            return
        request.attempts = 0
        if self._producer is None:
            request.repeatable = False
            return
        self._last += 1
        publish.options = {**options, "producer": self._producer, "sequence": self._last}
        request.repeatable = True

    def begin(self) -> None:
        """A new connection, maybe to another server: what was asked on the last one does not come any more."""
        self._asked = self._unavailable = False

    def renumbers(self, request: Request, error: RefusedError) -> bool:
        """Whether a refused publish goes again under another id.

        It does when the server has only forgotten the producer and this was the first attempt: nothing was
        appended then.
        """
        if error.number != ErrorCode.PRODUCER_UNKNOWN or not request.numbered:
            return False
        options = request.frame.options or {}
        if options.get("producer") == self._producer:
            self._producer = None
        if request.attempts != 1 or request.renumbered >= _RENUMBERED_MAX:
            return False
        request.renumbered += 1
        rest = {key: value for key, value in options.items() if key not in ("producer", "sequence")}
        request.frame.options = rest or None
        return True

    def _ask(self) -> None:
        if not self._asked and self.requests is not None:
            self._asked = True
            self.requests.send_now(Request(f.Producer(0), repeatable=False, on_reply=self._told))

    def _told(self, reply: Reply) -> None:
        self._asked = False
        if isinstance(reply, f.Ok) and reply.result and type(reply.result.get("producer")) is int:
            self._producer = reply.result["producer"]
        elif not (isinstance(reply, RefusedError) and reply.retryable):
            self._unavailable = True
        if self.requests is not None:
            self.requests.pump()
