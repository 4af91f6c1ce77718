"""Records: what is published, and what is delivered."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from .codec import Malformed
from .errors import InvalidArgumentError

#: Bytes go as they are, text as UTF-8, None as a tombstone, and anything else as JSON.
Payload = bytes | str | int | float | bool | list[Any] | dict[str, Any] | None

HeaderPairs = tuple[tuple[str, str], ...]
RawRecord = tuple[str | None, HeaderPairs | None, bytes | None]

_PACKER = msgpack.Packer()
_RECORDS_MAX = 10_000
_SMALL_BYTES = 512


@dataclass(slots=True)
class NewRecord:
    """A record to be published."""

    value: Payload
    key: str | None = None
    headers: Mapping[str, str] | None = None


@dataclass(slots=True)
class Record:
    """A record of a topic, as it was delivered."""

    topic: str
    epoch: int
    offset: int
    key: str | None
    header_pairs: HeaderPairs | None
    payload: bytes | None
    time_ms: int
    partition: int | None = None

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; empty for a tombstone."""
        return "" if self.payload is None else self.payload.decode()

    def json(self) -> Any:
        """The payload read as JSON; None for a tombstone."""
        return None if self.payload is None else json.loads(self.payload)

    @property
    def headers(self) -> dict[str, str]:
        """The headers. Of a name that occurs twice the first one counts, as in filters."""
        return dict(reversed(self.header_pairs or ()))

    @property
    def is_tombstone(self) -> bool:
        """Whether it deletes its key from the topic's map."""
        return self.payload is None


def payload_bytes(value: Payload) -> bytes | None:
    """A value as it stands in a record."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError("invalid_argument", f"this payload is no JSON: {error}") from error


def encode_body(records: Iterable[NewRecord]) -> bytes:
    """The body that holds these records, in their order."""
    body = bytearray()
    count = 0
    for record in records:
        headers = dict(record.headers) if record.headers else None
        body += _PACKER.pack([record.key, headers, payload_bytes(record.value)])
        count += 1
    if not 1 <= count <= _RECORDS_MAX:
        raise InvalidArgumentError(
            "invalid_argument", f"a publish holds 1 to {_RECORDS_MAX:,} records, this one {count:,}"
        )
    return bytes(body)


def decode_body(body: bytes) -> list[RawRecord]:
    """Key, headers and payload of every record of a body."""
    if len(body) < _SMALL_BYTES:
        # Mostly one record alone, for which a reader of many would cost more than the reading.
        try:
            record: RawRecord = msgpack.unpackb(
                body, raw=False, strict_map_key=False, use_list=False, object_pairs_hook=tuple
            )
        except ValueError:
            return _decode_many(body)
        return _checked([record])
    return _decode_many(body)


def _decode_many(body: bytes) -> list[RawRecord]:
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        use_list=False,
        object_pairs_hook=tuple,
        max_buffer_size=len(body) or 1,
    )
    try:
        unpacker.feed(body)
        found: list[RawRecord] = list(unpacker)
    except ValueError as error:
        raise Malformed(f"a body that is no records: {error}") from error
    if unpacker.tell() != len(body):
        raise Malformed("a body that ends within a record")
    return _checked(found)


def _checked(found: list[RawRecord]) -> list[RawRecord]:
    try:
        for key, _, payload in found:
            if not (payload is None or type(payload) is bytes) or not (key is None or type(key) is str):
                raise Malformed("a record with a key or payload of a wrong type")
    except (ValueError, TypeError) as error:
        raise Malformed(f"a body that is no records: {error}") from error
    return found
