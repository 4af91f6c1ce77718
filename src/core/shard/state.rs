//! A shard's whole state: its hash, and how far it has come.

use super::cells::Cells;
use super::message::Round;
use super::{Shard, ShardConfig, ShardLimits, Timer};
use crate::state_hash::{StateHash, StateHasher};
use crate::topic::ProducerLimits;

/// How far a shard has come: figures that are there at no cost. Two shards that have done the
/// same have the same ones; the other way round it is likely only, which is what the
/// [state hash](Shard::state_hash) is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of the next round.
    pub round: u64,
    /// The newest version of a cell.
    pub version: u64,
    /// Sequence of the next batch.
    pub sequence: u64,
    /// Topics and cells.
    pub names: u64,
    /// Bytes of records kept.
    pub topic_bytes: u64,
}

impl Progress {
    /// The figures in the order of the fields, to be stored.
    #[must_use]
    pub fn to_array(self) -> [u64; 5] {
        let Self { round, version, sequence, names, topic_bytes } = self;
        [round, version, sequence, names, topic_bytes]
    }

    /// What [`Self::to_array`] gave.
    #[must_use]
    pub fn from_array([round, version, sequence, names, topic_bytes]: [u64; 5]) -> Self {
        Self { round, version, sequence, names, topic_bytes }
    }
}

impl Shard {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            round: self.round.number,
            version: self.cells.version,
            sequence: self.topics.log.next(),
            names: (self.topics.len() + self.cells.len()) as u64,
            topic_bytes: self.topics.bytes(),
        }
    }

    /// The hash of everything that decides what this shard will do. Costs a walk over the whole
    /// state, the bytes of records included.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        let mut hasher = StateHasher::new();
        self.hash_into(&mut hasher);
        hasher.finish()
    }

    /// The hash of what a durable shard keeps on disk: equal before a crash and after the recovery.
    /// It leaves out who follows what, and the numbers that topics have within the shard.
    #[must_use]
    pub fn durable_hash(&self) -> StateHash {
        let mut hasher = StateHasher::new();
        self.topics.hash_durable(&mut hasher);
        hasher.unordered(&self.cells.counters, |hasher, (name, counter)| {
            hasher.text(name.as_str());
            counter.hash_into(hasher);
        });
        hasher.unordered(&self.cells.tallies, |hasher, (name, tally)| {
            hasher.text(name.as_str());
            tally.hash_into(hasher);
        });
        self.producers.hash_durable(&mut hasher);
        hasher.finish()
    }

    fn hash_into(&self, hasher: &mut StateHasher) {
        // Maps are lost only before a shard that was made again has begun.
        let Self {
            config,
            now_ms,
            topics,
            cells,
            producers,
            consuming,
            timers,
            log_followers,
            round,
            lost_maps: _,
        } = self;
        config.hash_into(hasher);
        hasher.number(*now_ms);
        topics.hash_into(hasher);
        cells.hash_into(hasher);
        producers.hash_into(hasher);
        hasher.ordered(consuming, |hasher, (session, groups)| {
            session.hash_into(hasher);
            hasher.ordered(groups, |hasher, (topic, group, sub)| {
                hasher.text(topic.as_str());
                hasher.text(group.as_str());
                hasher.number(*sub);
            });
        });
        hasher.ordered(timers, |hasher, (at_ms, timer)| {
            hasher.number(*at_ms);
            timer.hash_into(hasher);
        });
        log_followers.hash_into(hasher);
        // What an open round will tell follows from the state and does not change it.
        let Round { number, events, early: _, recalls: _, batches, log: _, version: _ } = round;
        hasher.number(*number);
        hasher.size(events.len());
        hasher.size(batches.len());
    }
}

impl ShardConfig {
    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { shard, epoch, seed, policies, limits } = self;
        hasher.number(*shard);
        hasher.number(*epoch);
        hasher.number(*seed);
        policies.hash_into(hasher);
        limits.hash_into(hasher);
    }
}

impl ShardLimits {
    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self {
            names_max,
            batches_max,
            bytes_max,
            batch_bytes_max,
            voters_max,
            members_max,
            producers: ProducerLimits { window, entries_max, idle_ms },
            tenants,
        } = self;
        for number in [window, idle_ms] {
            hasher.number(*number);
        }
        hasher.size(*entries_max);
        hasher.number(*bytes_max);
        for size in [names_max, batches_max, batch_bytes_max, voters_max, members_max] {
            hasher.size(*size);
        }
        // Without tenants the hash is what it was before there were any.
        if !tenants.is_empty() {
            tenants.hash_into(hasher);
        }
    }
}

impl Timer {
    fn hash_into(&self, hasher: &mut StateHasher) {
        match self {
            Self::Topic(topic) => {
                hasher.number(1_u8);
                hasher.number(*topic);
            }
            Self::Counter(name) => {
                hasher.number(3_u8);
                hasher.text(name.as_str());
            }
            Self::Tally(name) => {
                hasher.number(4_u8);
                hasher.text(name.as_str());
            }
        }
    }
}

impl Cells {
    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { counters, tallies, presence, followers, changed, sessions, version } = self;
        hasher.unordered(counters, |hasher, (name, counter)| {
            hasher.text(name.as_str());
            counter.hash_into(hasher);
        });
        hasher.unordered(tallies, |hasher, (name, tally)| {
            hasher.text(name.as_str());
            tally.hash_into(hasher);
        });
        hasher.unordered(presence, |hasher, (name, set)| {
            hasher.text(name.as_str());
            set.hash_into(hasher);
        });
        hasher.unordered(followers, |hasher, ((kind, name), followers)| {
            hasher.number(*kind as u8);
            hasher.text(name.as_str());
            followers.hash_into(hasher);
        });
        hasher.ordered(changed, |hasher, (kind, name)| {
            hasher.number(*kind as u8);
            hasher.text(name.as_str());
        });
        hasher.ordered(sessions, |hasher, (session, joined)| {
            session.hash_into(hasher);
            hasher.ordered(joined, |hasher, (name, member)| {
                hasher.text(name.as_str());
                hasher.text(member);
            });
        });
        hasher.number(*version);
    }
}

#[cfg(test)]
mod tests;
