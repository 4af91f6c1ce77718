"""Values of cells as the application gets them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import ProtocolError

COUNTER, TALLY, MAP, PRESENCE, TOPIC, ROUNDS = 1, 2, 3, 4, 5, 6
CellKind = Literal[1, 2, 3, 4]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far a value may lag behind. Where all is well both are None.

    `stale_ms`: the server is loaded and sends updates at most once in so long. `behind_ms`: the node does
    not reach who knows more; the value is so old, and may lack what was done since.
    """

    stale_ms: int | None = None
    behind_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CounterValue:
    """A counter's newest number; None if the counter does not exist."""

    value: int | None
    version: int
    freshness: Freshness = Freshness()


@dataclass(frozen=True, slots=True)
class Standings:
    """Where a tally stands."""

    options: tuple[str, ...]
    #: Votes in declared order; empty if the rules hide the results.
    counts: tuple[int, ...]
    ballots: int
    blank: int
    overvotes: int
    state: str
    hidden: bool
    version: int
    rules: dict[str, Any] = field(default_factory=dict)
    partitions: tuple[int, ...] | None = None
    freshness: Freshness = Freshness()

    @property
    def by_option(self) -> dict[str, int]:
        """Votes by the option's name; empty if they are hidden."""
        return dict(zip(self.options, self.counts, strict=False))


@dataclass(frozen=True, slots=True)
class Entry:
    """A value in a live map, or a member's data in a presence set."""

    value: bytes
    version: int

    @property
    def text(self) -> str:
        """The value as UTF-8 text."""
        return self.value.decode()


@dataclass(frozen=True, slots=True)
class Entries:
    """The newest entries of a live map or presence set."""

    #: All of them, by key or member.
    all: dict[str, Entry]
    #: Those that differ from what was yielded before; None: gone.
    changes: dict[str, Entry | None]
    version: int
    freshness: Freshness = Freshness()


@dataclass(frozen=True, slots=True)
class Round:
    """One round of an instant runoff."""

    votes: tuple[int, ...]
    exhausted: int
    eliminated: int | None
    winner: int | None


@dataclass(frozen=True, slots=True)
class Rounds:
    """How a ranked tally is decided, as its ballots are now."""

    options: tuple[str, ...]
    rounds: tuple[Round, ...]
    ballots: int

    @property
    def winner(self) -> str | None:
        """The option that has won, if one has."""
        index = self.rounds[-1].winner if self.rounds else None
        return None if index is None else self.options[index]


def read_standings(value: Any, info: dict[str, Any], version: int, freshness: Freshness) -> Standings:
    """Standings from their map; options and rules may have come before."""
    try:
        merged = {**info, **value}
        partitions = merged.get("partitions")
        return Standings(
            options=tuple(merged.get("options") or ()),
            counts=tuple(merged["counts"]),
            ballots=merged["ballots"],
            blank=merged["blank"],
            overvotes=merged["overvotes"],
            state=merged["state"],
            hidden=bool(merged.get("hidden")),
            version=version,
            rules=dict(merged.get("rules") or {}),
            partitions=None if partitions is None else tuple(partitions),
            freshness=freshness,
        )
    except (TypeError, KeyError) as error:
        raise ProtocolError(f"these standings cannot be read: {error!r}") from error


def read_entries(value: Any) -> dict[str, Entry | None]:
    """Entries from their array of `[key, version, value?]`."""
    found: dict[str, Entry | None] = {}
    try:
        for key, version, *rest in value:
            data = rest[0] if rest else None
            found[key] = None if data is None else Entry(data, version)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"these entries cannot be read: {error!r}") from error
    return found


def read_rounds(value: Any) -> Rounds:
    """Rounds from their map."""
    try:
        rounds = tuple(
            Round(tuple(each["votes"]), each["exhausted"], each.get("eliminated"), each.get("winner"))
            for each in value["rounds"]
        )
        return Rounds(tuple(value["options"]), rounds, value["ballots"])
    except (TypeError, KeyError, AttributeError) as error:
        raise ProtocolError(f"these rounds cannot be read: {error!r}") from error
