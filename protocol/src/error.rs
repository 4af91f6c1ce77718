//! Error codes, and the refusal that carries one to the client.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $retry:literal;)+) => {
        /// What went wrong, for programs. Numbers are part of the protocol and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[$doc])* $variant = $number,)+ }

        impl ErrorCode {
            /// Every code, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code with this number, if the protocol knows one.
            #[must_use]
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The stable name, as it stands in logs, metrics and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whether the same request can succeed later without being changed.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)+ }
            }
        }
    };
}

error_codes! {
    /// Not a frame: broken `MessagePack`, wrong types or missing fields.
    Malformed = 1, "malformed", false;
    /// Over the agreed maximum frame size.
    FrameTooLarge = 2, "frame_too_large", false;
    /// A frame type this side does not accept.
    UnknownFrame = 3, "unknown_frame", false;
    /// No common protocol version.
    VersionUnsupported = 4, "version_unsupported", false;
    /// The first frame must be HELLO, and only the first.
    HelloRequired = 5, "hello_required", false;
    /// The name of a topic or cell breaks the rules for names.
    InvalidName = 6, "invalid_name", false;
    /// A pattern breaks the rules for patterns.
    InvalidPattern = 7, "invalid_pattern", false;
    /// The value of a field is out of its rules.
    InvalidArgument = 8, "invalid_argument", false;
    /// The named thing does not exist.
    NotFound = 9, "not_found", false;
    /// The named thing exists with other properties.
    AlreadyExists = 10, "already_exists", false;
    /// An expectation of the request does not hold.
    Conflict = 11, "conflict", false;
    /// No valid credentials.
    Unauthenticated = 12, "unauthenticated", false;
    /// Not allowed.
    Forbidden = 13, "forbidden", false;
    /// A stated limit is reached.
    LimitExceeded = 14, "limit_exceeded", false;
    /// Faster than the agreed rate.
    RateLimited = 15, "rate_limited", true;
    /// A queue of the server is full.
    Overloaded = 16, "overloaded", true;
    /// Not ready, or draining.
    Unavailable = 17, "unavailable", true;
    /// A record breaks the size rules.
    RecordTooLarge = 18, "record_too_large", false;
    /// The topic does not offer the asked acknowledgement level.
    AckUnsupported = 19, "ack_unsupported", false;
    /// Not for this kind of cell, or not in this version.
    Unsupported = 20, "unsupported", false;
    /// The tally does not take ballots any more.
    TallyClosed = 21, "tally_closed", false;
    /// The tally opens later.
    TallyNotOpen = 22, "tally_not_open", true;
    /// The tally does not declare this option.
    UnknownOption = 23, "unknown_option", false;
    /// The tally is final and this voter has voted.
    AlreadyVoted = 24, "already_voted", false;
    /// A newer ballot of this voter is stored.
    StaleRevision = 25, "stale_revision", false;
    /// Beyond the bounds of a counter or the end of a topic.
    OutOfRange = 26, "out_of_range", false;
    /// The subscription id is in use on this connection.
    SubscriptionExists = 27, "subscription_exists", false;
    /// The subscription id is not in use on this connection.
    SubscriptionUnknown = 28, "subscription_unknown", false;
    /// The producer id is not (or no longer) known.
    ProducerUnknown = 29, "producer_unknown", false;
    /// The sequence has left the window of remembered ones.
    SequenceTooOld = 30, "sequence_too_old", false;
    /// The disk's reserve is reached.
    StorageFull = 31, "storage_full", true;
    /// The journal is poisoned.
    StorageFailed = 32, "storage_failed", false;
    /// The reader did not keep up and asked to be ended then.
    TooSlow = 33, "too_slow", false;
    /// Nothing was received for too long.
    IdleTimeout = 34, "idle_timeout", true;
    /// The server is about to stop.
    ShuttingDown = 35, "shutting_down", true;
    /// A fault of the server.
    Internal = 36, "internal", true;
    /// The first attempt may or may not have been applied.
    OutcomeUnknown = 37, "outcome_unknown", false;
    /// Another node is to serve the connection.
    Moved = 38, "moved", true;
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As its number.
impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.number().serialize(serializer)
    }
}

/// A code that only a newer release knows is `internal` here.
impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Ok(Self::from_number(number).unwrap_or(Self::Internal))
    }
}

/// A refused request: a code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message} ({code})")]
pub struct Refusal {
    /// What went wrong.
    pub code: ErrorCode,
    /// What was refused, which name, which rule, what to do next.
    pub message: String,
    /// When a retry may succeed, if that is known.
    pub retry_after_ms: Option<u64>,
    /// What holds instead of what the request expected: an offset, a sequence.
    pub actual: Option<u64>,
}

impl Refusal {
    /// A refusal with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, actual: None }
    }

    /// Adds the time after which a retry may succeed.
    #[must_use]
    pub fn retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    /// Adds what holds instead of what was expected.
    #[must_use]
    pub fn actual(mut self, actual: u64) -> Self {
        self.actual = Some(actual);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(u64::from(code.number())), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
