"""What a subscription tells beside records."""

from dataclasses import dataclass
from enum import StrEnum

from .records import Record


class StartStatus(StrEnum):
    """How the start of delivery relates to where it was asked to begin."""

    FRESH = "fresh"
    #: Everything since the asked position is there.
    RESUMED = "resumed"
    #: Records in between are no longer kept.
    GAP = "gap"
    #: The topic's history is another one.
    NEW_EPOCH = "new_epoch"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Started:
    """Delivery begins: first of all, and again after each reconnect."""

    status: StartStatus
    epoch: int
    offset: int
    missing: tuple[int, int] | None
    positions: tuple[tuple[int, int, int], ...]
    #: Whether it ran before, over an earlier connection.
    resumed: bool


class GapReason(StrEnum):
    """Why records are missing."""

    #: Retention removed them before this subscription took them.
    RETENTION = "retention"
    #: The topic's history changed: the range counts offsets of the new epoch.
    NEW_EPOCH = "new_epoch"
    #: The subscription asked to jump to the newest records.
    JUMPED = "jumped"
    #: The server left them out without a word, which is a fault of the server.
    UNEXPLAINED = "unexplained"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Gap:
    """The records from `first` to before `next` of a topic do not come.

    Without a topic the range counts batches of a shard of a pattern: which of them would have matched is
    not known any more.
    """

    topic: str | None
    epoch: int
    first: int
    next: int
    reason: GapReason
    position: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything before `next` has been looked at, and the filter selected none of it."""

    topic: str | None
    epoch: int
    next: int
    position: tuple[int, int, int] | None


Event = Started | Record | Gap | Progress

START_STATUSES = (StartStatus.FRESH, StartStatus.RESUMED, StartStatus.GAP, StartStatus.NEW_EPOCH)
GAP_REASONS = (GapReason.RETENTION, GapReason.NEW_EPOCH, GapReason.JUMPED)
