"""The protocol's error codes."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """Why a server refused something; the numbers never change their meaning."""

    MALFORMED = 1
    FRAME_TOO_LARGE = 2
    UNKNOWN_FRAME = 3
    VERSION_UNSUPPORTED = 4
    HELLO_REQUIRED = 5
    INVALID_NAME = 6
    INVALID_PATTERN = 7
    INVALID_ARGUMENT = 8
    NOT_FOUND = 9
    ALREADY_EXISTS = 10
    CONFLICT = 11
    UNAUTHENTICATED = 12
    FORBIDDEN = 13
    LIMIT_EXCEEDED = 14
    RATE_LIMITED = 15
    OVERLOADED = 16
    UNAVAILABLE = 17
    RECORD_TOO_LARGE = 18
    ACK_UNSUPPORTED = 19
    UNSUPPORTED = 20
    TALLY_CLOSED = 21
    TALLY_NOT_OPEN = 22
    UNKNOWN_OPTION = 23
    ALREADY_VOTED = 24
    STALE_REVISION = 25
    OUT_OF_RANGE = 26
    SUBSCRIPTION_EXISTS = 27
    SUBSCRIPTION_UNKNOWN = 28
    PRODUCER_UNKNOWN = 29
    SEQUENCE_TOO_OLD = 30
    STORAGE_FULL = 31
    STORAGE_FAILED = 32
    TOO_SLOW = 33
    IDLE_TIMEOUT = 34
    SHUTTING_DOWN = 35
    INTERNAL = 36
    OUTCOME_UNKNOWN = 37
    MOVED = 38

    @property
    def text(self) -> str:
        """The code's stable name, as errors carry it."""
        return self.name.lower()

    @property
    def retryable(self) -> bool:
        """Whether the same request can succeed later."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.OVERLOADED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.TALLY_NOT_OPEN,
        ErrorCode.STORAGE_FULL,
        ErrorCode.IDLE_TIMEOUT,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.INTERNAL,
        ErrorCode.MOVED,
    }
)


def code_of(number: int) -> ErrorCode | None:
    """The code with this number; None for one that this client does not know."""
    try:
        return ErrorCode(number)
    except ValueError:
        return None
