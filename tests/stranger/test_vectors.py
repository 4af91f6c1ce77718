"""The golden vectors of the protocol decode, and encode to the same bytes again.

Every object in the files that holds hexadecimal bytes under one of `BYTES_KEYS` is a vector;
one that is meant to be refused says so by one of `REFUSED_KEYS`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidewire_stranger.codec import Malformed, decode, encode
from tidewire_stranger.frames import Deliver, Publish, Unknown
from tidewire_stranger.records import decode_body, encode_body

DIRECTORY = Path(__file__).parents[2] / "protocol" / "vectors"
BYTES_KEYS = ("hex", "bytes")
REFUSED_KEYS = ("error", "invalid", "reject")


def vectors_in(value: Any, place: str) -> Iterator[tuple[str, bytes, bool]]:
    """(where it stands, its bytes, whether it is refused) of each vector."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from vectors_in(each, f"{place}[{index}]")
    elif isinstance(value, dict):
        texts = [value[key] for key in BYTES_KEYS if isinstance(value.get(key), str)]
        if texts:
            name = value.get("name", place)
            yield name, bytes.fromhex(texts[0]), any(value.get(key) for key in REFUSED_KEYS)
        else:
            for key, each in value.items():
                yield from vectors_in(each, f"{place}.{key}")


FOUND = [
    vector
    for path in sorted(DIRECTORY.glob("*.json"))
    for vector in vectors_in(json.loads(path.read_text()), path.stem)
]
GOOD = [(name, data) for name, data, refused in FOUND if not refused]
BAD = [(name, data) for name, data, refused in FOUND if refused]


def test_there_are_vectors() -> None:
    assert GOOD, f"no vectors in {DIRECTORY}"


@pytest.mark.parametrize(("name", "data"), GOOD, ids=[name for name, _ in GOOD])
def test_vector(name: str, data: bytes) -> None:
    frame = decode(data)
    assert not isinstance(frame, Unknown), name
    assert encode(frame) == data, name
    if isinstance(frame, Publish | Deliver):
        assert encode_body(decode_body(frame.body)) == frame.body, name


def test_refused_vectors() -> None:
    for name, data in BAD:
        with pytest.raises(Malformed):
            pytest.fail(f"{name} is read as {decode(data)}")
