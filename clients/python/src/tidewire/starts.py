"""Where a subscription or a group begins."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class AtOffset:
    """At this offset of the topic; epoch 0 is whatever the epoch is."""

    offset: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class AtTime:
    """At the first batch that was appended at or after this Unix time."""

    time_ms: int

    @classmethod
    def of(cls, moment: datetime) -> "AtTime":
        """The same for a datetime that knows its time zone."""
        return cls(int(moment.timestamp() * 1000))


@dataclass(frozen=True, slots=True)
class LastRecords:
    """At the newest so many records."""

    count: int


@dataclass(frozen=True, slots=True)
class AtPositions:
    """Where an earlier subscription of a pattern, or of a topic with partitions, stood."""

    positions: tuple[tuple[int, int, int], ...]


#: `"latest"`: what comes from now on; `"earliest"`: the oldest record that is kept.
Start = Literal["latest", "earliest"] | AtOffset | AtTime | LastRecords | AtPositions


def start_array(start: Start) -> list[Any]:
    """The start as it stands in a frame."""
    match start:
        case "latest":
            return [0]
        case "earliest":
            return [1]
        case AtOffset(offset, epoch):
            return [2, epoch, offset]
        case AtTime(time_ms):
            return [3, time_ms]
        case LastRecords(count):
            return [4, count]
        case AtPositions(positions):
            return [5, [list(each) for each in positions]]
    raise ValueError(f"{start!r} is no start")


def positions_of(rows: Iterable[Iterable[int]]) -> AtPositions:
    """Positions as they came in a frame."""
    return AtPositions(tuple((of, epoch, at) for of, epoch, at in rows))
