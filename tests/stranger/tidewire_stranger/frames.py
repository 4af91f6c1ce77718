"""The frames of the protocol, one dataclass each.

The annotations of a dataclass are its wire format: `codec` converts each element of the
array to the type that the field of the same position declares.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

U = Annotated[int, "unsigned"]
I = Annotated[int, "signed"]  # noqa: E741 - the letter that the document uses


class Position(NamedTuple):
    """Of a shard: its commit order. Of a topic with partitions: partition, epoch, offset."""

    shard: U
    epoch: U
    sequence: U


class Range(NamedTuple):
    """Offsets from `start` up to, without, `next`."""

    start: U
    next: U


@dataclass(frozen=True)
class Frame:
    TYPE: ClassVar[int] = -1


@dataclass(frozen=True)
class Hello(Frame):
    TYPE = 1
    version: U
    capabilities: list[str] | None
    token: str | None = None
    client: str | None = None

    def __post_init__(self) -> None:
        if self.capabilities is None:  # none, however it is written
            object.__setattr__(self, "capabilities", [])


@dataclass(frozen=True)
class Welcome(Frame):
    TYPE = 2
    version: U
    capabilities: list[str]
    session: str
    info: dict[str, Any]


@dataclass(frozen=True)
class Ping(Frame):
    TYPE = 3
    nonce: U


@dataclass(frozen=True)
class Pong(Frame):
    TYPE = 4
    nonce: U


@dataclass(frozen=True)
class Error(Frame):
    TYPE = 5
    req: U
    code: U
    message: str
    retry_after_ms: U | None = None
    sub: U | None = None
    actual: U | None = None


@dataclass(frozen=True)
class Goaway(Frame):
    TYPE = 6
    code: U
    message: str
    grace_ms: U


@dataclass(frozen=True)
class Ok(Frame):
    TYPE = 7
    req: U
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Publish(Frame):
    TYPE = 10
    req: U
    topic: str
    ack: U
    body: bytes
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Puback(Frame):
    TYPE = 11
    req: U
    epoch: U
    offset: U | None
    level: U
    positions: list[Position] | None = None
    duplicate: bool | None = None


@dataclass(frozen=True)
class Subscribe(Frame):
    TYPE = 12
    req: U
    sub: U
    pattern: str
    start: list[Any]
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Subscribed(Frame):
    TYPE = 13
    req: U
    sub: U
    status: U
    epoch: U
    offset: U
    missing: Range | None = None
    positions: list[Position] | None = None


@dataclass(frozen=True)
class Deliver(Frame):
    TYPE = 14
    sub: U
    topic: str
    epoch: U
    start: U  # "from" in the document, a reserved word here
    next: U
    time_ms: U
    position: Position | None
    offsets: list[U] | None
    body: bytes


@dataclass(frozen=True)
class Unsubscribe(Frame):
    TYPE = 15
    req: U
    sub: U


@dataclass(frozen=True)
class Gap(Frame):
    TYPE = 16
    sub: U
    topic: str | None
    epoch: U
    start: U
    next: U
    reason: U
    position: Position | None = None


@dataclass(frozen=True)
class Progress(Frame):
    TYPE = 17
    sub: U
    topic: str | None
    epoch: U
    next: U
    position: Position | None = None


@dataclass(frozen=True)
class Credit(Frame):
    TYPE = 18
    sub: U
    bytes: U


@dataclass(frozen=True)
class Producer(Frame):
    TYPE = 31
    req: U


@dataclass(frozen=True)
class Group(Frame):
    TYPE = 32
    req: U
    op: U
    topic: str
    group: str
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Consume(Frame):
    TYPE = 33
    req: U
    sub: U
    topic: str
    group: str
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Topic(Frame):
    TYPE = 36
    req: U
    op: U
    topic: str
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Invalidate(Frame):
    TYPE = 37
    req: U
    tally: str
    voters: list[str]
    hashes: list[str] | None = None


@dataclass(frozen=True)
class Auth(Frame):
    TYPE = 38
    req: U
    token: str


class Delivered(NamedTuple):
    """A record, and the how manieth delivery of it this is."""

    offset: U
    times: U


@dataclass(frozen=True)
class Leased(Frame):
    TYPE = 34
    sub: U
    topic: str
    epoch: U
    time_ms: U
    partition: U | None
    deliveries: list[Delivered]
    body: bytes


@dataclass(frozen=True)
class Settle(Frame):
    TYPE = 35
    req: U
    sub: U
    op: U
    offsets: list[Range]
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Incr(Frame):
    TYPE = 20
    req: U
    counter: str
    op: U
    operand: I
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Counted(Frame):
    TYPE = 21
    req: U
    epoch: U
    version: U
    value: I
    applied: I
    duplicate: bool
    as_of: list[U] | None = None


@dataclass(frozen=True)
class Vote(Frame):
    TYPE = 22
    req: U
    tally: str
    voter: str
    choices: list[Any]
    revision: U | None = None


@dataclass(frozen=True)
class Voted(Frame):
    TYPE = 23
    req: U
    epoch: U
    version: U
    status: U
    revision: U
    partition: U | None = None


@dataclass(frozen=True)
class Get(Frame):
    TYPE = 24
    req: U
    kind: U
    name: str
    key: str | None = None
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Value(Frame):
    TYPE = 25
    req: U
    kind: U
    epoch: U
    version: U
    value: Any = None
    as_of_ms: U | None = None
    stale: bool | None = None


@dataclass(frozen=True)
class Watch(Frame):
    TYPE = 26
    req: U
    sub: U
    kind: U
    name: str
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Watching(Frame):
    TYPE = 27
    req: U
    sub: U
    epoch: U
    version: U
    info: dict[str, Any] | None = None


@dataclass(frozen=True)
class Update(Frame):
    TYPE = 28
    sub: U
    version: U
    flags: U
    value: Any = None


@dataclass(frozen=True)
class Presence(Frame):
    TYPE = 29
    req: U
    op: U
    name: str
    member: str
    data: bytes | None = None


@dataclass(frozen=True)
class Tally(Frame):
    TYPE = 30
    req: U
    op: U
    tally: str
    rules: dict[str, Any] | None = None


@dataclass(frozen=True)
class Unknown(Frame):
    """A frame of a later version. A client leaves it alone."""

    number: int
    elements: list[Any]
