//! What a process that holds connections says of them, a line of JSON each time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Different reasons that are kept apart; the others are counted together.
const REASONS_MAX: usize = 8;

/// How many connections have met with what, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// Open, and subscribed.
    pub(super) opened: u32,
    /// Milliseconds from the first attempt to the newest one that was open.
    pub(super) connect_ms: u64,
    pub(super) failed: Reasons,
    /// Open once, and not any more.
    pub(super) lost: Reasons,
    /// Records that came in.
    pub(super) received: u64,
    /// Nanoseconds since the Unix epoch when the newest record came in.
    pub(super) received_at_ns: u64,
    pub(super) pings: u64,
}

/// Why something happened, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Reasons(BTreeMap<String, u32>);

impl Reasons {
    pub(super) fn add(&mut self, reason: &str) {
        self.add_many(reason, 1);
    }

    fn add_many(&mut self, reason: &str, count: u32) {
        let is_full = self.0.len() >= REASONS_MAX && !self.0.contains_key(reason);
        let reason = if is_full { "other reasons" } else { reason };
        *self.0.entry(reason.to_owned()).or_default() += count;
    }

    pub(super) fn count(&self) -> u32 {
        self.0.values().sum()
    }

    /// For people: each reason with how often it was.
    pub(super) fn told(&self) -> String {
        let reasons = self.0.iter().map(|(reason, count)| format!("{reason} ({count} times)"));
        reasons.collect::<Vec<_>>().join("; ")
    }
}

impl Status {
    /// Connections of which it is known whether they are open.
    pub(super) fn settled(&self) -> u32 {
        self.opened + self.failed.count()
    }

    /// The status of several processes together.
    pub(super) fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.connect_ms = self.connect_ms.max(other.connect_ms);
        for (reason, count) in &other.failed.0 {
            self.failed.add_many(reason, *count);
        }
        for (reason, count) in &other.lost.0 {
            self.lost.add_many(reason, *count);
        }
        self.received += other.received;
        self.received_at_ns = self.received_at_ns.max(other.received_at_ns);
        self.pings += other.pings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_bounded() {
        let mut reasons = Reasons::default();
        for number in 0..20 {
            reasons.add(&format!("reason {number}"));
        }
        reasons.add("reason 0");
        assert_eq!(reasons.count(), 21);
        assert!(reasons.told().contains("reason 0 (2 times)"), "{}", reasons.told());
        assert!(reasons.told().contains("other reasons (12 times)"), "{}", reasons.told());
    }

    #[test]
    fn processes_are_summed_and_the_latest_counts() {
        let mut one = Status { opened: 3, connect_ms: 50, received_at_ns: 9, ..Status::default() };
        let mut other =
            Status { opened: 4, connect_ms: 40, received_at_ns: 11, ..Status::default() };
        other.failed.add("full");
        one.merge(&other);
        assert_eq!((one.opened, one.settled(), one.connect_ms), (7, 8, 50));
        assert_eq!(one.received_at_ns, 11);
    }
}
