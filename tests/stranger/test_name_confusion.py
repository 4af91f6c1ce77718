"""Names and patterns that are meant to be taken for others: wildcards, look-alikes, subjects that are no names."""

import itertools
import time
from typing import Any

import pytest

from conftest import Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger.client import EARLIEST, LATEST, Client, at_time, last
from tidewire_stranger.codes import Code, Kind
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record, delivered
from tidewire_stranger.tokens import by_secret, token

SECRET = b"the secret of these tests, of more than 32 bytes"

CONFIG = """
[audit]
topic = true

[[auth.token_key]]
algorithm = "HS256"
file = "{file}"

[[auth.role]]
name = "viewer"
rules = [
    {{ names = "secret.>", allow = [] }},
    {{ names = "*.secret", allow = [] }},
    {{ names = "user.{{identity}}.>", allow = ["publish", "subscribe", "history", "incr"] }},
    {{ names = "user.>", allow = [] }},
    {{ names = ">", allow = ["subscribe", "history"] }},
]

[[auth.role]]
name = "own"
rules = [{{ names = "{{identity}}.>", allow = ["publish", "subscribe", "history", "incr", "group"] }}]

[[auth.role]]
name = "backend"
rules = [{{ names = ">", allow = ["publish", "subscribe", "history", "incr"] }}]
"""

TOPICS = [
    "news",
    "news.a",
    "news.a.b",
    "secrets.a",
    "secret",
    "user.ann.inbox",
    "secret.a",
    "secret.a.b",
    "news.secret",
    "user.bob.inbox",
    "user.ann",
    "user.annabel.inbox",
]
MAY_SEE = {"news", "news.a", "news.a.b", "secrets.a", "secret", "user.ann.inbox"}
END = "zz.end.of.it.all"


@pytest.fixture(scope="module")
def dial(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("names")
    (directory / "secret").write_bytes(SECRET)
    daemon = daemons.start(directory, CONFIG.format(file=directory / "secret"))
    yield Dialer(daemon.endpoint, "websocket")
    assert daemon.stop() == 0


def shown(subject: str, role: str) -> str:
    claims = {"sub": subject, "exp": int(time.time()) + 600, "roles": [role]}
    return token({"alg": "HS256"}, claims, by_secret(SECRET))


async def refused(call: Any) -> int:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value.code


def matches(pattern: str, name: str) -> bool:
    """As the document says, by the naive way."""
    parts, tokens = pattern.split("."), name.split(".")
    if parts[-1] == ">":
        if len(tokens) < len(parts):
            return False
        parts, tokens = parts[:-1], tokens[: len(parts) - 1]
    return len(parts) == len(tokens) and all(
        part in ("*", each) for part, each in zip(parts, tokens, strict=True)
    )


PATTERNS = [
    ">", "*", "*.>", "*.*", "*.*.*", "*.*.>", "secret.>", "secret.*", "*.a", "*.a.b", "*.secret",
    "user.>", "user.*", "user.*.*", "user.*.inbox", "*.bob.*", "*.ann.*", "user.ann.>",
]
STARTS = {"from now on": LATEST, "earliest": EARLIEST, "last": last(100), "time": at_time(1)}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_pattern_shows_what_may_be_seen(dial: Dialer, pattern: str, start: list) -> None:
    wanted = {name for name in TOPICS if matches(pattern, name)} & MAY_SEE
    async with (
        dial(token=shown("shop", "backend")) as writer,
        dial(token=shown("ann", "viewer")) as ann,
    ):
        for topic in TOPICS:
            await writer.publish(topic, Record(payload=b"before"))
        try:
            seen = await ann.subscribe(pattern, start)
        except Refused as problem:
            assert (problem.code, wanted) == (Code.FORBIDDEN, set()), problem
            return
        # Shards are not in step: by the last round what was wrong in the first would be there.
        for number in range(3):
            for topic in sorted(TOPICS, key=MAY_SEE.__contains__):
                await writer.publish(topic, Record(payload=b"%d" % number))
        left = {(topic, b"2") for topic in wanted}
        while left:
            for each in delivered(await seen.next_delivery()):
                assert each.topic in wanted, each
                left.discard((each.topic, each.record.payload))
        assert (await ann.ping(1)).nonce == 1
        for frame in seen.inbox.arrived():
            assert getattr(frame, "topic", None) in wanted | {None}, frame


async def test_a_pattern_that_can_match_nothing_is_refused(dial: Dialer) -> None:
    async with dial(token=shown("ann", "viewer")) as ann:
        for pattern in ("$sys.>", "$sys.*", "$sys.audit", "$sys", "$>", "user.bob.inbox", "secret.a"):
            assert await refused(ann.subscribe(pattern, LATEST)) in (
                Code.FORBIDDEN,
                Code.INVALID_PATTERN,
            ), pattern
        for pattern in ("secret.>.", ".>", ">>", "**", "s*", "secret.a*", ">.secret", "a.>.b", "{identity}.>>"):
            assert await refused(ann.subscribe(pattern, LATEST)) == Code.INVALID_PATTERN, pattern


LOOK_ALIKES = [
    "\u0455ecret.a",  # a Cyrillic letter
    "\uff53ecret.a",  # full width
    "s\u200becret.a",  # a space without width
    "\u202esecret.a",  # right to left
    "\ufeffsecret.a",
    "secret.\u0430",
    "SECRET.a",
    "Secret.a",
    "secret\u2024a",  # a leader of one dot
    "secret\uff0ea",  # a full stop of full width
    "secret\u3002a",
    "sec\u0307ret.a",
    "secre\u0074\u0323.a",
    "secret%2ea",
    "secret/a",
    "secret\\a",
]


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=ascii)
async def test_a_name_that_looks_the_same_is_another(dial: Dialer, name: str) -> None:
    async with dial(token=shown("shop", "backend")) as writer:
        followed = await writer.subscribe("secret.a", LATEST)
        counted = (await writer.incr("secret.a")).value
        await writer.incr(name, 1000)
        await writer.publish(name, Record(payload=b"x"))
        await writer.publish("secret.a", Record(payload=b"y"))
        assert [each.record.payload for each in await followed.records(1)] == [b"y"]
        assert (await writer.get(Kind.COUNTER, "secret.a")).value == counted


async def test_two_spellings_of_a_letter_are_two_names(dial: Dialer) -> None:
    """Names are bytes: nothing is normalized, so nothing is one name here and two there."""
    async with dial(token=shown("shop", "backend")) as writer:
        for name in ("gr\u00fc\u00dfe.x", "gru\u0308\u00dfe.x", "GR\u00dc\u00dfE.x", "gr\u00fcsse.x"):
            assert (await writer.incr(name)).value == 1, name


BAD_NAMES = [
    "secret.a.", "secret..a", ".secret.a", "secret.a\0", "\0secret.a", "secret.a\n", "secret. a",
    "secret.\u00a0a", "secret.\u2028a", "secret.\u3000a", "secret.a\x7f", "secret.\u0085a",
    "x" * 257, "a." * 128 + "a", "\u00e9" * 129, ".", "..", "",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: f"{ascii(name):.30}")
async def test_what_is_no_name_is_nobodys(dial: Dialer, name: str) -> None:
    async with dial(token=shown("shop", "backend")) as writer:
        assert await refused(writer.incr(name)) == Code.INVALID_NAME
        assert await refused(writer.publish(name, Record(payload=b"x"))) == Code.INVALID_NAME
        assert await refused(writer.subscribe(name, LATEST)) == Code.INVALID_PATTERN


async def test_a_name_has_many_short_parts(dial: Dialer) -> None:
    name = "a." * 127 + "a"
    async with dial(token=shown("shop", "backend")) as writer:
        followed = [await writer.subscribe(each, LATEST) for each in (name, "*." * 127 + "*", "*." * 127 + ">")]
        await writer.publish(name, Record(payload=b"x"))
        for each in followed:
            assert len(await each.records(1)) == 1


NOT_BOB = [
    "ann", "BOB", "Bob", "b\u043eb", "\uff42ob", "bob\u200b", "bob\u0301", "\u202ebob", "\ufeffbob",
    "bob.", ".bob", "bob.inbox", "*", ">", "bob*", "bob.>", "bob bob", " bob", "bob ", "bob\n", "bob\0",
    "bob\u00a0", "..", "../bob", "bob/", "%62ob", "{identity}", "$sys", "$", "user", "x" * 256,
]


@pytest.mark.parametrize("subject", NOT_BOB, ids=lambda subject: f"{ascii(subject):.30}")
async def test_nobody_is_somebody_else(dial: Dialer, subject: str) -> None:
    async with dial(token=shown(subject, "viewer")) as somebody:
        for topic in ("user.bob.inbox", "user.bob.a.b"):
            assert await refused(somebody.publish(topic, Record(payload=b"x"))) == Code.FORBIDDEN
            assert await refused(somebody.subscribe(topic, LATEST)) == Code.FORBIDDEN
            assert await refused(somebody.incr(topic)) == Code.FORBIDDEN


async def test_a_name_of_ones_own_is_ones_own_whatever_it_is(dial: Dialer) -> None:
    for subject in ("ann", "{identity}", "b\u043eb", "$x", "user"):
        async with dial(token=shown(subject, "viewer")) as somebody:
            assert (await somebody.incr(f"user.{subject}.x")).value == 1


@pytest.mark.parametrize("subject", ["$sys", "$sys.audit", "$", "$sys.*", "$sys.>"])
async def test_nobody_is_the_server(dial: Dialer, subject: str) -> None:
    """A subject that is called like the server's names gets none of them by `{identity}.>`."""

    async def tries(somebody: Client) -> None:
        for pattern in ("$sys.audit", "$sys.>", "$sys.*"):
            assert await refused(somebody.subscribe(pattern, EARLIEST)) == Code.FORBIDDEN
        assert await refused(somebody.get(Kind.TOPIC, "$sys.audit")) == Code.FORBIDDEN
        assert await refused(somebody.publish("$sys.audit", Record(payload=b"x"))) == Code.FORBIDDEN
        assert await refused(somebody.incr("$sys.x")) == Code.FORBIDDEN

    for role in ("own", "viewer", "backend"):
        async with dial(token=shown(subject, role)) as somebody:
            await tries(somebody)


async def test_random_names_are_seen_by_whom_they_are_for(dial: Dialer) -> None:
    """Every short name over a small alphabet against every short pattern over it."""
    tokens = ["secret", "a", "user", "ann"]
    names = [".".join(parts) for size in (1, 2, 3) for parts in itertools.product(tokens, repeat=size)]
    may = [
        name
        for name in names
        if not matches("secret.>", name)
        and not matches("*.secret", name)
        and (matches("user.ann.>", name) or not matches("user.>", name))
    ]
    async with dial(token=shown("shop", "backend")) as writer, dial(token=shown("ann", "viewer")) as ann:
        seen = await ann.subscribe(">", LATEST)
        for name in names:
            await writer.publish(name, Record(payload=b"random"))
        await writer.publish(END, Record(payload=b"end"))
        found: list[str] = []
        while len(found) < len(may) or END not in found:
            came = delivered(await seen.next_delivery())
            found += [each.topic for each in came if each.record.payload in (b"random", b"end")]
        assert sorted(found) == sorted([*may, END])
