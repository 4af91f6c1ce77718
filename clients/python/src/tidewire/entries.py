"""Live maps and presence sets: entries by key."""

from types import TracebackType
from typing import TYPE_CHECKING

from . import frames as f
from .cells import MAP, PRESENCE, Entries, Entry, read_entries
from .codes import ErrorCode
from .errors import InvalidArgumentError, ProtocolError, RefusedError
from .names import checked_name
from .records import Payload, payload_bytes
from .topic import Ack, Published, Topic
from .watch import Watch, read_all_entries

if TYPE_CHECKING:
    from .session import Session

_JOIN, _LEAVE = 0, 1


async def _entries(session: "Session", kind: int, name: str) -> dict[str, Entry]:
    try:
        reply = await session.call(f.Get(0, kind, name), repeatable=True)
    except RefusedError as error:
        if error.number != ErrorCode.LIMIT_EXCEEDED:
            raise
        # Too large for one frame; the first update of a watch comes in parts.
        async with _watch(session, kind, name, 0, None) as watch:
            async for entries in watch:
                return entries.all
        return {}
    found = read_entries(getattr(reply, "value", None) or [])
    return {key: entry for key, entry in found.items() if entry is not None}


async def _one(session: "Session", kind: int, name: str, key: str) -> Entry | None:
    reply = await session.call(f.Get(0, kind, name, key), repeatable=True)
    if not isinstance(reply, f.Value) or not (reply.value is None or isinstance(reply.value, bytes)):
        raise ProtocolError("the value of a key expected")
    return None if reply.value is None else Entry(reply.value, reply.version)


def _watch(session: "Session", kind: int, name: str, interval_ms: int, key: str | None) -> Watch[Entries]:
    options: dict[str, object] = {"interval_ms": interval_ms} if interval_ms else {}
    if key is not None:
        options["key"] = key
    return Watch(session.routes, kind, name, options, read_all_entries)


class LiveMap:
    """The newest value per key of a topic whose policy keeps a map; made by `Client.map`."""

    def __init__(self, session: "Session", name: str) -> None:
        self._session = session
        self.name = checked_name(name)
        self._topic = Topic(session, name)

    async def get(self, key: str) -> Entry | None:
        """The newest value of a key; None if there is none."""
        return await _one(self._session, MAP, self.name, key)

    async def entries(self) -> dict[str, Entry]:
        """All of them, however many."""
        return await _entries(self._session, MAP, self.name)

    async def set(
        self, key: str, value: Payload, *, ack: Ack = "policy", ttl_ms: int | None = None
    ) -> Published:
        """Publishes a record that is the key's newest value, for `ttl_ms` if given."""
        if value is None:
            raise InvalidArgumentError("invalid_argument", "None is no value of a key; use delete()")
        return await self._topic.publish(value, key=key, ack=ack, ttl_ms=ttl_ms)

    async def delete(self, key: str, *, ack: Ack = "policy") -> Published:
        """Publishes a tombstone: the key is gone."""
        return await self._topic.publish(None, key=key, ack=ack)

    def watch(self, *, key: str | None = None, interval_ms: int = 0) -> Watch[Entries]:
        """Follows the newest entries, or those of one key."""
        return _watch(self._session, MAP, self.name, interval_ms, key)


class Membership:
    """A member that is present until it leaves; leaving the `async with` block does that as well."""

    def __init__(self, presence: "PresenceSet", member: str) -> None:
        self._presence = presence
        self.member = member

    async def leave(self) -> None:
        """The member leaves."""
        await self._presence.leave(self.member)

    async def __aenter__(self) -> "Membership":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._presence.is_usable:
            await self.leave()


class PresenceSet:
    """Who is there; made by `Client.presence`."""

    def __init__(self, session: "Session", name: str) -> None:
        self._session = session
        self.name = checked_name(name)

    @property
    def is_usable(self) -> bool:
        """Whether the client is neither closed nor failed."""
        return self._session.end is None

    async def join(self, member: str = "", data: Payload = None) -> Membership:
        """Declares a member present, until it leaves or the client is closed.

        After a cut the member is declared again. `member` is empty where the connection's own identity is
        meant.
        """
        encoded = payload_bytes(data)
        # Remembered first: a cut between the reply and here must not lose the member.
        self._session.members[self.name, member] = encoded
        try:
            await self._session.call(f.Presence(0, _JOIN, self.name, member, encoded), repeatable=True)
        except BaseException:
            self._session.members.pop((self.name, member), None)
            raise
        return Membership(self, member)

    async def leave(self, member: str = "") -> None:
        """The member leaves."""
        self._session.members.pop((self.name, member), None)
        await self._session.call(f.Presence(0, _LEAVE, self.name, member), repeatable=True)

    async def members(self) -> dict[str, Entry]:
        """Who is there, with their data."""
        return await _entries(self._session, PRESENCE, self.name)

    def watch(self, *, member: str | None = None, interval_ms: int = 0) -> Watch[Entries]:
        """Follows who is there, or one member."""
        return _watch(self._session, PRESENCE, self.name, interval_ms, member)
