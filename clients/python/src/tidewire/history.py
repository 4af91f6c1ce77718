"""History: a topic's records, page by page.

A page is read through a short subscription with a small window, up to the end that the topic had
when it was asked for.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InvalidArgumentError, NotFoundError
from .events import Gap, Progress, Started
from .records import Record
from .starts import AtOffset, AtPositions, Start

if TYPE_CHECKING:
    from .subscription import Subscription
    from .topic import Topic

_WINDOW_BYTES = 256 * 1024
LIMIT_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Page:
    """Records of a topic's past."""

    records: list[Record]
    #: Records that are no longer kept.
    gaps: list[Gap]
    #: Where the next page starts; None when the end is reached.
    next: Start | None


async def read_page(topic: "Topic", start: Start, limit: int) -> Page:
    """Reads one page."""
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidArgumentError("invalid_argument", f"a page has 1 to {LIMIT_MAX:,} records, not {limit}")
    try:
        info = await topic.info()
    except NotFoundError:
        return Page([], [], None)
    ends = await _ends(topic) if info.partitions > 1 else {0: info.next}
    async with topic.subscribe(start, window_bytes=_WINDOW_BYTES) as subscription:
        return await _read(subscription, ends, limit)


async def _ends(topic: "Topic") -> Mapping[int, int]:
    """Where each partition ends now."""
    async with topic.subscribe("latest") as subscription:
        begun = await subscription.next_event()
        assert isinstance(begun, Started)
        return {of: at for of, _, at in begun.positions}


async def _read(subscription: "Subscription", ends: Mapping[int, int], limit: int) -> Page:
    records: list[Record] = []
    gaps: list[Gap] = []
    while len(records) < limit:
        if _is_at_end(subscription.position, ends):
            return Page(records, gaps, None)
        event = await subscription.next_event()
        if isinstance(event, Record):
            if event.offset < ends.get(event.partition or 0, 0):
                records.append(event)
        elif isinstance(event, Gap):
            gaps.append(event)
        elif isinstance(event, Progress):
            await asyncio.sleep(0)
    position = subscription.position
    return Page(records, gaps, None if _is_at_end(position, ends) else position)


def _is_at_end(position: Start, ends: Mapping[int, int]) -> bool:
    if isinstance(position, AtOffset):
        return position.offset >= ends.get(0, 0)
    if isinstance(position, AtPositions):
        there = {of: at for of, _, at in position.positions}
        return all(there.get(of, 0) >= end for of, end in ends.items())
    return False
