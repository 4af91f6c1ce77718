"""Topics: publishing, subscribing, history."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import frames as f
from .cells import TOPIC
from .errors import NotFoundError, ProtocolError
from .group import ConsumerGroup
from .history import Page, read_page
from .names import checked_name
from .records import NewRecord, Payload, encode_body
from .starts import Start
from .subscription import Subscription

if TYPE_CHECKING:
    from .session import Session

Ack = Literal["none", "memory", "disk", "quorum", "policy"]
_LEVELS: tuple[Ack, ...] = ("none", "memory", "disk", "quorum", "policy")

#: A condition on a record: `("key", "prefix", "a")`, `("header:type", "eq", "paid")`, `("key", "exists")`.
Condition = Sequence[str]


@dataclass(frozen=True, slots=True)
class Published:
    """Where the records of a publish are.

    `offset` is that of the first record; None if it is not certain yet (`ack="memory"` of a topic on
    disk), if no acknowledgement was wanted, or of a topic with partitions, where `positions` says it.
    """

    epoch: int
    offset: int | None
    level: Ack
    positions: tuple[tuple[int, int, int], ...] = ()
    #: It had been appended by an earlier attempt.
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What the server keeps of a topic. Of one with partitions the numbers are sums."""

    first: int
    next: int
    bytes: int
    batches: int
    policy: str
    partitions: int


class Topic:
    """A topic, by its name; made by `Client.topic`. Nothing is sent by that."""

    def __init__(self, session: "Session", name: str) -> None:
        self._session = session
        self.name = checked_name(name)

    async def publish(
        self,
        value: Payload,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ack: Ack = "policy",
        ttl_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key: str | None = None,
    ) -> Published:
        """Publishes one record; see `publish_many`.

        Bytes go as they are, text as UTF-8, anything else as JSON. None is a tombstone: with a key it
        deletes that key from the topic's map.
        """
        return await self.publish_many(
            [NewRecord(value, key, headers)],
            ack=ack,
            ttl_ms=ttl_ms,
            expected_offset=expected_offset,
            expected_key=expected_key,
        )

    async def publish_many(
        self,
        records: Iterable[NewRecord],
        *,
        ack: Ack = "policy",
        ttl_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key: str | None = None,
    ) -> Published:
        """Publishes records together, all or none, 1 to 10,000.

        Returns when they are as safe as `ack` says; "policy" leaves that to the server. When the
        connection is lost, they are sent again with the number that they had, and are appended once. With
        "none" it returns when they are handed to the connection, and whether they arrive is not told.
        `expected_offset` refuses them (`ConflictError`) if anything was appended at or behind it.
        """
        options = {
            "ttl_ms": ttl_ms,
            "expected_offset": expected_offset,
            "expected_key": expected_key,
        }
        given = {key: value for key, value in options.items() if value is not None}
        level = _LEVELS.index(ack)
        frame = f.Publish(0, self.name, level, encode_body(records), given or None)
        answered = level != 0
        reply = await self._session.call(frame, repeatable=answered, numbered=answered, silent=not answered)
        if not answered:
            return Published(0, None, "none")
        if not isinstance(reply, f.PubAck):
            raise ProtocolError("PUBACK expected")
        positions = tuple((row[0], row[1], row[2]) for row in reply.positions or ())
        reached = _LEVELS[reply.level] if reply.level < len(_LEVELS) else "policy"
        return Published(reply.epoch, reply.offset, reached, positions, bool(reply.duplicate))

    def subscribe(
        self,
        start: Start = "latest",
        *,
        latest_per_key: bool = False,
        interval_ms: int | None = None,
        filter: Sequence[Condition] = (),
        on_gap: Literal["continue", "jump", "end"] = "continue",
        window_bytes: int | None = None,
    ) -> Subscription:
        """Follows the topic: `async with topic.subscribe() as records: async for record in records`.

        `latest_per_key` delivers only the newest record of each key, at most once in `interval_ms`
        (100 unless given). `window_bytes` is how much the server may send ahead, 4 MiB unless given.
        """
        options = subscribe_options(latest_per_key, interval_ms, filter, on_gap, window_bytes)
        return Subscription(self._session.routes, self.name, start, options)

    async def info(self) -> TopicInfo:
        """What the server keeps of it; `NotFoundError` if there is no such topic."""
        reply = await self._session.call(f.Get(0, TOPIC, self.name), repeatable=True)
        return _topic_info(getattr(reply, "value", None), self.name)

    async def history(self, start: Start = "earliest", limit: int = 100) -> Page:
        """Up to `limit` records from `start` on, of those that were there when it was called.

        `page.next` is where the page after it starts; None at the end.
        """
        return await read_page(self, start, limit)

    async def pages(self, start: Start = "earliest", limit: int = 100) -> AsyncIterator[Page]:
        """All pages from `start` on, until the end of the topic is reached."""
        at: Start | None = start
        while at is not None:
            page = await self.history(at, limit)
            if page.records or page.gaps:
                yield page
            at = page.next

    def group(self, name: str) -> ConsumerGroup:
        """A consumer group of this topic."""
        return ConsumerGroup(self._session, self.name, name)

    async def delete(self) -> TopicInfo:
        """Deletes the topic with its records, its map and its groups, if its policy allows that."""
        return await self._change(0, {})

    async def truncate(
        self, *, before_offset: int | None = None, before_time_ms: int | None = None
    ) -> TopicInfo:
        """Removes the oldest records, if the topic's policy allows that. Give one of the two."""
        options = {"before_offset": before_offset, "before_time_ms": before_time_ms}
        return await self._change(1, {key: value for key, value in options.items() if value is not None})

    async def _change(self, op: int, options: dict[str, Any]) -> TopicInfo:
        reply = await self._session.call(f.Topic(0, op, self.name, options or None), repeatable=False)
        return _topic_info(getattr(reply, "result", None), self.name)


def subscribe_options(
    latest_per_key: bool,
    interval_ms: int | None,
    filter: Sequence[Condition],
    on_gap: Literal["continue", "jump", "end"],
    window_bytes: int | None,
) -> dict[str, Any]:
    """The options of SUBSCRIBE."""
    options: dict[str, Any] = {}
    if latest_per_key:
        options["mode"] = 1
    if interval_ms is not None:
        options["interval_ms"] = interval_ms
    if filter:
        options["filter"] = [list(condition) for condition in filter]
    if window_bytes is not None:
        options["credit"] = window_bytes
    if on_gap != "continue":
        options["on_gap"] = {"jump": 1, "end": 2}[on_gap]
    return options


def _topic_info(value: Any, name: str) -> TopicInfo:
    if value is None:
        raise NotFoundError(9, f"topic '{name}' does not exist")
    try:
        return TopicInfo(
            value["first"],
            value["next"],
            value["bytes"],
            value["batches"],
            value["policy"],
            value.get("partitions") or 1,
        )
    except (TypeError, KeyError) as error:
        raise ProtocolError(f"this value of a topic cannot be read: {error!r}") from error
