"""Accounts: tokens that this client signs by itself, and what they allow."""

import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import TRANSPORTS, Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger.client import EARLIEST, LATEST, at_offset
from tidewire_stranger.codes import Code, Kind
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record
from tidewire_stranger.tokens import part

KEY = Ed25519PrivateKey.generate()

CONFIG = """
[auth]
audience = "tidewire"
leeway_ms = 0

[[auth.token_key]]
id = "one"
algorithm = "EdDSA"
file = "{file}"
issuer = "https://id.example"

[[auth.role]]
name = "reader"
rules = [{{ names = "open.>", allow = ["subscribe"] }}]

[[auth.role]]
name = "writer"
rules = [{{ names = ">", allow = ["publish", "subscribe", "history", "admin", "vote"] }}]
"""


def token(key: Ed25519PrivateKey = KEY, header: dict | None = None, **claims: Any) -> str:
    said = {
        "iss": "https://id.example",
        "sub": "ann",
        "aud": ["someone", "tidewire"],
        "exp": int(time.time()) + 600,
        "roles": ["reader"],
        **claims,
    }
    head = {"alg": "EdDSA", "kid": "one", **(header or {})}
    signed = ".".join(part(json.dumps(each).encode()) for each in (head, said))
    return f"{signed}.{part(key.sign(signed.encode()))}"


@pytest.fixture(scope="module")
def account_daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("accounts")
    file = directory / "token.pem"
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    file.write_bytes(public)
    daemon = daemons.start(directory, CONFIG.format(file=file))
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture(params=TRANSPORTS)
def dial(account_daemon: daemons.Daemon, request: pytest.FixtureRequest) -> Dialer:
    return Dialer(account_daemon.endpoint, request.param)


async def refusal(call) -> tuple[int, str]:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value.code, str(problem.value)


async def refused_at_the_door(dial: Dialer, shown: str | None) -> str:
    with pytest.raises(Refused) as problem:
        async with dial(token=shown):
            pass
    assert problem.value.code == Code.UNAUTHENTICATED
    return str(problem.value)


async def test_who_it_is_stands_in_welcome(dial: Dialer) -> None:
    expires = int(time.time()) + 60
    async with dial(token=token(exp=expires)) as client:
        assert client.welcome.info["identity"] == {
            "issuer": "https://id.example",
            "subject": "ann",
            "expires_at_ms": expires * 1000,
        }


NONE = {"alg": "none"}
UNSIGNED = ".".join([part(json.dumps(NONE).encode()), token().split(".")[1], ""])


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (None, "token is needed"),
        ("", "token is needed"),
        ("x", "cannot be read"),
        (UNSIGNED, "cannot be read"),
        (token(Ed25519PrivateKey.generate()), "signature"),
        (token(header={"kid": "two"}), "not known"),
        (token(header={"alg": "HS256"}), "EdDSA only"),
        (token(exp=1), "expired"),
        (token(nbf=int(time.time()) + 3600), "not valid yet"),
        (token(aud="another"), "somebody else"),
        (token(iss="https://evil.example"), "only"),
        (token(sub=""), "sub"),
        (token(sub=7), "cannot be used"),
        (token(exp="soon"), "cannot be used"),
        (token(roles=["root"]), "no role"),
        (token(roles="reader"), "cannot be used"),
        (token(permissions=[{"names": "a..b", "allow": []}]), "rule 1 of the token"),
        (token(permissions=[{"names": "a", "allow": ["everything"]}]), "no operation"),
    ],
)
async def test_what_is_no_token(dial: Dialer, shown: str | None, says: str) -> None:
    assert says in await refused_at_the_door(dial, shown)


async def test_rules_decide(dial: Dialer, fresh) -> None:
    topic = fresh("open")
    async with dial(token=token(roles=["writer"])) as writer, dial(token=token()) as reader:
        first = await writer.publish(topic, Record(payload=b"1"))
        for start in [EARLIEST, at_offset(first.epoch, 0)]:
            code, message = await refusal(reader.subscribe(topic, start))
            assert (code, "may not history" in message) == (Code.FORBIDDEN, True), message
        subscription = await reader.subscribe(topic, LATEST)
        everything = await reader.subscribe(">", LATEST)
        code, message = await refusal(reader.publish(topic, Record(payload=b"2")))
        assert code == Code.FORBIDDEN
        assert "rule 1 of role 'reader' allows subscribe on 'open.>'" in message
        await writer.publish(fresh("closed"), Record(payload=b"3"))
        await writer.publish(topic, Record(payload=b"4"))
        for each in (subscription, everything):
            delivered = await each.records(1)
            assert delivered[0].record.payload == b"4"
        code, _ = await refusal(reader.get(Kind.COUNTER, fresh("closed")))
        assert code == Code.FORBIDDEN


async def test_a_token_brings_rules_of_its_own(dial: Dialer, fresh) -> None:
    rules = [{"names": "box.{identity}.>", "allow": ["publish"]}]
    async with dial(token=token(sub="bob", permissions=rules)) as client:
        await client.publish(fresh("box.bob"), Record(payload=b"1"))
        code, _ = await refusal(client.publish(fresh("box.ann"), Record(payload=b"1")))
        assert code == Code.FORBIDDEN
    for subject in ["*", ">", "ann.x", "a b"]:
        async with dial(token=token(sub=subject, permissions=rules)) as client:
            code, _ = await refusal(client.publish(fresh("box.ann"), Record(payload=b"1")))
            assert code == Code.FORBIDDEN


async def test_a_voter_is_the_subject(dial: Dialer, fresh) -> None:
    tally = fresh("poll")
    async with dial(token=token(roles=["writer"])) as client:
        await client.create_tally(tally, "single", ["a", "b"])
        await client.vote(tally, "", [0])
        assert (await client.vote(tally, "ann", [1])).revision == 2
        assert (await refusal(client.vote(tally, "bob", [0])))[0] == Code.FORBIDDEN
        shown = await client.get(Kind.TALLY, tally)
        assert shown.value["counts"] == [0, 1]


async def test_a_newer_token_replaces_the_one_before(dial: Dialer, fresh) -> None:
    topic = fresh("open")
    async with dial(token=token()) as client:
        subscription = await client.subscribe(topic, LATEST)
        assert (await refusal(client.authenticate("x")))[0] == Code.UNAUTHENTICATED
        assert (await refusal(client.authenticate(token(sub="bob"))))[0] == Code.FORBIDDEN
        identity = await client.authenticate(token(roles=["writer"]))
        assert identity["subject"] == "ann"
        await client.publish(topic, Record(payload=b"1"))
        await subscription.records(1)
        await client.authenticate(token(roles=[]))
        assert (await refusal(subscription.next()))[0] == Code.FORBIDDEN
        assert (await refusal(client.publish(topic, Record(payload=b"2"))))[0] == Code.FORBIDDEN


async def test_the_connection_ends_with_its_token(dial: Dialer) -> None:
    async with dial(token=token(exp=int(time.time()) + 2)) as client:
        ended = await client.errors.get()
        assert ended.code == Code.UNAUTHENTICATED and "expired" in ended.message
        await client.closed
