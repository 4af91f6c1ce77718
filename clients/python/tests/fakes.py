"""A clock that stands still until it is told, and a server that says what the test wants."""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tidewire
from tidewire import frames as f
from tidewire.codec import decode, encode
from tidewire.errors import ConnectError
from tidewire.targets import Target
from tidewire.transport import Inflow

F = TypeVar("F", bound=f.Frame)
INFO = {
    "in_flight_max": 8,
    "max_frame_bytes": 4096,
    "heartbeat_ms": 1000,
    "time_ms": 1_000_000,
    "actor": [1, 1],
}


async def settle() -> None:
    """Lets everything run that can run."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeClock:
    """Time passes by `advance` only; chance is always `chance`."""

    def __init__(self, chance: float = 1.0) -> None:
        self.time, self.chance = 0.0, chance
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._serial = 0

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return self.chance

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._serial += 1
        heapq.heappush(self._sleepers, (self.time + seconds, self._serial, future))
        await future

    async def advance(self, seconds: float) -> None:
        end = self.time + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.time, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await settle()
        self.time = end
        await settle()


class FakeLink:
    """One connection: what the client has written, and what it is told."""

    def __init__(self, server: "FakeServer", target: Target, inflow: Inflow) -> None:
        self.server, self.target, self.inflow = server, target, inflow
        self.got: list[Any] = []
        self.closed = False

    async def write(self, frames: Sequence[bytes]) -> None:
        for data in frames:
            frame = decode(data)
            self.got.append(frame)
            if isinstance(frame, f.Hello):
                self.server.welcome(self, frame)
            else:
                for answer in self.server.answers:
                    reply = answer(frame)
                    if reply is not None:
                        self.say(reply)
                        break

    async def close(self) -> None:
        self.closed = True

    def say(self, *frames: f.Frame) -> None:
        self.inflow.message(b"".join(map(encode, frames)))

    def cut(self, reason: str = "cut") -> None:
        self.inflow.lost(reason)

    def of(self, kind: type[F]) -> list[F]:
        return [frame for frame in self.got if isinstance(frame, kind)]

    def last(self, kind: type[F]) -> F:
        return self.of(kind)[-1]


class FakeServer:
    """Takes connections; `answers` are asked in turn for the reply to a request."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.dialed: list[str] = []
        self.down: set[str] | bool = set()
        self.info: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[f.Hello], f.Error | None] = lambda _: None
        self.answers: list[Callable[[Any], f.Frame | None]] = [issue_producer]

    async def dial(self, target: Target, inflow: Inflow) -> FakeLink:
        self.dialed.append(target.host)
        if self.down is True or (isinstance(self.down, set) and target.host in self.down):
            raise ConnectError(target.url, "nobody is there")
        self.links.append(FakeLink(self, target, inflow))
        return self.links[-1]

    def welcome(self, link: FakeLink, hello: f.Hello) -> None:
        refusal = self.refuse(hello)
        info = INFO | self.info.get(link.target.host, {})
        link.say(refusal or f.Welcome(1, hello.capabilities or [], "s", info))

    @property
    def link(self) -> FakeLink:
        return self.links[-1]

    def connect(self, clock: FakeClock, url: Any = "ws://a", **options: Any) -> tidewire.connect:
        return tidewire.connect(url, clock=clock, dialer=self.dial, **options)


def issue_producer(frame: Any) -> f.Frame | None:
    """The reply to PRODUCER."""
    if isinstance(frame, f.Producer):
        return f.Ok(frame.req, {"producer": 7, "window": 1024, "idle_ms": 1})
    return None


def acknowledge(frame: Any) -> f.Frame | None:
    """The reply to PUBLISH."""
    if isinstance(frame, f.Publish):
        return f.PubAck(frame.req, 5, (frame.options or {}).get("sequence", 0), 1)
    return None
