//! What can go wrong, for the program and for its reader.

use tidewire_protocol::{ErrorCode, Refusal};

/// Why a request, or the connection itself, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server (or a check of this client on its behalf) refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client was configured with something that cannot work.
    #[error("{0}")]
    Config(String),
    /// No connection could be made.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The server's URL.
        url: String,
        /// What failed, and what to look at.
        reason: String,
    },
    /// The server's certificate was not accepted.
    #[error("cannot connect to {url}: the server's certificate is not trusted: {reason}")]
    Untrusted {
        /// The server's URL.
        url: String,
        /// Which check failed.
        reason: String,
    },
    /// The connection was cut while the request was unanswered.
    #[error(
        "the connection was lost before the server answered ({reason}): the request may or may \
         not have been applied; repeat it only if applying it twice does no harm"
    )]
    ConnectionLost {
        /// How the connection ended.
        reason: String,
    },
    /// There was no connection for longer than a request waits for one. Nothing was sent.
    #[error("not connected ({reason}): nothing was sent; try again when the server is back")]
    NotConnected {
        /// Why the last connection ended or the last attempt failed.
        reason: String,
    },
    /// The connection failed for good: connecting again would be refused again.
    #[error("the connection has failed for good: {reason}")]
    Failed {
        /// What the server said, or which check failed.
        reason: String,
    },
    /// The client was closed by its application.
    #[error("this client is closed; connect a new one")]
    Closed,
    /// The server answered with something that does not answer the request.
    #[error("the server's answer cannot be read ({0}): client and server do not fit together")]
    BadReply(String),
}

impl Error {
    /// The stable name of what went wrong: the protocol's name for what the server refused, this
    /// client's own for the rest.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code.name(),
            Self::Config(_) => "invalid_configuration",
            Self::Connect { .. } => "cannot_connect",
            Self::Untrusted { .. } => "untrusted_certificate",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::NotConnected { .. } => "not_connected",
            Self::Failed { .. } => "connection_failed",
            Self::Closed => "client_closed",
            Self::BadReply(_) => "bad_reply",
        }
    }

    /// The refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Config(_)
            | Self::Connect { .. }
            | Self::Untrusted { .. }
            | Self::ConnectionLost { .. }
            | Self::NotConnected { .. }
            | Self::Failed { .. }
            | Self::Closed
            | Self::BadReply(_) => None,
        }
    }

    /// How long to wait before the same request is made again, in milliseconds, where the server has said so.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.refusal()?.retry_after_ms
    }

    /// What holds instead of what the request assumed, where the server has said so: the next offset after a
    /// `conflict`, the nearest one after `out_of_range`.
    #[must_use]
    pub fn actual(&self) -> Option<u64> {
        self.refusal()?.actual
    }

    /// Whether the same request can succeed later without being changed. After
    /// [`Error::ConnectionLost`] the first attempt may have been applied already.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code.is_retryable(),
            Self::Connect { .. } | Self::ConnectionLost { .. } | Self::NotConnected { .. } => true,
            Self::Config(_)
            | Self::Untrusted { .. }
            | Self::Failed { .. }
            | Self::Closed
            | Self::BadReply(_) => false,
        }
    }

    /// Whether there is no point in connecting again with the same settings.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::ConnectionLost { .. } | Self::NotConnected { .. } => false,
            Self::Refused(refusal) => !refusal.code.is_retryable(),
            Self::Config(_)
            | Self::Untrusted { .. }
            | Self::Failed { .. }
            | Self::Closed
            | Self::BadReply(_) => true,
        }
    }
}

/// The refusal that an ERROR frame carries. A code that this client does not know is not
/// retried, and its number stays readable.
pub(crate) fn refusal(
    code: u64,
    message: String,
    retry_after_ms: Option<u64>,
    actual: Option<u64>,
) -> Refusal {
    match ErrorCode::from_number(code) {
        Some(code) => Refusal { code, message, retry_after_ms, actual },
        None => Refusal {
            code: ErrorCode::Unsupported,
            message: format!("{message} (error code {code}, which this client does not know)"),
            retry_after_ms,
            actual,
        },
    }
}

/// The refusal that tells a subscription or watch why it has ended.
pub(crate) fn as_refusal(error: &Error) -> Refusal {
    match error {
        Error::Refused(refusal) => refusal.clone(),
        Error::Config(_)
        | Error::Connect { .. }
        | Error::Untrusted { .. }
        | Error::ConnectionLost { .. }
        | Error::NotConnected { .. }
        | Error::Failed { .. }
        | Error::Closed
        | Error::BadReply(_) => Refusal::new(ErrorCode::Unavailable, error.to_string()),
    }
}
