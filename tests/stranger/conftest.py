"""The daemon under test, and connections to it over each transport."""

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tidewire_stranger import daemon as daemons
from tidewire_stranger.client import LATEST, Client
from tidewire_stranger.links import Endpoint, Link
from tidewire_stranger.quic import QuicLink
from tidewire_stranger.records import Record
from tidewire_stranger.websocket import WebSocketLink

TEST_SECONDS = 60
TRANSPORTS = ["websocket", "quic"]

SMALL_TOPICS = """
[[policy]]
names = "small.>"
retention_records = 100

[[policy]]
names = "removable.>"
allow_delete = true
map_keys_max = 100

[[policy]]
names = "brief.>"
idle_timeout_ms = 300

[[policy]]
names = "parted.>"
partitions = 8
retention_records = 2000
"""


DURABLE_TOPICS = """
[[policy]]
names = "safe.>"
durability = "disk"

[[policy]]
names = "quick.>"
durability = "disk"
ack = "memory"
"""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs the coroutine tests, each in a loop of its own and for a bounded time."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}

    async def bounded() -> None:
        async with asyncio.timeout(TEST_SECONDS):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@dataclass
class Dialer:
    endpoint: Endpoint
    transport: str

    async def link(self, **options: Any) -> Link:
        opener = WebSocketLink if self.transport == "websocket" else QuicLink
        async with asyncio.timeout(10):
            return await opener.open(self.endpoint, **options)

    @asynccontextmanager
    async def __call__(
        self, capabilities: Sequence[str] = (), token: str | None = None, **options: Any
    ) -> AsyncIterator[Client]:
        link = await self.link(**options)
        try:
            client = await Client.open(link, capabilities, token)
        except BaseException:
            await link.close()
            raise
        async with client:
            yield client

    @asynccontextmanager
    async def bare(self, **options: Any) -> AsyncIterator[Link]:
        """A link without a client: nothing is sent but what the test sends."""
        link = await self.link(**options)
        try:
            yield link
        finally:
            await link.close()


def _run(directory: Any, config: str | None) -> Any:
    daemon = daemons.start(directory, config)
    yield daemon
    assert daemon.stop() == 0, "SIGTERM ends the daemon with exit code 0"


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    yield from _run(tmp_path_factory.mktemp("plain"), None)


@pytest.fixture(scope="session")
def small_daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A daemon whose topics under `small.` keep about 100 records, those under `brief.` go."""
    yield from _run(tmp_path_factory.mktemp("small"), SMALL_TOPICS)


@pytest.fixture(scope="session")
def durable_daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A daemon that keeps topics under `safe.` and `quick.` on disk."""
    yield from _run(tmp_path_factory.mktemp("durable"), DURABLE_TOPICS)


@pytest.fixture(params=TRANSPORTS)
def dial_durable(durable_daemon: daemons.Daemon, request: pytest.FixtureRequest) -> Dialer:
    return Dialer(durable_daemon.endpoint, request.param)


@pytest.fixture(params=TRANSPORTS)
def dial(daemon: daemons.Daemon, request: pytest.FixtureRequest) -> Dialer:
    return Dialer(daemon.endpoint, request.param)


@pytest.fixture(params=TRANSPORTS)
def dial_small(small_daemon: daemons.Daemon, request: pytest.FixtureRequest) -> Dialer:
    return Dialer(small_daemon.endpoint, request.param)


@pytest.fixture
def dial_quic(daemon: daemons.Daemon) -> Dialer:
    return Dialer(daemon.endpoint, "quic")


@pytest.fixture
def dial_websocket(daemon: daemons.Daemon) -> Dialer:
    return Dialer(daemon.endpoint, "websocket")


GROWTH_KIB = 128 * 1024


@contextmanager
def harmless(daemon: daemons.Daemon) -> Iterator[None]:
    """Afterwards the daemon serves others on both transports, and has not swollen."""
    before = daemon.resident_kib()
    yield
    for transport in TRANSPORTS:
        asyncio.run(_served(Dialer(daemon.endpoint, transport)))
    assert daemon.resident_kib() - before < GROWTH_KIB


@pytest.fixture
def unharmed(daemon: daemons.Daemon) -> Any:
    with harmless(daemon):
        yield


async def _served(dial: Dialer) -> None:
    name = f"served.n{next(_serial)}"
    async with asyncio.timeout(10), dial() as client:
        subscription = await client.subscribe(name, LATEST)
        await client.publish(name, Record(payload=b"x"))
        await subscription.records(1)


_serial = itertools.count(1)


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Names that no other test uses: the daemon is shared."""
    return lambda stem: f"{stem}.n{next(_serial)}"
