"""Tallies: polls, their ballots and their results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import frames as f
from .cells import ROUNDS, TALLY, Freshness, Rounds, Standings, read_rounds, read_standings
from .errors import InvalidArgumentError, NotFoundError, ProtocolError
from .names import checked_name
from .watch import Watch, read_tally

if TYPE_CHECKING:
    from .session import Session

_CREATE, _OPEN, _CLOSE, _DELETE = 0, 1, 2, 3

#: An option by its name or its index; None: nothing chosen at this rank; a list: an over-vote.
Choice = str | int | None | Sequence[str | int]
VoteStatus = Literal["accepted", "changed", "duplicate"]
_STATUSES: tuple[VoteStatus, ...] = ("accepted", "changed", "duplicate")


@dataclass(frozen=True, slots=True)
class Voted:
    """What became of a ballot."""

    status: VoteStatus
    #: The version of the tally that contains the ballot.
    version: int
    epoch: int
    #: The number of this ballot among those of its voter.
    revision: int
    #: Of a tally with partitions: the one that holds the ballot, whose version it is.
    partition: int | None


@dataclass(frozen=True, slots=True)
class TallyState:
    """What became of a tally."""

    created: bool
    state: str
    version: int


class Tally:
    """A tally, by its name; made by `Client.tally`. Nothing is sent by that."""

    def __init__(self, session: "Session", name: str) -> None:
        self._session = session
        self.name = checked_name(name)

    async def create(
        self,
        options: Sequence[str],
        *,
        kind: Literal["single", "multiple", "ranked"] = "single",
        choices_max: int | None = None,
        final: bool = False,
        hidden: bool = False,
        opens_at_ms: int | None = None,
        closes_at_ms: int | None = None,
        identity: str | None = None,
        overvote: Literal["skip", "exhaust"] | None = None,
        exhaust_after_skips: int | None = None,
    ) -> TallyState:
        """Declares the tally. Doing so again with the same rules changes nothing."""
        rules = {
            "kind": kind,
            "options": list(options),
            "choices_max": choices_max,
            "final": final or None,
            "opens_at_ms": opens_at_ms,
            "closes_at_ms": closes_at_ms,
            "hidden": hidden or None,
            "identity": identity,
            "overvote": overvote,
            "exhaust_after_skips": exhaust_after_skips,
        }
        given = {key: value for key, value in rules.items() if value is not None}
        return await self._manage(_CREATE, given, repeatable=True)

    async def open(self) -> TallyState:
        """Accepts ballots (again), whatever the schedule says."""
        return await self._manage(_OPEN, None, repeatable=True)

    async def close(self) -> TallyState:
        """Accepts no more ballots."""
        return await self._manage(_CLOSE, None, repeatable=True)

    async def delete(self) -> TallyState:
        """Forgets the tally and its ballots."""
        return await self._manage(_DELETE, None, repeatable=False)

    async def vote(self, *choices: Choice, voter: str = "", revision: int | None = None) -> Voted:
        """Casts a ballot, or changes an earlier one of this voter.

        One choice for a `single` tally, several for `multiple`, ranks for `ranked`; none is a blank
        ballot. `voter` is empty where the connection's own identity votes. A ballot that is lost with the
        connection is sent again: the same ballot counts once. Give a `revision` when a voter's ballots
        come over several connections, so that a delayed one never overwrites a newer one.
        """
        if len(voter.encode()) > 256:
            raise InvalidArgumentError("invalid_argument", "a voter's name has at most 256 bytes")
        ballot = [each if each is None or isinstance(each, str | int) else list(each) for each in choices]
        reply = await self._session.call(f.Vote(0, self.name, voter, ballot, revision), repeatable=True)
        if not isinstance(reply, f.Voted) or reply.status >= len(_STATUSES):
            raise ProtocolError("VOTED expected")
        status = _STATUSES[reply.status]
        return Voted(status, reply.version, reply.epoch, reply.revision, reply.partition)

    async def standings(self) -> Standings:
        """Where it stands; `NotFoundError` if there is no such tally."""
        value = await self._value(TALLY)
        freshness = Freshness() if not value.stale else Freshness(behind_ms=0)
        return read_standings(value.value, {}, value.version, freshness)

    async def rounds(self) -> Rounds:
        """The instant-runoff rounds of a ranked tally, as its ballots are now."""
        return read_rounds((await self._value(ROUNDS)).value)

    def watch(self, *, interval_ms: int = 0) -> Watch[Standings | None]:
        """Follows where it stands: `async with tally.watch() as standings: async for now in standings`.

        None comes when the tally is deleted; one that is made again is another one: watch it anew.
        """
        options = {"interval_ms": interval_ms} if interval_ms else {}
        return Watch(self._session.routes, TALLY, self.name, options, read_tally)

    async def invalidate(self, voters: Sequence[str] = (), hashes: Sequence[str] = ()) -> int:
        """Takes the ballots of these voters out, as if they had never been cast; returns how many there were.

        `hashes` are voters as an audit of the server shows them.
        """
        frame = f.Invalidate(0, self.name, list(voters), list(hashes) or None)
        reply = await self._session.call(frame, repeatable=False)
        return int((getattr(reply, "result", None) or {}).get("records", 0))

    async def _value(self, kind: int) -> f.Value:
        reply = await self._session.call(f.Get(0, kind, self.name), repeatable=True)
        if not isinstance(reply, f.Value):
            raise ProtocolError("VALUE expected")
        if reply.value is None:
            raise NotFoundError(9, f"tally '{self.name}' does not exist")
        return reply

    async def _manage(self, op: int, rules: dict[str, Any] | None, repeatable: bool) -> TallyState:
        reply = await self._session.call(f.Tally(0, op, self.name, rules), repeatable)
        result = getattr(reply, "result", None) or {}
        try:
            return TallyState(bool(result["created"]), str(result["state"]), int(result["version"]))
        except KeyError as error:
            raise ProtocolError(f"the state of a tally without {error}") from error
