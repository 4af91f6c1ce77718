"""A Tidewire client over any link."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import frames as f
from .codes import Ack, GroupOp, IncrOp, Kind, PresenceOp, SettleOp, TallyOp, TopicOp
from .following import WAIT, Consumer, Inbox, Refused, Subscription, Watcher
from .links import Link, LinkClosed
from .records import Record, encode_body

VERSION = 1
NO_REPLY = 0
NEW = 0  # the request id is filled in when the frame is sent

LATEST = [0]
EARLIEST = [1]


def at_offset(epoch: int, offset: int) -> list[int]:
    return [2, epoch, offset]


def at_time(time_ms: int) -> list[int]:
    return [3, time_ms]


def last(count: int) -> list[int]:
    return [4, count]


def at_positions(positions: list[list[int]]) -> list[Any]:
    return [5, positions]


class Client:
    def __init__(self, link: Link, welcome: f.Welcome) -> None:
        self.link, self.welcome = link, welcome
        self.errors: asyncio.Queue[f.Error] = asyncio.Queue()  # those that no request waits for
        self.pongs: asyncio.Queue[f.Pong] = asyncio.Queue()
        self.goaway: asyncio.Future[f.Goaway] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[LinkClosed] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._inboxes: dict[int, Inbox] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, link: Link, capabilities: Sequence[str] = (), token: str | None = None
    ) -> "Client":
        await link.send(f.Hello(VERSION, list(capabilities), token, "stranger/1"))
        async with asyncio.timeout(WAIT):
            answer = await link.receive()
        if isinstance(answer, f.Error):
            raise Refused(answer)
        if not isinstance(answer, f.Welcome):
            raise TypeError(f"{answer} in place of WELCOME")
        return cls(link, answer)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        async with asyncio.timeout(WAIT):
            await self.link.close()

    # Reading

    async def _read(self) -> None:
        problem: Exception
        try:
            while True:
                await self._route(await self.link.receive())
        except LinkClosed as closed:
            problem = closed
            self.closed.set_result(closed)
        except ValueError as malformed:
            problem = malformed
        for inbox in self._inboxes.values():
            inbox.put(problem)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(problem)

    async def _route(self, frame: f.Frame) -> None:
        req, sub = getattr(frame, "req", None), getattr(frame, "sub", None)
        match frame:
            case f.Ping():
                await self.link.send(f.Pong(frame.nonce))
            case f.Pong():
                self.pongs.put_nowait(frame)
            case f.Goaway():
                if not self.goaway.done():
                    self.goaway.set_result(frame)
            case f.Error() if req in self._waiting:
                self._waiting.pop(req).set_exception(Refused(frame))
            case f.Error() if sub in self._inboxes:
                self._inboxes[sub].put(Refused(frame))
            case f.Error():
                self.errors.put_nowait(frame)
            case _ if req is not None:
                if (future := self._waiting.pop(req, None)) and not future.done():
                    future.set_result(frame)
            case _ if sub in self._inboxes:
                self._inboxes[sub].put(frame)

    # Requests

    def number(self) -> int:
        return next(self._numbers)

    async def begin(self, frame: Any) -> asyncio.Future[Any]:
        """Sends a request; the future is its reply. For requests in a pipeline."""
        req = self.number()
        self._waiting[req] = future = asyncio.get_running_loop().create_future()
        await self.link.send(replace(frame, req=req))
        return future

    async def call(self, frame: Any, wait: float = WAIT) -> Any:
        async with asyncio.timeout(wait):
            return await (await self.begin(frame))

    async def authenticate(self, token: str) -> dict[str, Any]:
        return (await self.call(f.Auth(NEW, token))).result

    async def ping(self, nonce: int) -> f.Pong:
        await self.link.send(f.Ping(nonce))
        async with asyncio.timeout(WAIT):
            return await self.pongs.get()

    async def publish(
        self,
        topic: str,
        *records: Record,
        ack: int = Ack.MEMORY,
        options: dict[str, Any] | None = None,
    ) -> f.Puback:
        return await self.call(f.Publish(NEW, topic, ack, encode_body(list(records)), options))

    async def topic(self, op: TopicOp, topic: str, **options: Any) -> dict[str, Any]:
        ok = await self.call(f.Topic(NEW, op, topic, options or None))
        return ok.result or {}

    async def producer(self) -> dict[str, Any]:
        ok = await self.call(f.Producer(NEW))
        return ok.result or {}

    async def subscribe(self, pattern: str, start: list[Any], **options: Any) -> Subscription:
        inbox = self._inbox()
        try:
            reply = await self.call(f.Subscribe(NEW, inbox.sub, pattern, start, options or None))
        except Refused:
            del self._inboxes[inbox.sub]
            raise
        return Subscription(inbox, reply, pattern)

    async def group(self, op: GroupOp, topic: str, group: str, **options: Any) -> dict[str, Any]:
        ok = await self.call(f.Group(NEW, op, topic, group, options or None))
        return ok.result or {}

    async def consume(self, topic: str, group: str, **options: Any) -> Consumer:
        # LEASED may overtake the reply.
        inbox = self._inbox()
        try:
            await self.call(f.Consume(NEW, inbox.sub, topic, group, options or None))
        except Refused:
            del self._inboxes[inbox.sub]
            raise
        return Consumer(inbox)

    async def settle(
        self, consumer: Consumer, op: SettleOp, *offsets: int, **options: Any
    ) -> int:
        ranges = [f.Range(offset, offset + 1) for offset in offsets]
        ok = await self.call(f.Settle(NEW, consumer.sub, op, ranges, options or None))
        return ok.result["records"]

    async def watch(self, kind: Kind, name: str, **options: Any) -> Watcher:
        # The inbox stands before the request is sent: a datagram may overtake WATCHING.
        inbox = self._inbox()
        try:
            reply = await self.call(f.Watch(NEW, inbox.sub, kind, name, options or None))
        except Refused:
            del self._inboxes[inbox.sub]
            raise
        return Watcher(inbox, reply, kind, options.get("version"))

    def _inbox(self) -> Inbox:
        sub = self.number()
        self._inboxes[sub] = Inbox(sub)
        return self._inboxes[sub]

    async def unsubscribe(self, followed: Subscription | Watcher | Consumer) -> f.Ok:
        return await self.call(f.Unsubscribe(NEW, followed.sub))

    async def credit(self, subscription: Subscription, amount: int) -> None:
        await self.link.send(f.Credit(subscription.sub, amount))

    async def incr(
        self, counter: str, operand: int = 1, op: int = IncrOp.ADD, **options: Any
    ) -> f.Counted:
        return await self.call(f.Incr(NEW, counter, op, operand, options or None))

    async def get(self, kind: Kind, name: str, key: str | None = None) -> f.Value:
        return await self.call(f.Get(NEW, kind, name, key))

    async def vote(
        self, tally: str, voter: str, choices: list[Any], revision: int | None = None
    ) -> f.Voted:
        return await self.call(f.Vote(NEW, tally, voter, choices, revision))

    async def tally(
        self, op: TallyOp, tally: str, rules: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        ok = await self.call(f.Tally(NEW, op, tally, rules))
        return ok.result or {}

    async def create_tally(
        self, tally: str, kind: str, options: list[str], **rules: Any
    ) -> dict[str, Any]:
        return await self.tally(TallyOp.CREATE, tally, {"kind": kind, "options": options, **rules})

    async def invalidate(
        self, tally: str, *voters: str, hashes: list[str] | None = None
    ) -> int:
        ok = await self.call(f.Invalidate(NEW, tally, list(voters), hashes))
        return ok.result["records"]

    async def join(self, name: str, member: str, data: bytes | None = None) -> f.Ok:
        return await self.call(f.Presence(NEW, PresenceOp.JOIN, name, member, data))

    async def leave(self, name: str, member: str) -> f.Ok:
        return await self.call(f.Presence(NEW, PresenceOp.LEAVE, name, member))
