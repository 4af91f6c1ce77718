"""The golden vectors: our codec reads and writes them, the daemon takes or refuses them."""

import asyncio
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgpack
import pytest

from conftest import Dialer
from test_hostile_bytes import closed_with
from test_hostile_frames import answer, greeted
from tidewire_stranger import frames as f
from tidewire_stranger.client import LATEST
from tidewire_stranger.codec import CLIENT_TYPES, Malformed, decode, encode, from_elements
from tidewire_stranger.codes import Code
from tidewire_stranger.following import Refused
from tidewire_stranger.records import Record, decode_body, delivered, encode_body

DIRECTORY = Path(__file__).parents[2] / "protocol" / "vectors"
FRAME_FILES = ["connection", "topics", "cells", "tallies", "groups"]
BOTH_SEND = {f.Ping.TYPE, f.Pong.TYPE}


@dataclass
class Vector:
    name: str
    from_client: bool
    data: bytes
    frame: Any
    means: Any
    error: str | None
    req: int | None


def from_json(value: Any) -> Any:
    """What stands in JSON for a MessagePack value, as that value."""
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if isinstance(value, dict):
        if list(value) == ["int"]:
            return int(value["int"])
        if list(value) == ["bin"]:
            return bytes.fromhex(value["bin"])
        return {key: from_json(each) for key, each in value.items()}
    return value


def load(stem: str) -> dict[str, Any]:
    return json.loads((DIRECTORY / f"{stem}.json").read_text())


def frame_vectors(group: str) -> list[Any]:
    found = []
    for stem in FRAME_FILES:
        for raw in load(stem)[group]:
            vector = Vector(
                name=raw["name"],
                from_client=raw["direction"] == "client",
                data=bytes.fromhex(raw["bytes"]),
                frame=from_json(raw.get("frame")),
                means=from_json(raw.get("means")),
                error=raw.get("error"),
                req=raw.get("req"),
            )
            found.append(pytest.param(vector, id=f"{stem}: {vector.name}"))
    return found


def clients(vectors: list[Any]) -> list[Any]:
    return [each for each in vectors if each.values[0].from_client]


def servers(vectors: list[Any]) -> list[Any]:
    return [each for each in vectors if not each.values[0].from_client]


GOOD = frame_vectors("vectors")
DECODE_ONLY = frame_vectors("decode_only")
REFUSED = frame_vectors("refused")
BROKEN = frame_vectors("broken")
RECORDS = load("records")
NAMES = load("names")


@pytest.mark.parametrize("vector", GOOD)
def test_a_vector_is_read_and_written(vector: Vector) -> None:
    frame = decode(vector.data)
    assert not isinstance(frame, f.Unknown)
    assert frame == from_elements(vector.frame)
    assert msgpack.packb(vector.frame) == vector.data
    # We leave trailing nils out, so only the meaning of our bytes is the same.
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize("vector", DECODE_ONLY)
def test_what_nobody_has_to_write_is_read(vector: Vector) -> None:
    assert plain_fields(decode(vector.data)) == plain_fields(from_elements(vector.means))


def plain_fields(frame: f.Frame) -> list[Any]:
    """Without arrays and maps: this client keeps them as they came, unknown keys included."""
    values = [getattr(frame, field.name) for field in fields(frame)]
    return [frame.TYPE, *(each for each in values if not isinstance(each, list | dict | None))]


# This client does not check the names that a server sends.
@pytest.mark.parametrize("vector", [v for v in servers(REFUSED) if v.values[0].error != "invalid_name"])
def test_a_servers_fault_is_seen(vector: Vector) -> None:
    if vector.error == "unknown_frame":
        assert decode(vector.data).TYPE not in _server_types()
        return
    with pytest.raises(Malformed):
        decode(vector.data)


def _server_types() -> set[int]:
    return {kind.TYPE for kind in f.Frame.__subclasses__()} - CLIENT_TYPES | BOTH_SEND


@pytest.mark.parametrize("vector", BROKEN)
def test_broken_bytes_are_seen(vector: Vector) -> None:
    with pytest.raises(Malformed):
        decode(vector.data)


async def said_before_pong(link, data: bytes) -> list[f.Frame]:
    """What the server answers at once: a frame's form is judged before the next is read."""
    await link.send_bytes(data)
    await link.send(f.Ping(2**40 + 7))
    said = []
    while (frame := await answer(link)) != f.Pong(2**40 + 7):
        said.append(frame)
    return said


@pytest.mark.parametrize("vector", clients(GOOD + DECODE_ONLY))
async def test_the_daemon_takes_the_form(dial_websocket: Dialer, vector: Vector) -> None:
    async with dial_websocket.bare() as link:
        await greeted(link)
        for frame in await said_before_pong(link, vector.data):
            if isinstance(frame, f.Error):
                assert frame.code not in (Code.MALFORMED, Code.UNKNOWN_FRAME), frame


@pytest.mark.parametrize("vector", clients(REFUSED))
async def test_the_daemon_refuses_the_form(dial_websocket: Dialer, vector: Vector) -> None:
    async with dial_websocket.bare() as link:
        await greeted(link)
        said = await said_before_pong(link, vector.data)
        assert [(error.req, Code(error.code).name.lower()) for error in said] == [
            (vector.req, vector.error)
        ]


# No bytes at all are no fault in a WebSocket message, which then holds no frame.
@pytest.mark.parametrize("vector", [v for v in BROKEN if v.values[0].data])
async def test_the_daemon_ends_with_broken_bytes(dial: Dialer, vector: Vector) -> None:
    async with dial.bare() as link:
        await greeted(link)
        await link.send_bytes(vector.data)
        errors, closed = await closed_with(link)
        assert [(error.req, error.code) for error in errors] == [(0, Code.MALFORMED)]
        assert closed.code == Code.MALFORMED


def body_vectors(group: str) -> list[Any]:
    return [pytest.param(raw, id=raw["name"]) for raw in RECORDS[group]]


@pytest.mark.parametrize("raw", body_vectors("bodies"))
def test_a_body_is_read_and_written(raw: dict[str, Any]) -> None:
    records = [Record(*each) for each in from_json(raw["records"])]
    assert decode_body(bytes.fromhex(raw["body"])) == records
    assert encode_body(records).hex() == raw["body"]


@pytest.mark.parametrize("raw", body_vectors("bodies") + body_vectors("decode_only"))
async def test_the_daemon_passes_a_body_on(dial_websocket: Dialer, fresh, raw) -> None:
    topic = fresh("bodies")
    body = bytes.fromhex(raw["body"])
    async with dial_websocket() as client:
        subscription = await client.subscribe(topic, LATEST)
        await client.call(f.Publish(1, topic, 1, body))
        assert (await subscription.next_delivery()).body == body


@pytest.mark.parametrize("raw", body_vectors("refused"))
async def test_the_daemon_refuses_a_body(dial_websocket: Dialer, fresh, raw) -> None:
    async with dial_websocket() as client:
        with pytest.raises(Refused) as refused:
            await client.call(f.Publish(1, fresh("bodies"), 1, bytes.fromhex(raw["body"])))
        assert refused.value.name == raw["error"]


async def test_names(dial_websocket: Dialer) -> None:
    async with dial_websocket() as client:
        for name in NAMES["names_valid"]:
            await client.get(1, name)
        for name in NAMES["names_invalid"]:
            with pytest.raises(Refused) as refused:
                await client.get(1, name)
            assert refused.value.code == Code.INVALID_NAME, name


async def test_patterns(dial_websocket: Dialer) -> None:
    async with dial_websocket() as client:
        for pattern in NAMES["patterns_valid"]:
            await client.unsubscribe(await client.subscribe(pattern, LATEST))
        for pattern in NAMES["patterns_invalid"]:
            with pytest.raises(Refused) as refused:
                await client.subscribe(pattern, LATEST)
            assert refused.value.code == Code.INVALID_PATTERN, pattern


async def test_which_pattern_matches_which_name(dial_websocket: Dialer) -> None:
    cases = [case for case in NAMES["matches"] if not case["name"].startswith("$")]
    async with dial_websocket() as client:

        async def check(case: dict[str, Any]) -> None:
            subscription = await client.subscribe(case["pattern"], LATEST)
            payload = json.dumps(case).encode()
            await client.publish(case["name"], Record(payload=payload))
            # The cases run together, so others publish to names that match as well.
            try:
                async with asyncio.timeout(10 if case["matches"] else 0.5):
                    seen = False
                    while not seen:
                        found = delivered(await subscription.next_delivery())
                        seen = any(each.record.payload == payload for each in found)
            except TimeoutError:
                seen = False
            assert seen == case["matches"], case

        await asyncio.gather(*map(check, cases))
