"""The types that fields of frames have, each with its check."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

Check = Callable[[Any], bool]

U64_END = 2**64
I64_END = 2**63


class Fields(dict[str, Any]):
    """A decoded map. `repeated` are keys that occurred twice, `bad_key` says that one was no string."""

    __slots__ = ("bad_key", "repeated")

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        super().__init__(pairs)
        self.bad_key = any(type(key) is not str for key, _ in pairs)
        self.repeated: frozenset[str] = frozenset()
        if len(self) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.repeated = frozenset(key for key, count in counts.items() if count > 1)


def _is_u(value: Any) -> bool:
    return type(value) is int and 0 <= value < U64_END


def _is_i(value: Any) -> bool:
    return type(value) is int and -I64_END <= value < I64_END


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_binary(value: Any) -> bool:
    return type(value) is bytes


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_list(value: Any) -> bool:
    return type(value) is list


def _is_anything(value: Any) -> bool:
    return True


def _is_map(value: Any) -> bool:
    return type(value) is Fields and not value.bad_key or type(value) is dict


def list_of(check: Check) -> Check:
    """A list whose elements all pass."""
    return lambda value: type(value) is list and all(map(check, value))


def row_of(check: Check, length: int) -> Check:
    """A list of exactly so many elements that all pass."""
    return lambda value: type(value) is list and len(value) == length and all(map(check, value))


U = Annotated[int, _is_u]
I = Annotated[int, _is_i]
Text = Annotated[str, _is_text]
Binary = Annotated[bytes, _is_binary]
Bool = Annotated[bool, _is_bool]
Map = Annotated[dict[str, Any], _is_map]
Array = Annotated[list[Any], _is_list]
Anything = Annotated[Any, _is_anything]
Texts = Annotated[list[str], list_of(_is_text)]
Numbers = Annotated[list[int], list_of(_is_u)]
Pair = Annotated[list[int], row_of(_is_u, 2)]
Pairs = Annotated[list[list[int]], list_of(row_of(_is_u, 2))]
Triple = Annotated[list[int], row_of(_is_u, 3)]
Triples = Annotated[list[list[int]], list_of(row_of(_is_u, 3))]


def depth_exceeds(value: Any, levels: int) -> bool:
    """Whether arrays and maps that hold something are nested deeper than this."""
    if not isinstance(value, list | dict) or not value:
        return False
    if levels == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(depth_exceeds(each, levels - 1) for each in inner)
