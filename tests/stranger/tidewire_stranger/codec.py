"""Frames to bytes and back."""

import types
import typing
from dataclasses import fields
from typing import Any, Union

import msgpack

from .frames import Frame, I, U, Unknown

MAX_DEPTH = 16


class Malformed(ValueError):
    """The bytes are not a frame."""


BY_TYPE: dict[int, type[Frame]] = {
    kind.TYPE: kind for kind in Frame.__subclasses__() if kind is not Unknown
}
CLIENT_TYPES = {1, 3, 4, 10, 12, 15, 18, 20, 22, 24, 26, 29, 30, 31, 32, 33, 35, 36, 37, 38}


def _layout(kind: type[Frame]) -> list[Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [hints[field.name] for field in fields(kind)]


LAYOUTS: dict[int, list[Any]] = {number: _layout(kind) for number, kind in BY_TYPE.items()}


def convert(hint: Any, value: Any) -> Any:
    """`value` as the type that `hint` declares, or Malformed."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, Union):
        wanted = [part for part in typing.get_args(hint) if part is not type(None)]
        return None if value is None else convert(wanted[0], value)
    if hint == U or hint == I:
        low, high = (0, 2**64) if hint == U else (-(2**63), 2**63)
        if type(value) is int and low <= value < high:
            return value
    elif origin is list and isinstance(value, list):
        (element,) = typing.get_args(hint)
        return [convert(element, each) for each in value]
    elif origin is dict and isinstance(value, dict):
        return value
    elif origin is None and issubclass(hint, tuple) and isinstance(value, list):
        parts = typing.get_type_hints(hint, include_extras=True).values()
        if len(parts) == len(value):
            return hint(*map(convert, parts, value))
    elif origin is None and type(value) is hint:
        return value
    raise Malformed(f"{value!r:.80} is no {hint}")


def check_depth(value: Any, depth: int = 1) -> None:
    """Counts the arrays and maps that hold something."""
    if isinstance(value, (list, dict)) and value:
        if depth > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
        for each in value.values() if isinstance(value, dict) else value:
            check_depth(each, depth + 1)


def check_plain(value: Any) -> None:
    """No floats and no extension types: they do not occur in the fields that we know."""
    if isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            check_plain(each)
    elif value is not None and not isinstance(value, (bool, int, str, bytes)):
        raise Malformed(f"a {type(value).__name__} does not occur in a frame")


def from_elements(elements: Any) -> Frame:
    check_depth(elements)
    if not isinstance(elements, list) or not elements or type(elements[0]) is not int:
        raise Malformed("a frame is an array that starts with its type")
    number, values = elements[0], elements[1:]
    if number not in BY_TYPE:
        return Unknown(number, values)
    layout = LAYOUTS[number]
    values = values[: len(layout)] + [None] * (len(layout) - len(values))
    check_plain(values)
    return BY_TYPE[number](*map(convert, layout, values))


def to_elements(frame: Frame) -> list[Any]:
    """The frame's array without trailing `nil`s: a reader puts them back."""
    if isinstance(frame, Unknown):
        return [frame.number, *frame.elements]
    elements = [frame.TYPE, *(getattr(frame, field.name) for field in fields(frame))]
    while elements[-1] is None:
        elements.pop()
    return elements


def encode(frame: Frame) -> bytes:
    return msgpack.packb(to_elements(frame))


def unpack_all(data: bytes) -> list[Any]:
    """The MessagePack values that stand in `data` one after the other, and nothing else."""
    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    values, end = [], 0
    try:
        while end < len(data):
            values.append(unpacker.unpack())
            end = unpacker.tell()
    except msgpack.OutOfData:
        raise Malformed("truncated") from None
    except (ValueError, msgpack.UnpackException) as problem:
        raise Malformed(f"broken MessagePack: {problem}") from problem
    return values


def decode_all(data: bytes) -> list[Frame]:
    return [from_elements(elements) for elements in unpack_all(data)]


def decode(data: bytes) -> Frame:
    found = decode_all(data)
    if len(found) != 1:
        raise Malformed(f"{len(found)} frames in place of one")
    return found[0]
