"""Where a subscription stands, so that it can go on after a cut."""

from collections.abc import Sequence

from .starts import AtOffset, AtPositions, Start


class Cursor:
    """The position in one topic, in each partition of it, or in each shard for a pattern."""

    def __init__(self, start: Start, one_topic: bool) -> None:
        self._start = start
        self._one_topic = one_topic
        self._known = False
        self._epoch = 0
        self._next = 0
        self._positions: dict[int, tuple[int, int]] = {}

    def resume(self) -> Start:
        """Where to start on the next connection."""
        if not self._known:
            return self._start
        if self._one_topic and not self._positions:
            return AtOffset(self._next, self._epoch)
        return AtPositions(tuple((of, epoch, at) for of, (epoch, at) in sorted(self._positions.items())))

    def started(self, epoch: int, offset: int, positions: Sequence[Sequence[int]]) -> None:
        """The server has said where it starts."""
        self._known = True
        self._epoch, self._next = epoch, offset
        for of, its_epoch, at in positions:
            self._positions[of] = (its_epoch, at)

    def hole_before(self, epoch: int, first: int, position: Sequence[int] | None) -> int | None:
        """The offset from which records are missing before a delivery; there should be none."""
        if not self._one_topic or not self._known:
            return None
        if position is None:
            known_epoch, at = self._epoch, self._next
        elif position[0] in self._positions:
            known_epoch, at = self._positions[position[0]]
        else:
            return None
        return at if epoch == known_epoch and first > at else None

    def advance(self, epoch: int, next_offset: int, position: Sequence[int] | None) -> None:
        """Everything before this has been taken."""
        if position is not None:
            self._positions[position[0]] = (position[1], position[2])
        elif self._one_topic:
            self._epoch, self._next = epoch, next_offset
