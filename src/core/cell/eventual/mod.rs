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
//! * [`EventualCounters::begin`], [`EventualCounters::take_over`], [`EventualCounters::seal`]: a new life of
//!   a node, what it does with its earlier ones, and the end of a node that is removed.
//! * [`EventualCounters::seen`], [`EventualCounters::freshness`]: how much is known here, and as of when.

mod activity;
mod contribution;
mod exchange;
mod fate;
mod lineage;
mod reading;
mod rules;
mod sessions;
mod state;
#[cfg(test)]
mod tests;

pub use contribution::Change;
pub use fate::Attempt;
pub use lineage::{NotFinal, Sealed, last_versions};
pub use reading::{Freshness, Seen};
pub use rules::check_eventual;
pub use sessions::{Answer, Window};
pub use state::SavedEventualCounters;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use serde::{Deserialize, Serialize};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::replicated::{Actor, LogLimits, Replica};
use crate::{HashMap, hash_map};
use activity::Activity;
use contribution::Contribution;
use sessions::fingerprint;

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
    /// Nodes that were removed, and the last version of each of their incarnations.
    removed: BTreeMap<u64, BTreeMap<u64, u64>>,
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

/// The outcome of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Value of the counter after it, as the node knew it that has counted it.
    pub value: i64,
    /// Who has counted it.
    pub actor: Actor,
    /// That actor's version that contains it. Whoever knows the actor up to there knows of it.
    pub version: u64,
    /// Whether this repeats the answer to an earlier attempt.
    pub duplicate: bool,
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
            removed: BTreeMap::new(),
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

    /// Adds to a counter. Nobody else hears of it before [`Self::release`].
    ///
    /// An increment `by` a session is counted once, on whichever nodes it is tried.
    ///
    /// # Errors
    /// `outcome_unknown` when it may have been counted before (`actual`: the largest sequence of the
    /// session that is known to be), `producer_unknown` for a session that may have been forgotten
    /// or was closed here, `invalid_argument` for another increment under a sequence that is taken,
    /// `limit_exceeded` when there are as many counters as allowed, `unavailable` when this node was removed.
    pub fn add(
        &mut self,
        counter: &Name,
        amount: i64,
        by: Option<Attempt<'_>>,
        now_ms: u64,
    ) -> Result<Added, Refusal> {
        self.forget_idle(now_ms);
        if let Some(attempt) = by
            && let Some(first) = self.earlier(counter, amount, attempt)?
        {
            return Ok(first);
        }
        self.check_open(counter)?;
        if let Some(Attempt { session, .. }) = by {
            self.make_room(session);
            self.activity.touch(session, now_ms);
        }
        let sum = self.sums.entry(counter.clone()).or_default();
        *sum = sum.saturating_add(i128::from(amount));
        let value = clamped(*sum);
        self.changed.insert(counter.clone());
        let version = self.record(counter, amount, value, by);
        Ok(Added { value, actor: self.own, version, duplicate: false })
    }

    /// Writes an increment into the own history; returns the version that contains it.
    fn record(&mut self, counter: &Name, amount: i64, value: i64, by: Option<Attempt<'_>>) -> u64 {
        let Self { seed, own, limits, replicas, open, .. } = self;
        let replica = replicas.entry(*own).or_insert_with(|| Replica::new(*seed));
        let total = replica.state.totals.get(counter).copied().unwrap_or(0);
        let total = total.saturating_add(i128::from(amount));
        // What nobody has heard of yet can still be changed: many increments are one change then.
        if by.is_none()
            && let Some(version) = open.get(counter)
            && let Some(Change::Total { total: told, .. } | Change::Answered { total: told, .. }) =
                replica.log.change_mut(*version)
        {
            *told = total;
            replica.state.totals.insert(counter.clone(), total);
            return *version;
        }
        let version = replica.version() + 1;
        let counter = counter.clone();
        open.insert(counter.clone(), version);
        let change = match by {
            None => Change::Total { counter, total },
            Some(Attempt { session, sequence, tried: _ }) => {
                let fingerprint = fingerprint(&counter, amount);
                let incarnation = own.incarnation;
                let answer = Answer { sequence, value, incarnation, version, fingerprint };
                Change::Answered { counter, total, session, answer }
            }
        };
        replica.change(change, &limits.log);
        version
    }

    /// Ends a round; returns the version of this actor that it leads to. What it says does not change any
    /// more from here on, so save it now, and not in the middle of a round.
    pub fn end_round(&mut self) -> u64 {
        self.ended = self.own_version();
        self.open.clear();
        self.ended
    }

    /// Lets others hear of the rounds up to this version. Call it, and answer their increments, when they
    /// are as durable as they are going to be.
    pub fn release(&mut self, version: u64) {
        self.released = self.released.max(version.min(self.ended));
    }

    /// Takes nothing from a session any more, because it goes on at another node. When that node
    /// has heard of it, it can say of every sequence whether it was counted here.
    pub fn close_session(&mut self, session: u64, now_ms: u64) {
        self.make_room(session);
        self.activity.touch(session, now_ms);
        self.change(Change::Closed { session });
    }

    /// Forgets the sessions that have counted nothing for too long.
    pub fn forget_idle(&mut self, now_ms: u64) {
        while let Some(session) = self.activity.pop_idle(now_ms, self.limits.session_idle_ms) {
            self.change(Change::Forgotten { session });
        }
    }

    /// Makes room for one session more if this one is not known.
    fn make_room(&mut self, session: u64) {
        if self.activity.knows(session) {
            return;
        }
        while self.activity.len() >= self.limits.sessions_max.max(1) {
            let Some(session) = self.activity.pop_oldest() else { return };
            self.change(Change::Forgotten { session });
        }
    }

    fn change(&mut self, change: Change) {
        let Self { seed, own, limits, replicas, removed, .. } = self;
        if removed.contains_key(&own.node) {
            return;
        }
        let replica = replicas.entry(*own).or_insert_with(|| Replica::new(*seed));
        replica.change(change, &limits.log);
    }

    fn check_open(&self, counter: &Name) -> Result<(), Refusal> {
        let own = self.own;
        if self.removed.contains_key(&own.node) {
            let message = format!(
                "counter '{counter}' cannot be added to here: this node was removed from the cluster \
                 as {own}; send the increment to another node"
            );
            return Err(Refusal::new(ErrorCode::Unavailable, message));
        }
        let counters_max = self.limits.counters_max;
        if self.sums.len() >= counters_max && !self.sums.contains_key(counter) {
            let message = format!(
                "counter '{counter}' finds no room: the limit of {counters_max} eventual counters is \
                 reached; use one that there is"
            );
            return Err(Refusal::new(ErrorCode::LimitExceeded, message));
        }
        Ok(())
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
