//! What the clients have sent, and what was acknowledged to them.

use std::collections::BTreeMap;
use std::fmt;

/// The clients' own records.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Acknowledged records by topic: offset and payload.
    pub(crate) records: BTreeMap<String, BTreeMap<u64, String>>,
    /// Epochs of the topics.
    pub(crate) epochs: BTreeMap<String, u64>,
    /// Records sent by topic, acknowledged or not.
    pub(crate) sent: BTreeMap<String, u64>,
    /// Voters whose ballot was acknowledged, with the option.
    pub(crate) ballots: BTreeMap<String, u64>,
    /// Ballots sent.
    pub(crate) ballots_sent: u64,
    /// Ids of increments that were acknowledged.
    pub(crate) increments: Vec<String>,
    /// Increments sent.
    pub(crate) increments_sent: u64,
    /// Keys of the map whose value was acknowledged.
    pub(crate) keys: BTreeMap<String, String>,
}

impl Ledger {
    /// Takes over what one client has noted.
    pub(crate) fn add(&mut self, other: Self) {
        for (topic, records) in other.records {
            let known = self.records.entry(topic.clone()).or_default();
            for (offset, payload) in records {
                let earlier = known.insert(offset, payload);
                assert!(earlier.is_none(), "topic {topic}: offset {offset} was given twice");
            }
        }
        for (topic, sent) in other.sent {
            *self.sent.entry(topic).or_default() += sent;
        }
        for (topic, epoch) in other.epochs {
            let known = *self.epochs.entry(topic.clone()).or_insert(epoch);
            assert_eq!(known, epoch, "topic {topic} has changed its epoch");
        }
        self.ballots.extend(other.ballots);
        self.ballots_sent += other.ballots_sent;
        self.increments.extend(other.increments);
        self.increments_sent += other.increments_sent;
        self.keys.extend(other.keys);
    }

    fn acknowledged(&self) -> usize {
        self.records.values().map(BTreeMap::len).sum()
    }

    /// Whether a run of so many crashes has shown anything.
    pub(crate) fn is_worth_something(&self, crashes: u64) -> bool {
        let crashes = usize::try_from(crashes).unwrap();
        self.acknowledged() >= crashes * 10
            && self.ballots.len() >= crashes * 10
            && self.increments.len() >= crashes * 10
            && !self.keys.is_empty()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records, {} ballots, {} increments, {} keys acknowledged",
            self.acknowledged(),
            self.ballots.len(),
            self.increments.len(),
            self.keys.len()
        )
    }
}
