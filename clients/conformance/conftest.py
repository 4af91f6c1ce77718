"""A scripted server and a client for each scenario."""

import asyncio
import inspect
from collections.abc import Callable

import pytest

from runners import RUNNERS, Runner
from scripted import ScriptedServer

SCENARIO_S = 60.0
QUICK = {"backoff_min_ms": 20, "backoff_max_ms": 60}


class Stage:
    """What a scenario plays on."""

    def __init__(self, server: ScriptedServer, client: Runner) -> None:
        self.server, self.client = server, client

    async def connected(self, **options: object):
        """A client that is connected; returns the server's end."""
        await self.client.say("connect", client="runner", token=None, **{**QUICK, **options})
        link = await self.server.accept()
        await link.welcome()
        await self.client.hear("state", state="connected")
        return link


@pytest.fixture(params=sorted(RUNNERS))
def stage(request: pytest.FixtureRequest) -> str:
    """Each client in turn; a scenario is given its stage."""
    return request.param


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Scenarios are coroutines that take a stage."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(_play(pyfuncitem.obj, pyfuncitem.funcargs["stage"]))
    return True


async def _play(scenario: Callable, sdk: str) -> None:
    server = ScriptedServer()
    await server.start()
    client = await Runner.start(sdk, server.url)
    try:
        async with asyncio.timeout(SCENARIO_S):
            await scenario(Stage(server, client))
        await client.stop()
    finally:
        if client._process.returncode is None:
            client._process.kill()
        await server.stop()
