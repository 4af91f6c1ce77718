"""Names of topics and cells, patterns, and the partition of a key."""

import functools
import re
import unicodedata

from .errors import InvalidArgumentError

NAME_BYTES_MAX = 256

# The characters with the Unicode property White_Space. Neither `str.isspace` nor `\s` is exactly that set.
_WHITE_SPACE = frozenset(
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_PLAIN = re.compile(r"[A-Za-z0-9_$:/-]+(\.[A-Za-z0-9_$:/-]+)*").fullmatch


@functools.lru_cache(maxsize=4096)
def is_name(text: str) -> bool:
    """Whether this is a valid name of a topic or cell."""
    if _PLAIN(text) and len(text) <= NAME_BYTES_MAX:
        return True
    return _is_dotted(text) and "*" not in text and ">" not in text


def is_pattern(text: str) -> bool:
    """Whether this is a valid pattern; every name is one."""
    if not _is_dotted(text):
        return False
    *before, last = text.split(".")
    stars = all("*" not in token or token == "*" for token in [*before, last])
    return stars and not any(">" in token for token in before) and (">" not in last or last == ">")


def _is_dotted(text: str) -> bool:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return False
    if not 1 <= length <= NAME_BYTES_MAX or "" in text.split("."):
        return False
    return not any(each in _WHITE_SPACE or unicodedata.category(each) == "Cc" for each in text)


def checked_name(text: str) -> str:
    """The name itself, or the reason why it is none."""
    if not is_name(text):
        raise InvalidArgumentError(
            "invalid_name",
            f"invalid name {text!r}: use 1 to 256 bytes of dot-separated tokens without white space, '*' and '>'",
        )
    return text


def checked_pattern(text: str) -> str:
    """The pattern itself, or the reason why it is none."""
    if not is_pattern(text):
        raise InvalidArgumentError(
            "invalid_pattern",
            f"invalid pattern {text!r}: a token may be '*', and the last one '>'; otherwise it is a name",
        )
    return text


def has_wildcards(pattern: str) -> bool:
    """Whether a valid pattern may match more than one name."""
    return any(token in ("*", ">") for token in pattern.split("."))


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches a name."""
    wanted, tokens = pattern.split("."), name.split(".")
    if wanted[0] in ("*", ">") and name.startswith("$"):
        return False
    for at, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > at
        if at >= len(tokens) or token not in ("*", tokens[at]):
            return False
    return len(wanted) == len(tokens)


def partition_of(key: str, partitions: int) -> int:
    """The partition that a record with this key goes to."""
    h = 0xCBF29CE484222325
    for byte in key.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return (h ^ (h >> 32)) % partitions
