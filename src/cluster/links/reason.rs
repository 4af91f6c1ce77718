//! Why a link does not come about, or ends: a code for the other side, a name for metrics.

use quinn::{ConnectionError, VarInt};

/// Why a connection between nodes is refused or closed. The numbers are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Another major version of the protocol.
    Version = 1,
    /// The other has this node's id, and is another one.
    OwnId = 2,
    /// Another node with the same id is there.
    TwoNodes = 3,
    /// There is another connection between the two.
    Duplicate = 4,
    /// The other has started again since.
    Replaced = 5,
    /// This node leaves.
    Leaving = 6,
    /// A HELLO that is none.
    Malformed = 7,
    /// A certificate of a node other than the HELLO's, or of another cluster.
    Certificate = 8,
    /// An earlier life of a node that has started again since.
    Stale = 9,
    /// Too many handshakes at once.
    Busy = 10,
    /// A node that has dialed itself.
    Itself = 11,
    /// Never sent: TLS has refused it.
    Tls = 12,
    /// Never sent: it took too long.
    Timeout = 13,
}

impl Reason {
    pub(crate) const ALL: [Self; 13] = [
        Self::Version,
        Self::OwnId,
        Self::TwoNodes,
        Self::Duplicate,
        Self::Replaced,
        Self::Leaving,
        Self::Malformed,
        Self::Certificate,
        Self::Stale,
        Self::Busy,
        Self::Itself,
        Self::Tls,
        Self::Timeout,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::OwnId => "own_id",
            Self::TwoNodes => "two_nodes",
            Self::Duplicate => "duplicate",
            Self::Replaced => "replaced",
            Self::Leaving => "leaving",
            Self::Malformed => "malformed",
            Self::Certificate => "certificate",
            Self::Stale => "stale",
            Self::Busy => "busy",
            Self::Itself => "itself",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
        }
    }

    pub(super) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    fn from_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether it happens while all is as it should be.
    pub(super) fn is_ordinary(self) -> bool {
        match self {
            Self::Duplicate | Self::Replaced | Self::Leaving | Self::Itself => true,
            Self::Version
            | Self::OwnId
            | Self::TwoNodes
            | Self::Malformed
            | Self::Certificate
            | Self::Stale
            | Self::Busy
            | Self::Tls
            | Self::Timeout => false,
        }
    }
}

/// Why the other side, or the network, has ended a connection, in a sentence.
pub(super) fn told(error: &ConnectionError) -> (Option<Reason>, String) {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let sentence = String::from_utf8_lossy(&close.reason).into_owned();
            (Reason::from_code(close.error_code), sentence)
        }
        ConnectionError::TransportError(error) if is_of_tls(error.code) => {
            let sentence = format!(
                "its certificate is not taken: {}; are the certificates of both of one cluster?",
                error.reason
            );
            (Some(Reason::Tls), sentence)
        }
        ConnectionError::ConnectionClosed(close) if is_of_tls(close.error_code) => {
            let sentence = format!(
                "it does not take this node's certificate ({}); are the certificates of both of one \
                 cluster?",
                close.error_code
            );
            (Some(Reason::Tls), sentence)
        }
        ConnectionError::TimedOut => (Some(Reason::Timeout), "it does not answer".to_owned()),
        ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => (None, error.to_string()),
    }
}

/// Alerts of TLS are codes from 0x100 on (RFC 9001, section 4.8).
fn is_of_tls(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_means_one_reason() {
        for (number, reason) in (1..).zip(Reason::ALL) {
            assert_eq!(reason.code(), VarInt::from_u32(number));
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(Reason::from_code(VarInt::from_u32(99)), None);
    }
}
