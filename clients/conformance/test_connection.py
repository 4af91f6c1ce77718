"""Connections: made, refused, cut, ended by the server, silent."""

import asyncio

from conftest import Stage
from scripted import AUTH, ERROR, GOAWAY, HELLO, OK

UNAUTHENTICATED, SHUTTING_DOWN = 12, 35


def states(stage: Stage) -> list[str]:
    return stage.client.all("state", "state")


async def test_connects(stage: Stage) -> None:
    await stage.connect(token="t1")
    link = await stage.server.accept()
    hello = await link.welcome()
    assert hello[1] == 1 and hello[3] == "t1" and hello[4], hello
    await stage.client.hear("state", state="connected")
    await stage.client.say("close")
    await asyncio.wait_for(link.ended.wait(), 10)
    await stage.client.hear("state", state="disconnected")
    assert states(stage) == ["connecting", "connected", "disconnected"]


async def test_first_connect_that_is_refused_fails_for_good(stage: Stage) -> None:
    await stage.connect(token="wrong")
    link = await stage.server.accept()
    await link.expect(HELLO)
    await link.send(ERROR, 0, UNAUTHENTICATED, "the token is not known")
    await link.close(UNAUTHENTICATED, "the token is not known")
    failed = await stage.client.hear("state", state="failed")
    assert failed["code"] == "unauthenticated", failed
    assert states(stage) == ["connecting", "failed"]


async def test_comes_back_after_a_cut(stage: Stage) -> None:
    link = await stage.connected()
    link.cut()
    await stage.client.hear("state", state="disconnected")
    await (await stage.server.accept()).welcome()
    await stage.client.hear("state", state="connected")
    assert states(stage) == ["connecting", "connected", "disconnected", "connecting", "connected"]


async def test_goes_on_trying_while_nobody_listens(stage: Stage) -> None:
    link = await stage.connected()
    await stage.server.stop()
    link.cut()
    for _ in range(3):
        await stage.client.hear("state", state="connecting")
        await stage.client.hear("state", state="disconnected")
    await stage.server.start()
    await (await stage.server.accept()).welcome()
    await stage.client.hear("state", state="connected")


async def test_comes_back_when_the_server_stops(stage: Stage) -> None:
    link = await stage.connected()
    await link.send(GOAWAY, SHUTTING_DOWN, "the server stops", 5_000)
    await asyncio.sleep(0)
    again = await stage.server.accept()
    await again.welcome()
    await stage.client.hear("state", state="connected")
    await asyncio.wait_for(link.ended.wait(), 10)


async def test_a_silent_server_is_given_up(stage: Stage) -> None:
    await stage.connect()
    link = await stage.server.accept()
    link.answers_pings = False
    await link.welcome(heartbeat_ms=200)
    await stage.client.hear("state", state="connected")
    await asyncio.wait_for(link.ended.wait(), 10)
    await (await stage.server.accept()).welcome()
    await stage.client.hear("state", state="connected")


async def test_nonsense_ends_the_connection_and_not_the_client(stage: Stage) -> None:
    link = await stage.connected()
    await link.send_bytes(b"\xc1\xff\x00 this is no frame")
    await asyncio.wait_for(link.ended.wait(), 10)
    again = await stage.server.accept()
    await again.welcome()
    await stage.client.hear("state", state="connected")


async def test_an_unknown_frame_is_ignored(stage: Stage) -> None:
    link = await stage.connected()
    await link.send(63, "of a later version", {"more": [1, 2]})
    await stage.client.say("publish", as_="p", topic="a.b", payload="x")
    request = await link.expect(10)
    await link.send(11, request[1], 1, 5, 1)
    assert (await stage.client.hear("done", as_="p"))["offset"] == 5
    assert states(stage) == ["connecting", "connected"]


async def test_an_expired_token_is_replaced_by_the_next_one(stage: Stage) -> None:
    await stage.connect(token="t1", tokens=["t2", "t3"])
    link = await stage.server.accept()
    first = (await link.welcome())[3]
    await stage.client.hear("state", state="connected")
    await link.send(ERROR, 0, UNAUTHENTICATED, "the token has expired")
    await link.close(UNAUTHENTICATED, "the token has expired")
    again = await stage.server.accept()
    second = (await again.welcome())[3]
    await stage.client.hear("state", state="connected")
    assert first != second, "the same token again"


async def test_a_token_is_renewed_before_it_expires(stage: Stage) -> None:
    await stage.connect(token="t1", tokens=["t2", "t3"])
    link = await stage.server.accept()
    # The server says until when the identity is good; 2 s from what it says the time is.
    identity = {"issuer": "i", "subject": "s", "expires_at_ms": 1_700_000_002_000}
    first = (await link.welcome(identity=identity))[3]
    await stage.client.hear("state", state="connected")
    request = await link.expect(AUTH)
    assert request[2] != first
    await link.send(OK, request[1], {"identity": {**identity, "expires_at_ms": 1_700_000_600_000}})
    assert states(stage) == ["connecting", "connected"]
