"""Asyncio client for Tidewire: topics, counters, tallies, presence and consumer groups, live.

async with tidewire.connect("ws://127.0.0.1:7171") as client:
    await client.topic("news").publish("hello")
"""

from .cells import CounterValue, Entries, Entry, Freshness, Round, Rounds, Standings
from .client import VERSION as __version__
from .client import Client, connect
from .clock import Clock, SystemClock
from .codes import ErrorCode
from .consumer import Consumer, Job
from .counter import Counted, Counter, Increments, ReadCounter
from .entries import LiveMap, Membership, PresenceSet
from .errors import (
    AlreadyExistsError,
    AlreadyVotedError,
    ClientClosedError,
    ClientFailedError,
    ConfigError,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    ForbiddenError,
    InvalidArgumentError,
    NotFoundError,
    OfflineQueueFullError,
    OutcomeUnknownError,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    TidewireError,
    UnauthenticatedError,
    UntrustedError,
)
from .events import Event, Gap, GapReason, Progress, Started, StartStatus
from .group import ConsumerGroup, GroupStatus
from .history import Page
from .records import NewRecord, Payload, Record
from .starts import AtOffset, AtPositions, AtTime, LastRecords, Start
from .state import ConnectionState, StateChange, StateReader
from .subscription import Subscription
from .tally import Choice, Tally, TallyState, Voted
from .token import TokenCallback, TokenCallbackError
from .topic import Ack, Condition, Published, Topic, TopicInfo
from .watch import Watch

__all__ = [
    "Ack", "AlreadyExistsError", "AlreadyVotedError", "AtOffset", "AtPositions", "AtTime", "Choice", "Client",
    "ClientClosedError", "ClientFailedError", "Clock", "Condition", "ConfigError", "ConflictError",
    "ConnectError", "ConnectionLostError", "ConnectionState", "Consumer", "ConsumerGroup", "Counted", "Counter",
    "CounterValue", "Entries", "Entry", "ErrorCode", "Event", "ForbiddenError", "Freshness", "Gap", "GapReason",
    "GroupStatus", "Increments", "InvalidArgumentError", "Job", "LastRecords", "LiveMap", "Membership",
    "NewRecord", "NotFoundError", "OfflineQueueFullError", "OutcomeUnknownError", "Page", "Payload",
    "PresenceSet", "Progress", "ProtocolError", "Published", "RateLimitedError", "ReadCounter", "Record",
    "RefusedError", "Round", "Rounds", "Standings", "Start", "StartStatus", "Started", "StateChange",
    "StateReader", "Subscription", "SystemClock", "Tally", "TallyState", "TidewireError", "TokenCallback",
    "TokenCallbackError", "Topic", "TopicInfo", "UnauthenticatedError", "UntrustedError", "Voted", "Watch",
    "__version__", "connect",
]  # fmt: skip
