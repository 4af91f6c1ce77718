"""A server that does what a script says: frames as PROTOCOL.md has them, cuts, silence, nonsense."""

import asyncio
from typing import Any, Protocol

import msgpack
from wire_quic import QuicListener
from wire_websocket import WebSocketListener

PATIENCE_S = 15.0
HELLO, WELCOME, PING, PONG, ERROR, GOAWAY, OK = 1, 2, 3, 4, 5, 6, 7
PUBLISH, PUBACK, SUBSCRIBE, SUBSCRIBED, DELIVER, UNSUBSCRIBE, GAP, CREDIT = 10, 11, 12, 13, 14, 15, 16, 18
INCR, COUNTED, VOTE, VOTED, GET, VALUE, WATCH, WATCHING, UPDATE = 20, 21, 22, 23, 24, 25, 26, 27, 28
PRESENCE, PRODUCER, CONSUME, LEASED, SETTLE, AUTH = 29, 31, 33, 34, 35, 38
TIME_MS = 1_700_000_000_000
INFO = {
    "server": "scripted", "node": "scripted-1", "shards": 1, "max_frame_bytes": 1_048_576, "heartbeat_ms": 15_000,
    "in_flight_max": 1_024, "subscriptions_max": 4_096, "time_ms": TIME_MS,
}


def body(*payloads: str) -> bytes:
    """Records with these texts, without keys and headers."""
    return b"".join(msgpack.packb([None, None, text.encode()]) for text in payloads)


class Wire(Protocol):
    """The server's end of one connection, as bytes."""

    async def send(self, frame: bytes, sub: int | None) -> None:
        """Sends a frame; `sub` is whose it is, where each subscription has a stream of its own."""

    async def send_bytes(self, message: bytes) -> None:
        """Sends what is no frame."""

    def cut(self) -> None:
        """The network fails."""

    async def close(self, code: int, reason: str) -> None:
        """Ends it with an error code of the protocol."""


class Link:
    """One connection of a client."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._frames: asyncio.Queue[list[Any]] = asyncio.Queue(10_000)
        self.ended = asyncio.Event()
        self.answers_pings = True

    async def take(self, message: bytes) -> None:
        """Takes what has come: one or more frames."""
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(message)
        for frame in unpacker:
            if frame[0] == PING:
                if self.answers_pings:
                    await self.send(PONG, frame[1])
            elif frame[0] != PONG:
                self._frames.put_nowait(frame)

    async def expect(self, kind: int, *passed_over: int) -> list[Any]:
        """The next frame, which has to be of this kind, or one of those that are passed over.

        Who asks for a producer's id gets one.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = await self._frames.get()
                if frame[0] == PRODUCER and kind != PRODUCER:
                    await self.send(OK, frame[1], {"producer": 77, "window": 1_024, "idle_ms": 3_600_000})
                    continue
                if frame[0] in passed_over:
                    continue
                assert frame[0] == kind, f"expected a frame of type {kind}, and {frame} came"
                return frame

    async def send(self, *fields: Any) -> None:
        """One frame."""
        at = {SUBSCRIBED: 2, WATCHING: 2, DELIVER: 1, GAP: 1, UPDATE: 1}.get(fields[0])
        await self._wire.send(msgpack.packb(list(fields)), None if at is None else fields[at])

    async def send_bytes(self, message: bytes) -> None:
        """A message as it is."""
        await self._wire.send_bytes(message)

    async def welcome(self, **info: Any) -> list[Any]:
        """Answers HELLO; returns it."""
        hello = await self.expect(HELLO)
        await self.send(WELCOME, 1, [], "a-session", {**INFO, **info})
        return hello

    async def subscribed(self, status: int = 0, epoch: int = 1, offset: int = 0, missing: Any = None) -> list[Any]:
        """Answers SUBSCRIBE; returns it."""
        request = await self.expect(SUBSCRIBE)
        tail = [] if missing is None else [missing]
        await self.send(SUBSCRIBED, request[1], request[2], status, epoch, offset, *tail)
        return request

    async def deliver(self, sub: int, topic: str, epoch: int, first: int, *texts: str) -> None:
        """Records from an offset on."""
        await self.send(DELIVER, sub, topic, epoch, first, first + len(texts), TIME_MS, None, None, body(*texts))

    def cut(self) -> None:
        """The network fails."""
        self._wire.cut()

    async def close(self, code: int, reason: str) -> None:
        """The server ends it, with an error code of the protocol."""
        await self._wire.close(code, reason)


class ScriptedServer:
    """Hands out the connections that clients make."""

    def __init__(self, transport: str = "ws") -> None:
        self._links: asyncio.Queue[Link] = asyncio.Queue(100)
        listener = QuicListener if transport == "quic" else WebSocketListener
        self._listener = listener(self._begin)

    def _begin(self, wire: Wire) -> Link:
        link = Link(wire)
        self._links.put_nowait(link)
        return link

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self._listener.url

    async def start(self) -> None:
        """Listens, at the same port as before if there was one."""
        await self._listener.start()

    async def accept(self) -> Link:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._links.get()

    async def stop(self) -> None:
        """Listens no more, and ends what is there."""
        await self._listener.stop()
