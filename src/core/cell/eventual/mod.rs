//! Eventual counters: every node adds by itself, and all come to the same sum.
//!
//! What one node has counted is its own [history](super::replicated); the value of a counter is the
//! sum over all actors. Nobody is asked before an increment is answered, so it is known to the
//! node alone that has answered it until another one has heard of it: if that node loses its memory
//! before, the increment is lost. Only `add` can be done so. What needs to see all others' increments first
//! (`set`, `reset`, bounds, a time to live) needs a `strong` counter.
//!
//! * [`EventualCounters::add`]: an increment; a repeated one gets the first one's answer, or is refused
//!   with `outcome_unknown` where nobody can say whether it was counted.
//! * [`EventualCounters::changes_since`] and [`EventualCounters::merge`]: what nodes tell each other.
//! * [`EventualCounters::begin`], [`EventualCounters::take_over`], [`EventualCounters::decide`]: a new life of
//!   a node, what it does with its earlier ones, and the end of a node that is removed.
//! * [`EventualCounters::seen`], [`EventualCounters::freshness`]: how much is known here, and as of when.

mod activity;
mod contribution;
mod counting;
mod exchange;
mod fate;
mod lineage;
mod reading;
mod rules;
mod sealing;
mod sessions;
mod state;
#[cfg(test)]
mod tests;

pub use contribution::Change;
pub use counting::Added;
pub use fate::Attempt;
pub use lineage::{NotFinal, last_versions};
pub use reading::{Freshness, Seen};
pub use rules::check_eventual;
pub use sealing::Seal;
pub use sessions::{Answer, Window};
pub use state::SavedEventualCounters;

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::replicated::{Actor, LogLimits, Replica};
use crate::{HashMap, hash_map};
use activity::Activity;
use contribution::Contribution;

/// Bounds of what a node keeps of eventual counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventualLimits {
    /// Counters beyond which this node makes no new ones. What other nodes have made is taken over.
    pub counters_max: usize,
    /// Actors whose counts are kept apart. There is one per node, and one more for each life of a node
    /// that has not been taken over.
    pub actors_max: usize,
    /// Sessions that one actor remembers; the one that was active longest ago leaves first.
    pub sessions_max: usize,
    /// A session that has counted nothing for so long is forgotten.
    pub session_idle_ms: u64,
    /// What is remembered of each actor's changes.
    pub log: LogLimits,
}

impl Default for EventualLimits {
    fn default() -> Self {
        Self {
            counters_max: 100_000,
            actors_max: 1_024,
            sessions_max: 4_096,
            session_idle_ms: 3_600_000,
            log: LogLimits::default(),
        }
    }
}

/// All eventual counters as one node knows them.
#[derive(Debug)]
pub struct EventualCounters {
    seed: u64,
    own: Actor,
    limits: EventualLimits,
    /// What each actor has counted, this one among them.
    replicas: BTreeMap<Actor, Replica<Contribution>>,
    /// Nodes that were removed.
    removed: BTreeSet<u64>,
    /// What was decided last about what there is of them.
    seal: Option<Seal>,
    /// What others have told beyond the last version of an actor, and the largest such version.
    beyond: BTreeMap<Actor, u64>,
    /// The sums of all actors' totals.
    sums: HashMap<Name, i128>,
    /// Counters whose sum has changed since somebody asked.
    changed: BTreeSet<Name>,
    /// Version of this actor at the end of the last round.
    ended: u64,
    /// Version of this actor up to which its changes may be told.
    released: u64,
    /// Counters that have changed in this round, and the version of the last such change.
    open: HashMap<Name, u64>,
    activity: Activity,
}

impl EventualCounters {
    /// Nothing is known, and this actor counts. It has never counted before.
    #[must_use]
    pub fn new(own: Actor, limits: EventualLimits, seed: u64) -> Self {
        Self {
            seed,
            own,
            limits,
            replicas: BTreeMap::from([(own, Replica::new(seed))]),
            removed: BTreeSet::new(),
            seal: None,
            beyond: BTreeMap::new(),
            sums: hash_map(seed),
            changed: BTreeSet::new(),
            ended: 0,
            released: 0,
            open: hash_map(seed),
            activity: Activity::new(seed),
        }
    }

    /// Who counts here.
    #[must_use]
    pub fn own(&self) -> Actor {
        self.own
    }

    /// Number of counters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there is no counter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Whether a session is remembered, which may be forgotten some day.
    #[must_use]
    pub(crate) fn has_sessions(&self) -> bool {
        self.activity.len() > 0
    }

    fn own_version(&self) -> u64 {
        self.replicas.get(&self.own).map_or(0, Replica::version)
    }

    /// Adds up these counters again.
    fn sum_up(&mut self, counters: BTreeSet<Name>) {
        for counter in counters {
            let totals = self.replicas.values().map(|replica| replica.state.totals.get(&counter));
            let sum = totals.flatten().copied().reduce(i128::saturating_add);
            let before = self.sums.get(&counter).copied();
            if before == sum {
                continue;
            }
            match sum {
                Some(sum) => self.sums.insert(counter.clone(), sum),
                None => self.sums.remove(&counter),
            };
            self.changed.insert(counter);
        }
    }
}

/// A sum as it is shown. The sum itself is exact, so that it comes back into range by itself.
fn clamped(sum: i128) -> i64 {
    let nearest = if sum < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(sum).unwrap_or(nearest)
}
