//! The state of a group: its hash, its saved form, and what a restart makes of it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::members::{Members, SavedMembers};
use super::order::Order;
use super::outstanding::{Entry, State};
use super::{Counts, Group, GroupRules, REJECTED};
use crate::state_hash::StateHasher;

/// A dead letter that may have been under way: it is due at once.
const DEAD_AGAIN: State = State::Dead { until_ms: 1 };

/// A saved [`Group`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedGroup {
    rules: Arc<GroupRules>,
    next: u64,
    outstanding: Vec<(u64, Entry)>,
    members: SavedMembers,
    order: Vec<(Arc<str>, u64, VecDeque<u64>)>,
    counts: Counts,
}

impl Group {
    pub(crate) fn save(&self) -> SavedGroup {
        let Self { rules, next, outstanding, members, order, counts, place: _ } = self;
        let lines = order.lines().map(|(key, first, behind)| (key.clone(), first, behind.clone()));
        let entries = outstanding.by_offset.iter();
        SavedGroup {
            rules: Arc::clone(rules),
            next: *next,
            outstanding: entries.map(|(offset, entry)| (*offset, entry.clone())).collect(),
            members: members.save(),
            order: lines.collect(),
            counts: *counts,
        }
    }

    pub(crate) fn restore(saved: SavedGroup) -> Self {
        let SavedGroup { rules, next, outstanding, members, order, counts } = saved;
        let mut group = Self { counts, ..Self::new(rules, next) };
        for (offset, entry) in outstanding {
            group.outstanding.insert(offset, entry);
        }
        for (key, first, behind) in order {
            group.order.restore(key, first, behind);
        }
        group.members = Members::restore(members);
        group
    }

    /// After a restart: nobody is a member, and what was out is ready.
    pub(crate) fn resume(&mut self) {
        self.members = Members::default();
        self.order = Order::default();
        let before = core::mem::take(&mut self.outstanding);
        for (offset, entry) in before.by_offset {
            let is_dead = matches!(entry.state, State::Dead { .. } | State::Unreadable { .. });
            let state = if is_dead { DEAD_AGAIN } else { State::Ready };
            self.outstanding.insert(offset, Entry { state, key: None, last: None, ..entry });
        }
    }

    /// After everything was repeated: what was delivered too often in vain, or rejected, is to become
    /// a dead letter.
    pub(crate) fn end_recovery(&mut self) {
        let max = self.rules.deliveries_max;
        let is_over = |deliveries: u32| deliveries == REJECTED || (max > 0 && deliveries >= max);
        let over = self.outstanding.by_offset.iter();
        let over =
            over.filter(|(_, entry)| entry.state == State::Ready && is_over(entry.deliveries));
        let over: Vec<u64> = over.map(|(offset, _)| *offset).collect();
        for offset in over {
            self.outstanding.set(offset, DEAD_AGAIN);
        }
    }

    /// Repeats that a range was settled.
    pub(crate) fn recover_settled(&mut self, from: u64, next: u64) {
        for offset in self.next..from {
            self.passed(offset);
        }
        let settled: Vec<u64> = match from < next {
            true => self.outstanding.by_offset.range(from..next).map(|(at, _)| *at).collect(),
            false => Vec::new(),
        };
        for offset in settled {
            self.outstanding.remove(offset);
        }
        self.next = self.next.max(next);
    }

    /// Repeats that a delivery has failed.
    pub(crate) fn recover_failed(&mut self, offset: u64, deliveries: u32) {
        for passed in self.next..=offset {
            self.passed(passed);
        }
        self.next = self.next.max(offset + 1);
        if let Some(entry) = self.outstanding.by_offset.get_mut(&offset) {
            entry.deliveries = deliveries;
        }
    }

    /// What has left the topic by now is not outstanding, however far behind the group was.
    pub(crate) fn recover_first(&mut self, first: u64) {
        let gone: Vec<u64> = self.outstanding.by_offset.range(..first).map(|(at, _)| *at).collect();
        for offset in gone {
            self.outstanding.remove(offset);
        }
        self.next = self.next.max(first);
    }

    fn passed(&mut self, offset: u64) {
        let (state, deliveries, bytes, last) = (State::Ready, 0, 0, None);
        let entry = Entry { state, deliveries, bytes, key: None, reason: None, last };
        self.outstanding.insert(offset, entry);
    }

    /// What is kept on disk: which records are not settled, and how often each was tried in vain.
    pub(crate) fn hash_durable(&self, hasher: &mut StateHasher, first: u64, end: u64) {
        hash_rules(&self.rules, hasher);
        let passed = self.outstanding.by_offset.range(first..).map(|(at, _)| *at);
        let unsettled: Vec<u64> = passed.chain(self.next.max(first)..end).collect();
        hasher.ordered(&unsettled, |hasher, offset| hasher.number(*offset));
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        // Where the next record stands in its batch follows from the batch.
        let Self { rules, next, outstanding, members, order, counts, place: _ } = self;
        hash_rules(rules, hasher);
        hasher.number(*next);
        hasher.ordered(&outstanding.by_offset, |hasher, (offset, entry)| {
            hasher.number(*offset);
            entry.hash_into(hasher);
        });
        members.hash_into(hasher);
        hasher.size(order.lines().count());
        for (key, first, behind) in order.lines() {
            hasher.text(key);
            hasher.number(first);
            hasher.ordered(behind, |hasher, offset| hasher.number(*offset));
        }
        let Counts { missed, dead, redelivered } = counts;
        for number in [missed, dead, redelivered] {
            hasher.number(*number);
        }
    }
}

fn hash_rules(rules: &GroupRules, hasher: &mut StateHasher) {
    let GroupRules {
        ack_timeout_ms,
        deliveries_max,
        backoff_ms,
        backoff_max_ms,
        dead_letter,
        ordered,
    } = rules;
    for number in [ack_timeout_ms, backoff_ms, backoff_max_ms] {
        hasher.number(*number);
    }
    hasher.number(*deliveries_max);
    hasher.option(dead_letter.as_ref().map(Name::as_str), StateHasher::text);
    hasher.flag(*ordered);
}

impl Entry {
    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { state, deliveries, bytes, key, reason, last } = self;
        hasher.option(last.as_ref(), |hasher, (session, sub)| {
            session.hash_into(hasher);
            hasher.number(*sub);
        });
        let (kind, until_ms) = match state {
            State::Leased { member: (session, sub), until_ms } => {
                session.hash_into(hasher);
                hasher.number(*sub);
                (1, *until_ms)
            }
            State::Ready => (2, 0),
            State::Paused { until_ms } => (3, *until_ms),
            State::Behind => (4, 0),
            State::Dead { until_ms } => (5, *until_ms),
            State::Unreadable { until_ms } => (6, *until_ms),
        };
        hasher.number(kind);
        hasher.number(until_ms);
        hasher.number(*deliveries);
        hasher.number(*bytes);
        hasher.option(key.as_deref(), StateHasher::text);
        hasher.option(reason.as_ref().map(super::Reason::as_str), StateHasher::text);
    }
}
