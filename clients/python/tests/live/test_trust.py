"""Certificates, and tokens."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIG, Server

import tidewire
from tidewire import ConnectionState

ROLES = """
[auth]
leeway_ms = 0

[[auth.role]]
name = "viewer"
rules = [
    { names = "user.{identity}.>", allow = ["publish", "subscribe", "history"] },
    { names = ">", allow = ["subscribe", "vote", "presence"] },
]

[[auth.token_key]]
algorithm = "HS256"
"""


@pytest.fixture(params=["wss", "quic"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.mark.parametrize("trust", ["fingerprint", "ca_file"])
async def test_a_trusted_certificate_is_accepted(server: Any, scheme: str, trust: str) -> None:
    options = {trust: getattr(server, trust)}
    async with tidewire.connect(server.url(scheme), **options) as client:
        assert await client.counter("trust").get() == 0


@pytest.mark.parametrize("options", [{}, {"fingerprint": "00" * 32}], ids=["system", "another one"])
async def test_a_strange_certificate_is_refused(server: Any, scheme: str, options: Any) -> None:
    with pytest.raises(tidewire.UntrustedError) as refused:
        async with tidewire.connect(server.url(scheme), **options):
            pass
    assert (refused.value.code, refused.value.retryable) == ("untrusted_certificate", False)


class Accounts:
    """A server whose tokens are signed with a secret."""

    def __init__(self, directory: Path) -> None:
        self.secret = directory / "secret"
        self.secret.write_text("the secret of these tests, longer than 32 bytes")
        self.server = Server(directory, f'{ROLES}file = "{self.secret}"\n{CONFIG}')
        self.server.start()

    def token(self, subject: str, *args: str) -> str:
        command = [str(self.server.process.args[0]), "auth", "token", "--algorithm", "HS256"]  # type: ignore[index]
        command += ["--key-file", str(self.secret), "--subject", subject, "--role", "viewer", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    found = Accounts(tmp_path)
    yield found
    found.server.stop()


async def test_a_token_says_who_this_is(accounts: Accounts) -> None:
    with pytest.raises(tidewire.UnauthenticatedError):
        await accounts.server.connect()
    async with accounts.server.connect(token=accounts.token("ann")) as client:
        assert client.server_info["identity"]["subject"] == "ann"
        await client.topic("user.ann.inbox").publish("mine")
        with pytest.raises(tidewire.ForbiddenError) as forbidden:
            await client.topic("user.bob.inbox").publish("not mine")
        assert (forbidden.value.code, forbidden.value.retryable) == ("forbidden", False)
        with pytest.raises(tidewire.ForbiddenError):
            async with client.topic("news").subscribe("earliest"):
                pass
        async with client.presence("room").watch() as people:
            await client.presence("room").join()
            async with asyncio.timeout(30):
                async for now in people:
                    if "ann" in now.all:
                        break


async def test_a_token_is_renewed_before_it_expires(accounts: Accounts) -> None:
    asked: list[str] = []

    async def next_token() -> str:
        asked.append(accounts.token("ann", "--ttl-s", "2"))
        return asked[-1]

    states: list[str] = []
    connecting = accounts.server.connect(token_callback=next_token, on_state=lambda s: states.append(s.state))
    async with connecting as client, asyncio.timeout(30):
        while len(asked) < 4:
            await client.counter("alive").get()
            await asyncio.sleep(0.05)
        await client.topic("user.ann.inbox").publish("still me")
        assert states == ["connecting", "connected"], "no connection was lost by that"


async def test_a_token_that_expires_without_another_is_the_end(accounts: Accounts) -> None:
    token = accounts.token("ann", "--ttl-s", "1")
    async with accounts.server.connect(token=token, backoff_min_ms=10) as client, asyncio.timeout(30):
        async for change in client.states():
            last = change
        assert last.state is ConnectionState.FAILED
        assert last.code == "unauthenticated"
        with pytest.raises(tidewire.ClientFailedError) as failed:
            await client.counter("c").get()
        assert failed.value.code == "unauthenticated"


async def test_a_token_that_is_refused_is_replaced(accounts: Accounts) -> None:
    good = accounts.token("ann")
    async with accounts.server.connect(token="nonsense", token_callback=lambda: good) as client:
        assert client.server_info["identity"]["subject"] == "ann"
