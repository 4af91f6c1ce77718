"""Frames that are wrong inside an intact envelope: ERROR, and the connection lives."""

import asyncio
from typing import Any

import msgpack
import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.codec import CLIENT_TYPES
from tidewire_stranger.codes import Code
from tidewire_stranger.following import WAIT
from tidewire_stranger.links import Link

pytestmark = pytest.mark.usefixtures("unharmed")

BODY = b"\x93\xc0\xc0\xc4\x01x"
EMPTY_RECORDS = b"\x93\xc0\xc0\xc0" * 10_001


async def greeted(link: Link) -> dict[str, Any]:
    await link.send(f.Hello(1, []))
    welcome = await answer(link)
    assert isinstance(welcome, f.Welcome)
    return welcome.info


async def answer(link: Link) -> f.Frame:
    async with asyncio.timeout(WAIT):
        return await link.receive()


async def refused_with(dial: Dialer, elements: list[Any], codes: set[int]) -> f.Error:
    """Sends the frame on a new connection; the connection still answers afterwards."""
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(msgpack.packb(elements))
        error = await answer(link)
        assert isinstance(error, f.Error), error
        assert error.code in codes, error
        assert error.message
        await link.send(f.Ping(77))
        assert await answer(link) == f.Pong(77)
        return error


@pytest.mark.parametrize("number", [0, 8, 39, 63, 64, 1000, 2**32, 2**64 - 1])
async def test_unknown_types(dial: Dialer, number: int) -> None:
    await refused_with(dial, [number, 1, 2, 3], {Code.UNKNOWN_FRAME})


@pytest.mark.parametrize("number", sorted(set(range(2, 39)) - CLIENT_TYPES - {8, 9, 19}))
async def test_types_that_only_servers_send(dial: Dialer, number: int) -> None:
    await refused_with(dial, [number, 1, 1, "x", 1, 1], {Code.UNKNOWN_FRAME})


WRONG_TYPES = [
    [3],
    [3, "nonce"],
    [3, -1],
    [3, 1.0],
    [4, None],
    [10, 9, "t", 1],
    [10, 9, 5, 1, BODY],
    [10, 9, "t", "memory", BODY],
    [10, 9, "t", 1, "text"],
    [10, 9, "t", 1, BODY, [1]],
    [10, -9, "t", 1, BODY],
    [10, None, "t", 1, BODY],
    [12, 9, 1, "t"],
    [12, 9, "sub", "t", [0]],
    [12, 9, 1, b"t", [0]],
    [12, 9, 1, "t", 0],
    [12, 9, 1, "t", [0], "options"],
    [15, 9],
    [15, 9, "sub"],
    [18, 1],
    [18, 1, -5],
    [20, 9, "c", 0],
    [20, 9, "c", 0, "one"],
    [20, 9, "c", 0, 1.5],
    [20, 9, "c", 0, 2**63],
    [20, 9, "c", True, 1],
    [22, 9, "t", "v"],
    [22, 9, "t", 5, [0]],
    [22, 9, "t", "v", 0],
    [22, 9, "t", "v", [0], "first"],
    [24, 9, 1],
    [24, 9, "counter", "c"],
    [24, 9, 3, "map.x", 5],
    [26, 9, 1, 1],
    [26, 9, 1, 1, None],
    [29, 9, 0, "room"],
    [29, 9, 0, "room", "ann", "text"],
    [30, 9, 0],
    [30, 9, "create", "t"],
    [30, 9, 0, "t", [1]],
]

# Wrong inside a field of the right type.
WRONG_INSIDE = [
    [10, 9, "t", 1, b"\x93\xc0"],
    [10, 9, "t", 1, b"\x93\xc0\xc0\xa1x"],
    [10, 9, "t", 1, b"\x93\xc0\x81\xa1a\x01\xc0"],
    [10, 9, "t", 1, b"\xdd\xff\xff\xff\xff"],
    [12, 9, 1, "t", ["latest"]],
    [12, 9, 1, "t", [0], {"mode": "latest"}],
    [20, 9, "c", 0, 1, {"min": "low"}],
    [20, 9, "c", 0, 1, {"strict": 1}],
    [26, 9, 1, 1, "c", {"interval_ms": "fast"}],
]


@pytest.mark.parametrize("elements", WRONG_TYPES, ids=lambda e: f"{e!r:.60}")
async def test_wrong_types(dial: Dialer, elements: list[Any]) -> None:
    error = await refused_with(dial, elements, {Code.MALFORMED})
    assert error.req in (0, 9) and error.sub is None


@pytest.mark.parametrize("elements", WRONG_INSIDE, ids=lambda e: f"{e!r:.60}")
async def test_wrong_types_inside_a_field(dial: Dialer, elements: list[Any]) -> None:
    error = await refused_with(dial, elements, {Code.MALFORMED})
    assert error.req == 9


async def test_text_that_is_no_utf_8(dial: Dialer) -> None:
    """The bytes of a text do not break the envelope."""
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(b"\x95\x14\x09\xa2\xff\xfe\x00\x01")
        error = await answer(link)
        assert isinstance(error, f.Error) and (error.req, error.code) == (9, Code.MALFORMED)
        await link.send(f.Ping(77))
        assert await answer(link) == f.Pong(77)


@pytest.mark.parametrize(
    "name",
    ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\x00b", "a.*", "a.>", "a*b", "x" * 257],
    ids=lambda name: f"{name!r:.20}",
)
async def test_names(dial: Dialer, name: str) -> None:
    for elements in (
        [10, 9, name, 1, BODY],
        [20, 9, name, 0, 1],
        [22, 9, name, "v", [0]],
        [24, 9, 1, name],
        [26, 9, 1, 1, name],
        [29, 9, 0, name, "ann"],
        [30, 9, 0, name, {"kind": "single", "options": ["a"]}],
    ):
        assert (await refused_with(dial, elements, {Code.INVALID_NAME})).req == 9


async def test_the_longest_name(dial: Dialer, fresh) -> None:
    stem = fresh("ü")
    async with dial() as client:
        name = stem + "x" * (256 - len(stem.encode()))
        assert (await client.incr(name)).value == 1


@pytest.mark.parametrize(
    "pattern", ["", "a..*", ">.a", "a.>.b", "a*", "a.b>", "* x", "x" * 257], ids=repr
)
async def test_patterns(dial: Dialer, pattern: str) -> None:
    error = await refused_with(dial, [12, 9, 1, pattern, [0]], {Code.INVALID_PATTERN})
    assert error.req == 9


async def test_names_of_the_server(dial: Dialer) -> None:
    for elements in ([10, 9, "$sys.x", 1, BODY], [20, 9, "$sys", 0, 1]):
        await refused_with(dial, elements, {Code.FORBIDDEN})


@pytest.mark.parametrize(
    ("elements", "codes"),
    [
        ([10, 9, "t", 1, b""], {Code.INVALID_ARGUMENT}),
        ([10, 9, "t", 7, BODY], {Code.INVALID_ARGUMENT}),
        ([10, 9, "t", 1, EMPTY_RECORDS], {Code.INVALID_ARGUMENT}),
        ([10, 9, "t", 1, msgpack.packb(["", None, b"x"])], {Code.RECORD_TOO_LARGE}),
        ([10, 9, "t", 1, msgpack.packb(["k" * 257, None, b"x"])], {Code.RECORD_TOO_LARGE}),
        (
            [10, 9, "t", 1, msgpack.packb([None, {f"h{n}": "" for n in range(33)}, b"x"])],
            {Code.RECORD_TOO_LARGE},
        ),
        ([12, 9, 0, "t", [0]], {Code.INVALID_ARGUMENT}),
        ([12, 9, 2**32, "t", [0]], {Code.MALFORMED}),
        ([12, 9, 1, "t", []], {Code.MALFORMED}),
        ([12, 9, 1, "t", [9]], {Code.MALFORMED}),
        ([12, 9, 1, "t", [2, 1]], {Code.MALFORMED}),
        ([15, 9, 12345], {Code.SUBSCRIPTION_UNKNOWN}),
        ([2**53, 2**53], {Code.UNKNOWN_FRAME}),
        ([20, 2**53, "c", 0, 1], {Code.INVALID_ARGUMENT, Code.MALFORMED}),
        ([29, 9, 5, "room", "ann"], {Code.INVALID_ARGUMENT}),
        ([30, 9, 9, "t"], {Code.INVALID_ARGUMENT}),
    ],
    ids=lambda value: f"{value!r:.50}",
)
async def test_values_out_of_their_rules(dial: Dialer, elements, codes) -> None:
    await refused_with(dial, elements, codes)


async def test_the_largest_frame_is_accepted(dial: Dialer, fresh) -> None:
    """Exactly max_frame_bytes; the DELIVER is longer by the server's own header."""
    topic = fresh("large")
    async with dial() as client:
        subscription = await client.subscribe(topic, [0])
        limit = client.welcome.info["max_frame_bytes"]

        def frame(size: int) -> bytes:
            record = msgpack.packb([None, None, b"x" * size])
            return msgpack.packb([10, 0, topic, 1, record])

        data = frame(limit - (len(frame(limit)) - limit))
        assert len(data) == limit
        await client.link.send_bytes(data)
        found = await subscription.records(1)
        assert len(found[0].record.payload) > limit - 1024
