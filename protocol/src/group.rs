//! Consumer groups: what GROUP, CONSUME and SETTLE ask for, and what they are answered with.

use serde::{Deserialize, Serialize};

/// Longest reason of a refused record in bytes.
pub const REASON_BYTES_MAX: usize = 200;
/// Ranges of one SETTLE at most.
pub const RANGES_MAX: usize = 1_024;

/// What GROUP may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupOptions {
    /// Where the group begins: one of the starts of SUBSCRIBE but positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Vec<u64>>,
    /// A delivery that is not settled within this time is made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_timeout_ms: Option<u64>,
    /// Deliveries of a record, after which it is a dead letter; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_max: Option<u64>,
    /// Pause before a refused record is delivered again; it doubles each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
    /// The longest such pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_max_ms: Option<u64>,
    /// The topic of dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Whether records of one key are delivered one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
}

/// What CONSUME may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeOptions {
    /// Records that the consumer has at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
}

/// What SETTLE may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettleOptions {
    /// Pause before a refused record is delivered again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The partition that the offsets are of, if the topic has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u64>,
}

/// What GROUP and SETTLE are answered with, as far as it is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettleReply {
    /// Records that were settled, refused, rejected or extended.
    pub records: u64,
}

/// A group, and how far it has come. Of a topic with partitions the numbers are sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupInfo {
    /// Whether it was made by this request.
    pub created: bool,
    /// Every record before this offset is settled.
    pub position: u64,
    /// Offset of the topic's next record.
    pub next: u64,
    /// Records that are not settled.
    pub lag: u64,
    /// Records that consumers have.
    pub leased: u64,
    /// Records that were delivered, or stand behind one of their key, and are not settled.
    pub outstanding: u64,
    /// Consumers.
    pub consumers: u64,
    /// Records that have left the topic before they were settled.
    pub missed: u64,
    /// Dead letters.
    pub dead: u64,
    /// Deliveries that were not the first of their record.
    pub redelivered: u64,
    /// See [`GroupOptions`].
    pub ack_timeout_ms: u64,
    /// See [`GroupOptions`].
    pub deliveries_max: u64,
    /// See [`GroupOptions`].
    pub backoff_ms: u64,
    /// See [`GroupOptions`].
    pub backoff_max_ms: u64,
    /// See [`GroupOptions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// See [`GroupOptions`].
    pub ordered: bool,
    /// Partitions, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u64>,
}
