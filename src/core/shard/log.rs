//! What a durable shard writes into the journal: every change that outlives the process, as the
//! change itself, not as the command that made it. So limits and policies may be others when it is
//! read again, and nothing has to be decided twice.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;

use super::Shard;
use crate::cell::{CounterChange, TallyHead, VoterId};
use crate::group::GroupRules;
use crate::is_durable;
use crate::topic::{Batch, LoggedBatch, Place, Step};

/// One change. Within a shard the order is that of the changes.
///
/// The names of the variants and the order of their fields are part of what is stored: fields are
/// only ever added at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum LogEntry {
    /// Records were appended to a topic.
    Batch(LoggedBatch),
    /// A topic was removed with everything in it; those that are made later have this epoch.
    TopicRemoved { topic: Name, epoch: u64 },
    /// A key of a topic's map was set, or went.
    MapKey {
        topic: Name,
        key: Arc<str>,
        version: u64,
        expires_at_ms: Option<u64>,
        value: Option<Bytes>,
    },
    /// A topic's map was not kept for a while, because its policy said so: what it held is old.
    MapLost { topic: Name },
    /// A counter has this value from now on.
    Counter { name: Name, change: CounterChange },
    /// A counter was reset, or its time was over.
    CounterRemoved { name: Name },
    /// A tally was made, or its state has changed; its ballots stay.
    Tally { name: Name, head: Box<TallyHead> },
    /// A tally was deleted with its ballots.
    TallyRemoved { name: Name },
    /// A voter's ballot replaces an earlier one: options by rank, as marks.
    Ballot { tally: Name, voter: VoterId, marks: Box<[u16]>, revision: u32, version: u64 },
    /// A producer's publish was appended: so many records from this place on.
    Produced { topic: Name, step: Step, place: Place, count: u64 },
    /// The ballots of these voters were taken out.
    Invalidated { tally: Name, voters: Vec<VoterId>, version: u64 },
    /// The records before this offset were removed.
    Truncated { topic: Name, first: u64 },
    /// A consumer group was made.
    GroupMade { topic: Name, epoch: u64, group: Name, rules: Arc<GroupRules>, next: u64 },
    /// A consumer group was deleted.
    GroupRemoved { topic: Name, group: Name },
    /// A consumer group has begun anew at this offset.
    GroupReset { topic: Name, group: Name, next: u64 },
    /// Records `[from, next)` were settled.
    GroupSettled { topic: Name, group: Name, ranges: Vec<(u64, u64)> },
    /// Deliveries have failed: offset, and how often the record was delivered.
    GroupFailed { topic: Name, group: Name, failed: Vec<(u64, u32)> },
}

impl LogEntry {
    /// Bytes that it takes in the journal, about: enough to bound what is collected.
    #[must_use]
    pub fn weight(&self) -> usize {
        const HEAD_BYTES: usize = 64;
        HEAD_BYTES
            + match self {
                Self::Batch(LoggedBatch(batch)) => batch.body.len(),
                Self::MapKey { key, value, .. } => key.len() + value.as_ref().map_or(0, Bytes::len),
                Self::Ballot { marks, .. } => marks.len() * 3,
                Self::Tally { head, .. } => head.weight(),
                Self::TopicRemoved { .. }
                | Self::MapLost { .. }
                | Self::Counter { .. }
                | Self::CounterRemoved { .. }
                | Self::TallyRemoved { .. }
                | Self::Produced { .. }
                | Self::Truncated { .. }
                | Self::GroupMade { .. }
                | Self::GroupRemoved { .. }
                | Self::GroupReset { .. } => 0,
                Self::Invalidated { voters, .. } => voters.len() * size_of::<VoterId>(),
                Self::GroupSettled { ranges, .. } => ranges.len() * 18,
                Self::GroupFailed { failed, .. } => failed.len() * 14,
            }
    }
}

impl Shard {
    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &super::ShardConfig {
        &self.config
    }

    /// The shard's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.config.shard
    }

    /// Whether what the shard holds is kept on disk.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        is_durable(self.config.shard)
    }

    /// What everything that the shard tells has survived.
    pub(super) fn level(&self) -> AckLevel {
        match self.is_durable() {
            true => self.config.policies.durable_level(),
            false => AckLevel::Memory,
        }
    }

    /// Puts a change into the round. A shard in memory does not even build it.
    pub(super) fn log(&mut self, entry: impl FnOnce() -> LogEntry) {
        if self.is_durable() {
            self.round.log.push(entry());
        }
    }

    pub(super) fn log_batch(&mut self, batch: &Arc<Batch>) {
        self.log(|| LogEntry::Batch(LoggedBatch(Arc::clone(batch))));
    }

    /// Logs changes of a topic's map: keys that were set or went, each with its version.
    pub(super) fn log_map_keys(
        &mut self,
        topic: &Name,
        expires_at_ms: Option<u64>,
        changes: Vec<(Arc<str>, u64, Option<Bytes>)>,
    ) {
        let entry = |(key, version, value): (Arc<str>, u64, Option<Bytes>)| {
            let expires_at_ms = expires_at_ms.filter(|_| value.is_some());
            LogEntry::MapKey { topic: topic.clone(), key, version, expires_at_ms, value }
        };
        self.round.log.extend(changes.into_iter().map(entry));
    }

    /// Logs how a counter stands after an operation with this idempotence id.
    pub(super) fn log_counter(&mut self, name: &Name, id: Option<&str>) {
        if !self.is_durable() {
            return;
        }
        let entry = match self.cells.counters.get(name) {
            Some(counter) => LogEntry::Counter { name: name.clone(), change: counter.change(id) },
            None => LogEntry::CounterRemoved { name: name.clone() },
        };
        self.round.log.push(entry);
    }

    /// Logs how a tally stands, but for its ballots.
    pub(super) fn log_tally(&mut self, name: &Name) {
        if !self.is_durable() {
            return;
        }
        let entry = match self.cells.tallies.get(name) {
            Some(tally) => LogEntry::Tally { name: name.clone(), head: Box::new(tally.head()) },
            None => LogEntry::TallyRemoved { name: name.clone() },
        };
        self.round.log.push(entry);
    }

    /// Logs a voter's ballot as it is stored.
    pub(super) fn log_ballot(&mut self, name: &Name, voter: VoterId, version: u64) {
        if !self.is_durable() {
            return;
        }
        let ballot = self.cells.tallies.get(name).and_then(|tally| tally.ballot(&voter));
        let Some((marks, revision)) = ballot else { return };
        let (tally, marks) = (name.clone(), marks.into());
        self.round.log.push(LogEntry::Ballot { tally, voter, marks, revision, version });
    }
}
