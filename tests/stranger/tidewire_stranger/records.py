"""Records and the bodies that carry them."""

from dataclasses import dataclass

import msgpack

from .codec import Malformed, unpack_all
from .frames import Deliver


@dataclass(frozen=True)
class Record:
    key: str | None = None
    headers: dict[str, str] | None = None
    payload: bytes | None = None


@dataclass(frozen=True)
class Delivered:
    """A record and where it stands in its topic."""

    topic: str
    epoch: int
    offset: int
    record: Record


def encode_body(records: list[Record]) -> bytes:
    return b"".join(msgpack.packb([r.key, r.headers, r.payload]) for r in records)


def decode_body(body: bytes) -> list[Record]:
    return [_record(elements) for elements in unpack_all(body)]


def _record(elements: object) -> Record:
    if not isinstance(elements, list):
        raise Malformed("a record is an array")
    key, headers, payload = (elements + [None] * 3)[:3]
    if not isinstance(key, (str, type(None))) or not isinstance(payload, (bytes, type(None))):
        raise Malformed("a record is [key?, headers?, payload?]")
    if headers is not None:
        if not isinstance(headers, dict):
            raise Malformed("headers are a map")
        if not all(isinstance(text, str) for pair in headers.items() for text in pair):
            raise Malformed("headers are a map of str to str")
    return Record(key, headers, payload)


def delivered(frame: Deliver) -> list[Delivered]:
    """The records of one DELIVER. Checks that the body holds what the range announces."""
    records = decode_body(frame.body)
    if frame.offsets is None:
        offsets = list(range(frame.start, frame.next))
    else:
        offsets = [frame.start + each for each in frame.offsets]
    if len(offsets) != len(records):
        raise Malformed(f"{len(records)} records for {len(offsets)} offsets")
    if offsets != sorted(set(offsets)) or (offsets and offsets[-1] >= frame.next):
        raise Malformed(f"offsets {offsets} do not fit [{frame.start}, {frame.next})")
    return [
        Delivered(frame.topic, frame.epoch, offset, record)
        for offset, record in zip(offsets, records, strict=True)
    ]
