"""Consumer groups: the records of a topic, shared among consumers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import frames as f
from .consumer import Consumer
from .errors import ProtocolError
from .names import checked_name
from .starts import Start, start_array

if TYPE_CHECKING:
    from .session import Session

_CREATE, _DELETE, _RESET, _STATUS = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """How far a group has come. Of a topic with partitions the numbers are sums."""

    created: bool
    #: Every record before it is settled.
    position: int
    #: The topic's next offset.
    next: int
    #: Records that are not settled.
    lag: int
    leased: int
    outstanding: int
    consumers: int
    #: Records that retention removed before they were settled.
    missed: int
    dead: int
    redelivered: int
    rules: dict[str, Any]


_NUMBERS = (
    "position", "next", "lag", "leased", "outstanding", "consumers", "missed", "dead", "redelivered",
)  # fmt: skip


class ConsumerGroup:
    """A group, by its name; made by `Topic.group`. Nothing is sent by that."""

    def __init__(self, session: "Session", topic: str, name: str) -> None:
        self._session = session
        self.topic = topic
        self.name = checked_name(name)

    async def create(
        self,
        *,
        start: Start = "earliest",
        ack_timeout_ms: int | None = None,
        deliveries_max: int | None = None,
        dead_letter: str | None = None,
        backoff_ms: int | None = None,
        backoff_max_ms: int | None = None,
        ordered: bool | None = None,
    ) -> GroupStatus:
        """Makes the group. One that exists with the same rules stays as it is."""
        options = {
            "start": start_array(start),
            "ack_timeout_ms": ack_timeout_ms,
            "deliveries_max": deliveries_max,
            "backoff_ms": backoff_ms,
            "backoff_max_ms": backoff_max_ms,
            "dead_letter": dead_letter,
            "ordered": ordered,
        }
        return await self._ask(_CREATE, options, repeatable=True)

    async def status(self) -> GroupStatus:
        """How far it has come."""
        return await self._ask(_STATUS, {}, repeatable=True)

    async def reset(self, start: Start) -> GroupStatus:
        """Lets it begin anew; what its consumers have is forgotten."""
        return await self._ask(_RESET, {"start": start_array(start)}, repeatable=False)

    async def delete(self) -> GroupStatus:
        """Forgets the group and how far it has come."""
        return await self._ask(_DELETE, {}, repeatable=False)

    def consume(self, *, in_flight: int = 64) -> Consumer:
        """Takes part: `async with group.consume() as jobs: async for job in jobs: ... await job.ack()`.

        At most `in_flight` records are this consumer's at once.
        """
        return Consumer(self._session, self.topic, self.name, in_flight)

    async def _ask(self, op: int, options: dict[str, Any], repeatable: bool) -> GroupStatus:
        given = {key: value for key, value in options.items() if value is not None}
        frame = f.Group(0, op, self.topic, self.name, given or None)
        reply = await self._session.call(frame, repeatable)
        result = dict(getattr(reply, "result", None) or {})
        try:
            created = bool(result.pop("created"))
            numbers: dict[str, int] = {name: result.pop(name) for name in _NUMBERS}
        except KeyError as error:
            raise ProtocolError(f"the state of a group without {error}") from error
        return GroupStatus(created=created, rules=result, **numbers)
