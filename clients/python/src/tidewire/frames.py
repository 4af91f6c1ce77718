"""Every frame of the protocol, its fields in their order on the wire."""

from dataclasses import dataclass
from typing import ClassVar

from .shapes import (
    Anything,
    Array,
    Binary,
    Bool,
    I,
    Map,
    Numbers,
    Pair,
    Pairs,
    Text,
    Texts,
    Triple,
    Triples,
    U,
)


class Frame:
    """A frame; `TYPE` is its first element on the wire."""

    __slots__ = ()
    TYPE: ClassVar[int] = -1


@dataclass(slots=True)
class Hello(Frame):
    TYPE: ClassVar[int] = 1
    version: U
    capabilities: Texts | None = None
    token: Text | None = None
    client: Text | None = None


@dataclass(slots=True)
class Welcome(Frame):
    TYPE: ClassVar[int] = 2
    version: U
    capabilities: Texts
    session: Text
    info: Map


@dataclass(slots=True)
class Ping(Frame):
    TYPE: ClassVar[int] = 3
    nonce: U


@dataclass(slots=True)
class Pong(Frame):
    TYPE: ClassVar[int] = 4
    nonce: U


@dataclass(slots=True)
class Error(Frame):
    TYPE: ClassVar[int] = 5
    req: U
    code: U
    message: Text
    retry_after_ms: U | None = None
    sub: U | None = None
    actual: U | None = None


@dataclass(slots=True)
class GoAway(Frame):
    TYPE: ClassVar[int] = 6
    code: U
    message: Text
    grace_ms: U
    nodes: Texts | None = None


@dataclass(slots=True)
class Ok(Frame):
    TYPE: ClassVar[int] = 7
    req: U
    result: Map | None = None


@dataclass(slots=True)
class Publish(Frame):
    TYPE: ClassVar[int] = 10
    req: U
    topic: Text
    ack: U
    body: Binary
    options: Map | None = None


@dataclass(slots=True)
class PubAck(Frame):
    TYPE: ClassVar[int] = 11
    req: U
    epoch: U
    offset: U | None
    level: U
    positions: Triples | None = None
    duplicate: Bool | None = None


@dataclass(slots=True)
class Subscribe(Frame):
    TYPE: ClassVar[int] = 12
    req: U
    sub: U
    pattern: Text
    start: Array
    options: Map | None = None


@dataclass(slots=True)
class Subscribed(Frame):
    TYPE: ClassVar[int] = 13
    req: U
    sub: U
    status: U
    epoch: U
    offset: U
    missing: Pair | None = None
    positions: Triples | None = None


@dataclass(slots=True)
class Deliver(Frame):
    TYPE: ClassVar[int] = 14
    sub: U
    topic: Text
    epoch: U
    first: U
    next: U
    time_ms: U
    position: Triple | None
    offsets: Numbers | None
    body: Binary


@dataclass(slots=True)
class Unsubscribe(Frame):
    TYPE: ClassVar[int] = 15
    req: U
    sub: U


@dataclass(slots=True)
class GapSeen(Frame):
    TYPE: ClassVar[int] = 16
    sub: U
    topic: Text | None
    epoch: U
    first: U
    next: U
    reason: U
    position: Triple | None = None


@dataclass(slots=True)
class Progressed(Frame):
    TYPE: ClassVar[int] = 17
    sub: U
    topic: Text | None
    epoch: U
    next: U
    position: Triple | None = None


@dataclass(slots=True)
class Credit(Frame):
    TYPE: ClassVar[int] = 18
    sub: U
    bytes: U


@dataclass(slots=True)
class Incr(Frame):
    TYPE: ClassVar[int] = 20
    req: U
    counter: Text
    op: U
    operand: I
    options: Map | None = None


@dataclass(slots=True)
class Counted(Frame):
    TYPE: ClassVar[int] = 21
    req: U
    epoch: U
    version: U
    value: I
    applied: I
    duplicate: Bool
    as_of: Triple | None = None


@dataclass(slots=True)
class Vote(Frame):
    TYPE: ClassVar[int] = 22
    req: U
    tally: Text
    voter: Text
    choices: Array
    revision: U | None = None


@dataclass(slots=True)
class Voted(Frame):
    TYPE: ClassVar[int] = 23
    req: U
    epoch: U
    version: U
    status: U
    revision: U
    partition: U | None = None


@dataclass(slots=True)
class Get(Frame):
    TYPE: ClassVar[int] = 24
    req: U
    kind: U
    name: Text
    key: Text | None = None
    options: Map | None = None


@dataclass(slots=True)
class Value(Frame):
    TYPE: ClassVar[int] = 25
    req: U
    kind: U
    epoch: U
    version: U
    value: Anything | None = None
    as_of_ms: U | None = None
    stale: Bool | None = None


@dataclass(slots=True)
class Watch(Frame):
    TYPE: ClassVar[int] = 26
    req: U
    sub: U
    kind: U
    name: Text
    options: Map | None = None


@dataclass(slots=True)
class Watching(Frame):
    TYPE: ClassVar[int] = 27
    req: U
    sub: U
    epoch: U
    version: U
    info: Map | None = None


@dataclass(slots=True)
class Update(Frame):
    TYPE: ClassVar[int] = 28
    sub: U
    version: U
    flags: U
    value: Anything | None = None


@dataclass(slots=True)
class Presence(Frame):
    TYPE: ClassVar[int] = 29
    req: U
    op: U
    name: Text
    member: Text
    data: Binary | None = None


@dataclass(slots=True)
class Tally(Frame):
    TYPE: ClassVar[int] = 30
    req: U
    op: U
    tally: Text
    rules: Map | None = None


@dataclass(slots=True)
class Producer(Frame):
    TYPE: ClassVar[int] = 31
    req: U


@dataclass(slots=True)
class Group(Frame):
    TYPE: ClassVar[int] = 32
    req: U
    op: U
    topic: Text
    group: Text
    options: Map | None = None


@dataclass(slots=True)
class Consume(Frame):
    TYPE: ClassVar[int] = 33
    req: U
    sub: U
    topic: Text
    group: Text
    options: Map | None = None


@dataclass(slots=True)
class Leased(Frame):
    TYPE: ClassVar[int] = 34
    sub: U
    topic: Text
    epoch: U
    time_ms: U
    partition: U | None
    deliveries: Pairs
    body: Binary


@dataclass(slots=True)
class Settle(Frame):
    TYPE: ClassVar[int] = 35
    req: U
    sub: U
    op: U
    offsets: Pairs
    options: Map | None = None


@dataclass(slots=True)
class Topic(Frame):
    TYPE: ClassVar[int] = 36
    req: U
    op: U
    topic: Text
    options: Map | None = None


@dataclass(slots=True)
class Invalidate(Frame):
    TYPE: ClassVar[int] = 37
    req: U
    tally: Text
    voters: Texts
    hashes: Texts | None = None


@dataclass(slots=True)
class Auth(Frame):
    TYPE: ClassVar[int] = 38
    req: U
    token: Text


@dataclass(slots=True)
class Unknown(Frame):
    """A frame of a type that this client does not know; it is ignored."""

    type: int
