"""Tokens in wrong hands: used after they were revoked or have expired, beside and on live connections."""

import asyncio
import json
import time
from typing import Any

import pytest

from conftest import TRANSPORTS, Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger import frames as f
from tidewire_stranger.client import LATEST, Client
from tidewire_stranger.codes import Code, Kind
from tidewire_stranger.following import WAIT, Refused
from tidewire_stranger.links import Endpoint
from tidewire_stranger.raw_http import Wire
from tidewire_stranger.records import Record
from tidewire_stranger.tokens import by_secret, token

SECRET = b"the secret of these tests, of more than 32 bytes"

CONFIG = """
[auth]
leeway_ms = 0

[[auth.token_key]]
algorithm = "HS256"
file = "{file}"

[[auth.role]]
name = "all"
rules = [{{ names = ">", allow = ["publish", "subscribe", "history", "incr", "presence"] }}]
"""


@pytest.fixture
def daemon(tmp_path: Any) -> Any:
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    daemon = daemons.start(tmp_path, CONFIG.format(file=file))
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture(params=TRANSPORTS)
def dial(daemon: daemons.Daemon, request: pytest.FixtureRequest) -> Dialer:
    return Dialer(daemon.endpoint, request.param)


def shown(subject: str = "ann", lives_s: float = 600, **more: Any) -> str:
    now = time.time()
    claims = {"sub": subject, "exp": now + lives_s, "iat": int(now) - 1, "roles": ["all"], **more}
    return token({"alg": "HS256"}, claims, by_secret(SECRET))


def revoke(daemon: daemons.Daemon, what: dict[str, Any]) -> None:
    body = json.dumps(what)
    with Wire(Endpoint.parse(daemon.admin, "")) as wire:
        headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head = f"POST /v1/revocations HTTP/1.1\r\nHost: {wire.host}\r\n{headers}\r\n"
        wire.send((head + body).encode())
        answer = wire.response()
        assert answer.status == 200, answer


async def refused(call: Any) -> int:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value.code


async def ended(client: Client, says: str) -> None:
    """The client is told why it is ended, and is."""
    async with asyncio.timeout(WAIT):
        while (error := await client.errors.get()).code != Code.UNAUTHENTICATED:
            pass
        assert says in error.message
        assert (await client.closed).code == Code.UNAUTHENTICATED


async def kept_out(dial: Dialer, stolen: str, says: str) -> None:
    with pytest.raises(Refused) as problem:
        async with dial(token=stolen):
            pass
    assert problem.value.code == Code.UNAUTHENTICATED and says in str(problem.value)


async def test_a_revoked_token_ends_all_its_connections_and_opens_none(daemon, dial) -> None:
    stolen, other = shown(jti="stolen"), shown(jti="other")
    async with dial(token=stolen) as owner, dial(token=stolen) as thief, dial(token=other) as third:
        revoke(daemon, {"token": "stolen"})
        await ended(owner, "revoked")
        await ended(thief, "revoked")
        for transport in TRANSPORTS:
            await kept_out(Dialer(daemon.endpoint, transport), stolen, "revoked")
        # Neither can a connection that is let in by another change over to it.
        assert await refused(third.authenticate(stolen)) == Code.UNAUTHENTICATED
        assert (await third.incr("still")).value == 1


async def test_a_thief_sees_nothing_after_the_revocation(daemon, dial) -> None:
    async with dial(token=shown("bob")) as publisher, dial(token=shown(jti="stolen")) as thief:
        followed = await thief.subscribe("news", LATEST)
        watched = await thief.watch(Kind.COUNTER, "count")
        await publisher.publish("news", Record(payload=b"before"))
        assert (await followed.records(1))[0].record.payload == b"before"
        revoke(daemon, {"token": "stolen"})
        # Whoever revoked knows that it is done: what is published now is not seen.
        await publisher.publish("news", Record(payload=b"after"))
        await publisher.incr("count", 7)
        await ended(thief, "revoked")
        assert not [frame for frame in followed.inbox.arrived() if isinstance(frame, f.Deliver)]
        updates = [each for each in watched.inbox.arrived() if isinstance(each, f.Update)]
        assert [each.value for each in updates if each.value] == []


async def test_a_revoked_subject_is_put_out_whatever_its_token_leaves_out(daemon, dial) -> None:
    now = time.time()
    without = token(
        {"alg": "HS256"}, {"sub": "ann", "exp": now + 600, "roles": ["all"]}, by_secret(SECRET)
    )
    async with dial(token=shown()) as ann, dial(token=without) as again, dial(token=shown("bob")) as bob:
        revoke(daemon, {"subject": {"subject": "ann"}})
        await ended(ann, "revoked")
        await ended(again, "revoked")
        for stolen in (shown(), without, shown(iat=0), shown(iat=int(now) - 100)):
            await kept_out(dial, stolen, "revoked")
        assert (await bob.incr("bob")).value == 1
    # Another's name is another: by case, by an accent, by a letter that looks the same.
    for other in ("Ann", "ann ", "a\u0301nn", "\u0430nn"):
        async with dial(token=shown(other)) as somebody:
            assert (await somebody.incr("others")).value > 0


async def test_who_is_present_goes_when_their_token_is_revoked(daemon, dial) -> None:
    async with dial(token=shown("bob")) as bob, dial(token=shown(jti="stolen")) as ann:
        await ann.join("room", "ann")
        assert "ann" in str((await bob.get(Kind.PRESENCE, "room")).value)
        revoke(daemon, {"token": "stolen"})
        await ended(ann, "revoked")
        async with asyncio.timeout(WAIT):
            while "ann" in str((await bob.get(Kind.PRESENCE, "room")).value):
                await asyncio.sleep(0.02)


async def test_an_expired_token_ends_the_connection_and_opens_none(daemon, dial) -> None:
    stolen = shown(lives_s=1.5)
    async with dial(token=shown("bob")) as publisher, dial(token=stolen) as thief:
        followed = await thief.subscribe("news", LATEST)
        await ended(thief, "expired")
        await publisher.publish("news", Record(payload=b"after"))
        await kept_out(dial, stolen, "expired")
        assert not [frame for frame in followed.inbox.arrived() if isinstance(frame, f.Deliver)]


async def test_an_expired_token_does_not_renew_itself(daemon, dial) -> None:
    """Showing it again, or one that has expired, does not make a connection last."""
    brief = shown(lives_s=2)
    async with dial(token=brief) as thief:
        assert await refused(thief.authenticate(shown(lives_s=-1))) == Code.UNAUTHENTICATED
        await thief.authenticate(brief)
        await ended(thief, "expired")


async def test_a_connection_that_sends_all_the_time_is_ended_too(daemon, dial) -> None:
    async with dial(token=shown(lives_s=1.5)) as thief:
        async with asyncio.timeout(WAIT):
            with pytest.raises(Exception) as problem:
                while True:
                    await thief.publish("news", Record(payload=b"x"))
        assert not isinstance(problem.value, TimeoutError), "it is ended"
        assert (await asyncio.wait_for(thief.closed, WAIT)).code == Code.UNAUTHENTICATED


async def test_a_stolen_token_of_somebody_else_does_not_take_a_connection_over(daemon, dial) -> None:
    """Who a connection is stays so for its life."""
    async with dial(token=shown("eve")) as eve:
        assert await refused(eve.authenticate(shown("ann"))) == Code.FORBIDDEN
        assert (await eve.incr("eve")).value == 1
