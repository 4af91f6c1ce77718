"""A server that does what a script says: frames as PROTOCOL.md has them, cuts, silence, nonsense."""

import asyncio
from typing import Any

import msgpack
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

PATIENCE_S = 15.0
HELLO, WELCOME, PING, PONG, ERROR, GOAWAY, OK = 1, 2, 3, 4, 5, 6, 7
PUBLISH, PUBACK, SUBSCRIBE, SUBSCRIBED, DELIVER, UNSUBSCRIBE, GAP = 10, 11, 12, 13, 14, 15, 16
INCR, COUNTED, VOTE, VOTED, WATCH, WATCHING, UPDATE = 20, 21, 22, 23, 26, 27, 28
PRODUCER, AUTH = 31, 38
INFO = {
    "server": "scripted", "node": "scripted-1", "shards": 1, "max_frame_bytes": 1_048_576, "heartbeat_ms": 15_000,
    "in_flight_max": 1_024, "subscriptions_max": 4_096, "time_ms": 1_700_000_000_000,
}


def body(*payloads: str) -> bytes:
    """Records with these texts, without keys and headers."""
    return b"".join(msgpack.packb([None, None, text.encode()]) for text in payloads)


class Link:
    """One connection of a client."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._frames: asyncio.Queue[list[Any]] = asyncio.Queue(1_000)
        self.ended = asyncio.Event()
        self.answers_pings = True

    async def read(self) -> None:
        """Takes what comes until the connection ends."""
        async for message in self._socket:
            unpacker = msgpack.Unpacker(strict_map_key=False)
            unpacker.feed(message)
            for frame in unpacker:
                if frame[0] == PING:
                    if self.answers_pings:
                        await self.send(PONG, frame[1])
                elif frame[0] != PONG:
                    self._frames.put_nowait(frame)

    async def expect(self, kind: int) -> list[Any]:
        """The next frame, which has to be of this kind. Who asks for a producer's id gets one."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = await self._frames.get()
                if frame[0] == PRODUCER and kind != PRODUCER:
                    await self.send(OK, frame[1], {"producer": 77, "window": 1_024, "idle_ms": 3_600_000})
                    continue
                assert frame[0] == kind, f"expected a frame of type {kind}, and {frame} came"
                return frame

    async def send(self, *fields: Any) -> None:
        """One frame."""
        await self._socket.send(msgpack.packb(list(fields)))

    async def send_bytes(self, message: bytes) -> None:
        """A message as it is."""
        await self._socket.send(message)

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
        await self.send(DELIVER, sub, topic, epoch, first, first + len(texts), 1_700_000_000_000, None, None, body(*texts))

    def cut(self) -> None:
        """The network fails."""
        self._socket.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        """The server ends it, with an error code of the protocol."""
        await self._socket.close(4_000 + code, reason)


class ScriptedServer:
    """Hands out the connections that clients make."""

    def __init__(self) -> None:
        self._links: asyncio.Queue[Link] = asyncio.Queue(100)
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Listens, at the same port as before if there was one."""
        self._server = await serve(self._serve, "127.0.0.1", self.port, subprotocols=["tidewire.v1"], ping_interval=None)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    async def _serve(self, socket: ServerConnection) -> None:
        link = Link(socket)
        self._links.put_nowait(link)
        try:
            await link.read()
        except ConnectionClosed:
            # How it ended is for the scenario to know.
            pass
        finally:
            link.ended.set()

    async def accept(self) -> Link:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._links.get()

    async def stop(self) -> None:
        """Listens no more, and ends what is there."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
