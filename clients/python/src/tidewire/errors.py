"""What can go wrong: for programs by `code`, for people by the message."""

from .codes import ErrorCode, code_of


class TidewireError(Exception):
    """Base of every error of this package.

    `code` is a stable name, `retryable` says whether the same call can succeed later without being
    changed, and `retry_after_ms` when, if the server has said so.
    """

    code: str = "error"
    retryable: bool = False
    retry_after_ms: int | None = None


class RefusedError(TidewireError):
    """The server refused a request; nothing was changed by it unless the code says otherwise."""

    def __init__(
        self,
        number: int,
        message: str,
        retry_after_ms: int | None = None,
        actual: int | None = None,
    ) -> None:
        known = code_of(number)
        self.number = number
        self.code = known.text if known is not None else f"error_{number}"
        self.retryable = known is not None and known.retryable
        self.retry_after_ms = retry_after_ms
        self.message = message
        #: What holds instead, where the code has such a number: an offset, a sequence.
        self.actual = actual
        super().__init__(f"{message} ({self.code})")


class UnauthenticatedError(RefusedError):
    """The token is missing, is none, or has expired."""


class ForbiddenError(RefusedError):
    """A rule of the server does not allow it."""


class NotFoundError(RefusedError):
    """There is no such topic, tally or group."""


class AlreadyExistsError(RefusedError):
    """The tally or group exists with other rules."""


class ConflictError(RefusedError):
    """`expected_offset` does not hold; `actual` is the offset to expect after reading on."""


class AlreadyVotedError(RefusedError):
    """The tally is final and this voter has a ballot in it."""


class RateLimitedError(RefusedError):
    """Too much in too short a time; `retry_after_ms` may say when to go on."""


class OutcomeUnknownError(RefusedError):
    """Nobody can say whether an earlier attempt was carried out."""


class ConfigError(TidewireError, ValueError):
    """The client was configured with something that cannot work."""

    code = "invalid_configuration"


class InvalidArgumentError(TidewireError, ValueError):
    """An argument breaks a rule of the protocol; nothing was sent."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class ConnectError(TidewireError):
    """No connection could be made."""

    code = "cannot_connect"
    retryable = True

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"cannot connect to {url}: {reason}")


class UntrustedError(TidewireError):
    """The server's certificate was not accepted."""

    code = "untrusted_certificate"

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"cannot connect to {url}: the server's certificate is not trusted: {reason}")


class ConnectionLostError(TidewireError):
    """The connection was cut before the server answered: the request may have been applied."""

    code = "connection_lost"
    retryable = True

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the connection was lost before the server answered ({reason}): the request may or may not "
            "have been applied; repeat it only if applying it twice does no harm"
        )


class OfflineQueueFullError(TidewireError):
    """There is no connection, and as much waits for one as may wait. Nothing was sent."""

    code = "offline_queue_full"
    retryable = True

    def __init__(self, bound: int, reason: str) -> None:
        super().__init__(
            f"not connected ({reason}), and {bound} requests wait already: nothing was sent; try again when "
            "the server is back, or give connect() a larger offline_queue"
        )


class ClientFailedError(TidewireError):
    """The connection failed for good: connecting again would be refused again."""

    def __init__(self, cause: TidewireError) -> None:
        self.code = cause.code
        self.reason = str(cause)
        super().__init__(f"the connection has failed for good: {cause}")


class ClientClosedError(TidewireError):
    """The application has closed this client."""

    code = "client_closed"

    def __init__(self) -> None:
        super().__init__("this client is closed; connect a new one")


class ProtocolError(TidewireError):
    """The server sent something that is no answer: client and server do not fit together."""

    code = "bad_reply"


_CLASSES: dict[int, type[RefusedError]] = {
    ErrorCode.UNAUTHENTICATED: UnauthenticatedError,
    ErrorCode.FORBIDDEN: ForbiddenError,
    ErrorCode.NOT_FOUND: NotFoundError,
    ErrorCode.ALREADY_EXISTS: AlreadyExistsError,
    ErrorCode.CONFLICT: ConflictError,
    ErrorCode.ALREADY_VOTED: AlreadyVotedError,
    ErrorCode.RATE_LIMITED: RateLimitedError,
    ErrorCode.OUTCOME_UNKNOWN: OutcomeUnknownError,
}


def refused(
    number: int, message: str, retry_after_ms: int | None = None, actual: int | None = None
) -> RefusedError:
    """The error of the class that belongs to this code."""
    return _CLASSES.get(number, RefusedError)(number, message, retry_after_ms, actual)


def is_final(error: TidewireError) -> bool:
    """Whether connecting again with the same settings makes no sense."""
    if isinstance(error, RefusedError):
        return not error.retryable and code_of(error.number) is not None
    return isinstance(error, ConfigError | UntrustedError)
