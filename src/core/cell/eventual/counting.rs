//! Counting: increments, rounds, and sessions that come and go.

use alloc::format;

use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::sessions::fingerprint;
use super::{Answer, Attempt, Change, EventualCounters, clamped};
use crate::cell::replicated::{Actor, Replica};

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
                let answer = Answer { sequence, value, actor: *own, version, fingerprint };
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

    /// Lets others hear of the rounds up to this version. Call it, and answer their increments (repeated
    /// ones, too), when they are as durable as they are going to be.
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
        if self.has_ended(self.own.node) {
            return;
        }
        let Self { seed, own, limits, replicas, .. } = self;
        let replica = replicas.entry(*own).or_insert_with(|| Replica::new(*seed));
        replica.change(change, &limits.log);
    }

    fn check_open(&self, counter: &Name) -> Result<(), Refusal> {
        let own = self.own;
        if self.has_ended(own.node) {
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
}
