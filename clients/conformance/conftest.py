"""A scripted server and a client for each scenario."""

import asyncio
import inspect
from collections.abc import Callable

import pytest

from runners import CLIENTS, Runner
from scripted import Link, ScriptedServer
from wire_quic import fingerprint

SCENARIO_S = 60.0
QUICK = {"backoff_min_ms": 20, "backoff_max_ms": 60}
#: Over UDP nobody says that nobody listens.
QUICK_OVER_QUIC = {"connect_timeout_ms": 2_500}


class Stage:
    """What a scenario plays on."""

    def __init__(self, transport: str, server: ScriptedServer, client: Runner) -> None:
        self.transport, self.server, self.client = transport, server, client
        self._more: list[ScriptedServer] = []

    async def connect(self, **options: object) -> None:
        """Has the client connect."""
        quic = {"fingerprint": fingerprint(), **QUICK_OVER_QUIC} if self.transport == "quic" else {}
        await self.client.say("connect", **{"client": "runner", "token": None, **QUICK, **quic, **options})

    async def connected(self, info: dict[str, object] | None = None, **options: object) -> Link:
        """A client that is connected; returns the server's end."""
        await self.connect(**options)
        return await self.welcomed(**(info or {}))

    async def welcomed(self, **info: object) -> Link:
        """The next connection, which is welcomed."""
        link = await self.server.accept()
        await link.welcome(**info)
        await self.client.hear("state", state="connected")
        return link

    async def another_server(self) -> ScriptedServer:
        """Another node."""
        server = ScriptedServer(self.transport)
        self._more.append(server)
        await server.start()
        return server

    async def over(self) -> None:
        """Everything is stopped."""
        for server in (self.server, *self._more):
            await server.stop()


@pytest.fixture(params=sorted(CLIENTS))
def stage(request: pytest.FixtureRequest) -> str:
    """Each client over each of its transports in turn; a scenario is given its stage."""
    return request.param


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Scenarios are coroutines that take a stage."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(_play(pyfuncitem.obj, *CLIENTS[pyfuncitem.funcargs["stage"]]))
    return True


async def _play(scenario: Callable, sdk: str, transport: str) -> None:
    server = ScriptedServer(transport)
    await server.start()
    client = await Runner.start(sdk, server.url)
    stage = Stage(transport, server, client)
    try:
        async with asyncio.timeout(SCENARIO_S):
            await scenario(stage)
        await client.stop()
    finally:
        client.kill()
        await stage.over()
