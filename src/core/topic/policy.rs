//! Policies: what applies to the names that a pattern matches.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::{AckLevel, CellKind};
use tidewire_protocol::{Name, PARTITIONS_MAX, Pattern};

use crate::state_hash::StateHasher;
use crate::{COMMONS, SHARDS, SHARDS_MAX, shard_of};

/// What applies to a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Records kept at least (whole batches leave, so a little more may be there).
    pub retention_records: u64,
    /// Bytes of bodies kept at most (but always the newest batch).
    pub retention_bytes: u64,
    /// How long records are kept; `None`: not limited by age.
    pub retention_ms: Option<u64>,
    /// A topic that nobody has published to or followed by name for so long is removed; `None`: it
    /// stays.
    pub idle_timeout_ms: Option<u64>,
    /// Keys whose newest value is kept as a map; 0: the topic keeps none.
    pub map_keys_max: usize,
    /// The strongest acknowledgement that is offered, so where the names are kept.
    pub ack_max: AckLevel,
    /// The acknowledgement of a publish that leaves it to the policy.
    pub ack_default: AckLevel,
    /// Shards that the records, or the ballots of a tally, are spread over; 1: they are not spread.
    pub partitions: u16,
    /// Whether clients may delete and truncate the topics.
    pub allow_delete: bool,
    /// Whether each node counts by itself in the counters, which come to the same sum.
    #[serde(default)]
    pub is_eventual: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retention_records: 100_000,
            retention_bytes: 16 * 1024 * 1024,
            retention_ms: None,
            idle_timeout_ms: None,
            map_keys_max: 0,
            ack_max: AckLevel::Memory,
            ack_default: AckLevel::Memory,
            partitions: 1,
            allow_delete: false,
            is_eventual: false,
        }
    }
}

impl Policy {
    /// Whether the names are kept on disk.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.ack_max >= AckLevel::Disk
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self {
            retention_records,
            retention_bytes,
            retention_ms,
            idle_timeout_ms,
            map_keys_max,
            ack_max,
            ack_default,
            partitions,
            allow_delete,
            is_eventual,
        } = self;
        hasher.number(*retention_records);
        hasher.number(*retention_bytes);
        hasher.option_number(*retention_ms);
        hasher.option_number(*idle_timeout_ms);
        hasher.size(*map_keys_max);
        hasher.number(*ack_max as u8);
        hasher.number(*ack_default as u8);
        hasher.number(*partitions);
        hasher.flag(*allow_delete);
        hasher.flag(*is_eventual);
    }
}

/// Policies by pattern; the first that matches applies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PolicyTable {
    rules: Vec<(Pattern, Policy)>,
    fallback: Policy,
    /// Whether a policy has partitions; if not, nobody has to look.
    splits: bool,
    /// Whether a policy keeps names on disk; if not, nobody has to look.
    stores: bool,
    /// Names on disk are on those of a majority of their nodes.
    #[serde(default)]
    is_replicated: bool,
    /// Whether a policy has eventual counters; if not, nobody has to look.
    #[serde(default)]
    counts_apart: bool,
}

impl PolicyTable {
    /// These rules in this order, and what applies where none matches.
    #[must_use]
    pub fn new(rules: Vec<(Pattern, Policy)>, fallback: Policy) -> Self {
        let any = |has: fn(&Policy) -> bool| {
            rules.iter().map(|(_, policy)| policy).chain([&fallback]).any(has)
        };
        let splits = any(|policy| policy.partitions > 1);
        let stores = any(Policy::is_durable);
        let counts_apart = any(|policy| policy.is_eventual);
        Self { rules, fallback, splits, stores, counts_apart, is_replicated: false }
    }

    /// The same policies in a cluster: it has all shards, whether or not a policy keeps names on disk, and
    /// those that are kept there are on the disks of a majority.
    #[must_use]
    pub fn replicated(mut self) -> Self {
        let policies = self.rules.iter_mut().map(|(_, policy)| policy);
        for policy in policies.chain([&mut self.fallback]) {
            for level in [&mut policy.ack_max, &mut policy.ack_default] {
                if *level == AckLevel::Disk {
                    *level = AckLevel::Quorum;
                }
            }
        }
        Self { stores: true, is_replicated: true, ..self }
    }

    /// What a record on disk has survived when it is committed.
    #[must_use]
    pub fn durable_level(&self) -> AckLevel {
        if self.is_replicated { AckLevel::Quorum } else { AckLevel::Disk }
    }

    /// The policy for a name, and the pattern that decided (`None`: the fallback).
    #[must_use]
    pub fn explain(&self, name: &Name) -> (Option<&Pattern>, &Policy) {
        self.rules
            .iter()
            .find(|(pattern, _)| pattern.matches(name))
            .map_or((None, &self.fallback), |(pattern, policy)| (Some(pattern), policy))
    }

    /// Partitions of a name: 1 to [`PARTITIONS_MAX`].
    #[must_use]
    pub fn partitions(&self, name: &Name) -> u16 {
        if self.splits { self.explain(name).1.partitions.clamp(1, PARTITIONS_MAX) } else { 1 }
    }

    /// The shard in which a name is at home: where its partition 0 is. Presence ends with its
    /// connections, so it is in memory whatever the policy says.
    #[must_use]
    pub fn home(&self, name: &Name) -> u16 {
        let is_stored = self.stores && self.explain(name).1.is_durable();
        shard_of(name) + if is_stored { SHARDS } else { 0 }
    }

    /// Whether each node counts by itself in the counter of this name.
    #[must_use]
    pub fn is_eventual(&self, counter: &Name) -> bool {
        self.counts_apart && self.explain(counter).1.is_eventual
    }

    /// Where a presence set is at home: in a cluster each node has the members of its own connections.
    #[must_use]
    pub fn home_of_presence(&self, name: &Name) -> u16 {
        if self.is_replicated { COMMONS } else { shard_of(name) }
    }

    /// The shard in which a cell is at home.
    #[must_use]
    pub fn home_of_cell(&self, kind: CellKind, name: &Name) -> u16 {
        match kind {
            CellKind::Presence => self.home_of_presence(name),
            CellKind::Counter if self.is_eventual(name) => COMMONS,
            CellKind::Counter
            | CellKind::Tally
            | CellKind::Map
            | CellKind::Topic
            | CellKind::Rounds => self.home(name),
        }
    }

    /// Shards of a server with these policies.
    #[must_use]
    pub fn shards(&self) -> u16 {
        if self.stores { SHARDS_MAX } else { SHARDS }
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { rules, fallback, splits: _, stores: _, counts_apart: _, is_replicated: _ } =
            self;
        hasher.ordered(rules, |hasher, (pattern, policy)| {
            hasher.text(pattern.as_str());
            policy.hash_into(hasher);
        });
        fallback.hash_into(hasher);
    }
}
