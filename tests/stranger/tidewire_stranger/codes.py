"""Numbers of the protocol: error codes, levels, kinds, flags."""

from enum import IntEnum, IntFlag


class Code(IntEnum):
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


class Ack(IntEnum):
    NONE = 0
    MEMORY = 1
    DISK = 2
    QUORUM = 3
    POLICY = 4


class TopicOp(IntEnum):
    DELETE = 0
    TRUNCATE = 1


class GroupOp(IntEnum):
    CREATE = 0
    DELETE = 1
    RESET = 2
    STATUS = 3


class SettleOp(IntEnum):
    ACK = 0
    NACK = 1
    EXTEND = 2
    REJECT = 3


class Kind(IntEnum):
    COUNTER = 1
    TALLY = 2
    MAP = 3
    PRESENCE = 4
    TOPIC = 5
    ROUNDS = 6


class Flags(IntFlag):
    FULL = 1
    DELETED = 2
    STALE = 4
    PROVISIONAL = 8
    MORE = 16
    BEHIND = 32


class Resumed(IntEnum):
    """SUBSCRIBED.status."""

    FRESH = 0
    COMPLETE = 1
    WITH_GAP = 2
    OTHER_EPOCH = 3


class GapReason(IntEnum):
    RETENTION = 0
    HISTORY_CHANGED = 1
    JUMPED = 2


class Voted(IntEnum):
    """VOTED.status."""

    ACCEPTED = 0
    CHANGED = 1
    DUPLICATE = 2


class IncrOp(IntEnum):
    ADD = 0
    SET = 1
    RESET = 2


class TallyOp(IntEnum):
    CREATE = 0
    OPEN = 1
    CLOSE = 2
    DELETE = 3


class PresenceOp(IntEnum):
    JOIN = 0
    LEAVE = 1
