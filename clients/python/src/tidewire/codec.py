"""Frames to bytes and back."""

import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from . import frames as f
from .names import is_name
from .shapes import Check, Fields, depth_exceeds

LEVELS_MAX = 16
#: A server's frame may be larger than what it accepts by its own header; limits are configurable, so
#: this bounds memory only.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class Malformed(ValueError):
    """The bytes are no frame, or not of a form that the protocol knows."""


def _checks_of(kind: type[f.Frame]) -> list[tuple[Check, bool]]:
    """For each field its check, and whether it may be nil."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found: list[tuple[Check, bool]] = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        hint = hints[field.name]
        alternatives = typing.get_args(hint) if not hasattr(hint, "__metadata__") else (hint,)
        annotated = next(each for each in alternatives if hasattr(each, "__metadata__"))
        found.append((annotated.__metadata__[0], type(None) in alternatives))
    return found


_KINDS: dict[int, type[f.Frame]] = {kind.TYPE: kind for kind in f.Frame.__subclasses__() if kind.TYPE >= 0}
_CHECKS = {number: _checks_of(kind) for number, kind in _KINDS.items()}
_NAMES = {number: tuple(each.name for each in dataclasses.fields(kind)) for number, kind in _KINDS.items()}  # type: ignore[arg-type]
_PACKER = msgpack.Packer()
_DELIVER = f.Deliver.TYPE

#: What a server may send. Anything else from it is an unknown frame.
SERVER_TYPES = frozenset({2, 3, 4, 5, 6, 7, 11, 13, 14, 16, 17, 21, 23, 25, 27, 28, 34})

_STANDINGS = ("counts", "ballots", "blank", "overvotes", "state", "hidden", "partitions", "options", "rules")
_INFO = (
    "server", "node", "shards", "max_frame_bytes", "heartbeat_ms", "in_flight_max", "subscriptions_max",
    "time_ms", "identity", "actor", "nodes",
)  # fmt: skip
_KNOWN_KEYS: dict[int, tuple[str, ...]] = {
    f.Welcome.TYPE: _INFO,
    f.Watching.TYPE: ("options", "rules"),
    f.Update.TYPE: _STANDINGS,
}


def encode(frame: f.Frame) -> bytes:
    """A frame as MessagePack."""
    kind = frame.TYPE
    packed = _PACKER.pack([kind, *[getattr(frame, name) for name in _NAMES[kind]]])
    return typing.cast(bytes, packed)


def from_elements(elements: Any) -> f.Frame:
    """A frame from its decoded array; refuses what breaks the form of its type."""
    if type(elements) is not list or not elements:
        raise Malformed("a frame is an array that begins with its type")
    number = elements[0]
    checks = _CHECKS.get(number) if type(number) is int else None
    if checks is None:
        if type(number) is not int or number < 0:
            raise Malformed("a frame's type is an unsigned integer")
        if depth_exceeds(elements, LEVELS_MAX):
            raise Malformed("a frame nests too deeply")
        return f.Unknown(number)
    if number == _DELIVER and len(elements) == 10:
        delivery = _plain_delivery(elements)
        if delivery is not None:
            return delivery
    else:
        _check_maps(number, elements, len(checks))
    return _build(number, checks, elements)


def _plain_delivery(elements: list[Any]) -> f.Deliver | None:
    """The hot path: a delivery of a topic without positions and offsets. None if it is another one."""
    _, sub, topic, epoch, first, end, time_ms, position, offsets, body = elements
    if position is not None or offsets is not None or type(body) is not bytes or type(topic) is not str:
        return None
    if not (type(sub) is type(epoch) is type(first) is type(end) is type(time_ms) is int):
        return None
    if min(sub, epoch, first, end, time_ms) < 0 or not is_name(topic):
        return None
    return f.Deliver(sub, topic, epoch, first, end, time_ms, None, None, body)


def _build(number: int, checks: list[tuple[Check, bool]], elements: list[Any]) -> f.Frame:
    values = elements[1 : len(checks) + 1]
    if len(values) < len(checks):
        values += [None] * (len(checks) - len(values))
    for (check, optional), value in zip(checks, values, strict=True):
        if value is None:
            if not optional:
                raise Malformed(f"a field of frame type {number} is missing")
        elif not check(value):
            raise Malformed(f"a field of frame type {number} has a wrong type or value")
    if number == _DELIVER and not is_name(values[1]):
        raise Malformed("a delivery names no topic")
    return _KINDS[number](*values)


def _check_maps(number: int, elements: list[Any], fields: int) -> None:
    if depth_exceeds(elements, LEVELS_MAX):
        raise Malformed("a frame nests too deeply")
    known = _KNOWN_KEYS.get(number)
    for value in elements[1 : fields + 1]:
        if type(value) is Fields and value.repeated:
            if known is None or any(key in known for key in value.repeated):
                raise Malformed("a key of a map occurs twice")


class Decoder:
    """Reads the frames of one connection, message by message."""

    def __init__(self) -> None:
        self._unpacker = _unpacker(MESSAGE_BYTES_MAX)
        self._fed = 0

    def frames(self, message: bytes) -> Iterator[f.Frame]:
        """The frames that stand one after the other in a message.

        Raises `Malformed` for what is no frame; nothing can be read from the connection after that.
        """
        self._fed += len(message)
        unpacker = self._unpacker
        try:
            unpacker.feed(message)
            for elements in unpacker:
                yield from_elements(elements)
        except Malformed:
            raise
        except (ValueError, msgpack.BufferFull) as error:
            raise Malformed(f"no MessagePack: {error}") from error
        if unpacker.tell() != self._fed:
            raise Malformed("a message ends within a frame")


def decode(data: bytes) -> f.Frame:
    """The one frame that these bytes are."""
    found = list(Decoder().frames(data))
    if len(found) != 1:
        raise Malformed("not exactly one frame")
    return found[0]


def _unpacker(bytes_max: int, pairs_hook: Callable[[list[tuple[Any, Any]]], Any] = Fields) -> Any:
    return msgpack.Unpacker(
        raw=False, strict_map_key=False, object_pairs_hook=pairs_hook, max_buffer_size=bytes_max
    )
