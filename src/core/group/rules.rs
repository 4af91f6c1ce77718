//! The rules of a group.

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

/// Doublings of the pause before a record is delivered again, at most.
const DOUBLINGS_MAX: u32 = 32;

/// How a group treats its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRules {
    /// A delivery that is not settled within this time is delivered again.
    pub ack_timeout_ms: u64,
    /// Deliveries of one record, after which it is a dead letter; 0: no limit.
    pub deliveries_max: u32,
    /// Pause before a refused record is delivered again; it doubles with each delivery ...
    pub backoff_ms: u64,
    /// ... up to this.
    pub backoff_max_ms: u64,
    /// Where dead letters go.
    pub dead_letter: Option<Name>,
    /// Whether a record waits until the one of its key before it is settled.
    pub ordered: bool,
}

impl GroupRules {
    /// The pause after so many deliveries of a record.
    pub(super) fn pause_ms(&self, deliveries: u32) -> u64 {
        let doublings = deliveries.saturating_sub(1).min(DOUBLINGS_MAX);
        self.backoff_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms)
    }
}
