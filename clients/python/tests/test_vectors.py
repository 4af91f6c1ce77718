"""The golden vectors, in both directions."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tidewire import frames as f
from tidewire.codec import SERVER_TYPES, Malformed, decode, encode, from_elements
from tidewire.names import is_name, is_pattern, matches, partition_of
from tidewire.records import NewRecord, decode_body, encode_body

VECTORS = Path(__file__).resolve().parents[3] / "protocol" / "vectors"
FILES = ["connection", "topics", "cells", "tallies", "groups"]


def unjson(value: Any) -> Any:
    if isinstance(value, list):
        return [unjson(each) for each in value]
    if isinstance(value, dict):
        if value.keys() == {"int"}:
            return int(value["int"])
        if value.keys() == {"bin"}:
            return bytes.fromhex(value["bin"])
        return {key: unjson(each) for key, each in value.items()}
    return value


def read(stem: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"{stem}.json").read_text())
    return found


def vectors(group: str, direction: str | None = None) -> list[Any]:
    return [
        pytest.param(vector, id=f"{stem}: {vector['name']}")
        for stem in FILES
        for vector in read(stem)[group]
        if direction in (None, vector["direction"])
    ]


def means_the_same(value: Any, like: Any) -> bool:
    """Whether these are equal, apart from unknown keys and from zeros and empty texts that are not there."""
    if not isinstance(value, dict) or not isinstance(like, dict):
        return bool(value == like)
    return all(value[key] == each if key in value else each in (0, "") for key, each in like.items())


def test_there_are_vectors_of_every_frame() -> None:
    seen = {decode(bytes.fromhex(each.values[0]["bytes"])).TYPE for each in vectors("vectors")}
    types = {kind.TYPE for kind in f.Frame.__subclasses__() if kind.TYPE >= 0}
    assert types - seen == set()


@pytest.mark.parametrize("vector", vectors("vectors"))
def test_a_frame_is_written_and_read(vector: dict[str, Any]) -> None:
    data, frame = bytes.fromhex(vector["bytes"]), from_elements(unjson(vector["frame"]))
    assert not isinstance(frame, f.Unknown)
    assert decode(data) == frame
    # Fields that came later are missing at the end of some vectors; this client writes them as nil.
    elements = unjson(vector["frame"])
    elements += [None] * (len(msgpack.unpackb(encode(frame))) - len(elements))
    assert encode(frame) == msgpack.packb(elements)
    if len(elements) == len(vector["frame"]):
        assert encode(frame) == data


@pytest.mark.parametrize("vector", vectors("decode_only"))
def test_what_nobody_has_to_write_is_read(vector: dict[str, Any]) -> None:
    got, means = decode(bytes.fromhex(vector["bytes"])), from_elements(unjson(vector["means"]))
    assert type(got) is type(means)
    for field in dataclasses.fields(got):  # type: ignore[arg-type]
        ours, theirs = getattr(got, field.name), getattr(means, field.name)
        # What stands in the arrays and maps of a client's frame is the server's to interpret.
        if vector["direction"] == "server" or not any(
            isinstance(each, list | dict) for each in (ours, theirs)
        ):
            assert means_the_same(ours, theirs), field.name


@pytest.mark.parametrize("vector", vectors("refused", "server"))
def test_a_servers_fault_is_seen(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    if vector["error"] == "unknown_frame":
        assert decode(data).TYPE not in SERVER_TYPES
    else:
        with pytest.raises(Malformed):
            decode(data)


@pytest.mark.parametrize("vector", vectors("broken"))
def test_broken_bytes_are_seen(vector: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode(bytes.fromhex(vector["bytes"]))


def bodies(*groups: str) -> list[Any]:
    return [pytest.param(raw, id=raw["name"]) for group in groups for raw in read("records")[group]]


@pytest.mark.parametrize("raw", bodies("bodies"))
def test_a_body_is_written(raw: dict[str, Any]) -> None:
    records = [NewRecord(value, key, headers) for key, headers, value in unjson(raw["records"])]
    plain = [record for record in records if record.headers is None or record.headers]
    if len(plain) == len(records):
        assert encode_body(records).hex() == raw["body"]


@pytest.mark.parametrize("raw", bodies("bodies", "decode_only"))
def test_a_body_is_read(raw: dict[str, Any]) -> None:
    got = decode_body(bytes.fromhex(raw["body"]))
    for (key, pairs, payload), means in zip(got, unjson(raw["records"]), strict=True):
        assert [key, payload] == [means[0], means[2]]
        headers = means[1]
        if headers is None:
            assert not pairs
        else:
            # In JSON a repeated key keeps its last value.
            assert pairs is not None and dict(pairs) == headers


def test_names_and_patterns() -> None:
    names = read("names")
    for group, check, wanted in [
        ("names_valid", is_name, True),
        ("names_invalid", is_name, False),
        ("patterns_valid", is_pattern, True),
        ("patterns_invalid", is_pattern, False),
    ]:
        assert [text for text in names[group] if check(text) is not wanted] == [], group
    assert [
        case for case in names["matches"] if matches(case["pattern"], case["name"]) is not case["matches"]
    ] == []
    assert names["matches"]


def test_partitions_of_keys() -> None:
    cases = read("names")["partitions"]
    assert cases
    for case in cases:
        assert partition_of(case["key"], case["partitions"]) == case["partition"], case
