//! Consumer groups: the records of a topic, shared among workers, each until one has done it.
//!
//! A group has a cursor, as a subscriber does; what it has passed and is not settled yet is
//! *outstanding*: leased to a member, waiting to be delivered again, behind another record of its
//! key, or on its way to the dead letters. Everything else before the cursor is settled, so a group
//! costs memory by what is outstanding, not by what it has done.

mod members;
mod offer;
mod order;
mod outstanding;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use members::{Member, MemberId};
pub use outstanding::Reason;
pub use rules::GroupRules;
pub(crate) use state::SavedGroup;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use crate::topic::Ring;
use members::Members;
use order::Order;
use outstanding::{Outstanding, State};

/// Records that are outstanding in one group at most: beyond them nothing new is delivered.
pub(crate) const OUTSTANDING_MAX: usize = 65_536;
/// Dead letters of one group under way at most.
const LETTERS_MAX: usize = 256;
/// Deliveries of a record that was rejected, as they are logged.
const REJECTED: u32 = u32::MAX;
/// How long a dead letter is under way before it is sent again.
const DEAD_LETTER_TIMEOUT_MS: u64 = 10_000;

/// A consumer group of one topic. Times are Unix milliseconds.
#[derive(Debug)]
pub(crate) struct Group {
    rules: Arc<GroupRules>,
    /// The first record that was never delivered.
    next: u64,
    outstanding: Outstanding,
    members: Members,
    order: Order,
    counts: Counts,
    /// Where the record at `next` stands in its batch: base, offset, bytes before it.
    place: Option<(u64, u64, usize)>,
}

/// What has happened in a group since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Records that have left the topic before they were settled.
    pub(crate) missed: u64,
    /// Dead letters.
    pub(crate) dead: u64,
    /// Deliveries that were not the first of their record.
    pub(crate) redelivered: u64,
}

/// Records of one batch, leased to one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// Who has them.
    pub member: MemberId,
    /// Append time of the batch.
    pub time_ms: u64,
    /// Offset of each record, and the how manieth delivery of it this is.
    pub deliveries: Vec<(u64, u32)>,
    /// The records.
    pub body: Bytes,
}

/// A delivery that has failed: offset, deliveries so far.
pub(crate) type Failed = (u64, u32);

/// A record that is to become a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) offset: u64,
    /// 0 if that is not known any more.
    pub(crate) deliveries: u32,
    pub(crate) reason: Reason,
}

/// What became of what was asked to be settled.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// The ranges that are settled now, each `[from, next)`.
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) records: u64,
}

impl Settled {
    fn add(&mut self, offset: u64) {
        self.records += 1;
        match self.ranges.last_mut() {
            Some((_, next)) if *next == offset => *next = offset + 1,
            Some(_) | None => self.ranges.push((offset, offset + 1)),
        }
    }
}

impl Group {
    /// A group that begins at this offset.
    pub(crate) fn new(rules: Arc<GroupRules>, next: u64) -> Self {
        Self {
            rules,
            next,
            outstanding: Outstanding::default(),
            members: Members::default(),
            order: Order::default(),
            counts: Counts::default(),
            place: None,
        }
    }

    pub(crate) fn rules(&self) -> &GroupRules {
        &self.rules
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Everything before this offset is settled.
    pub(crate) fn floor(&self) -> u64 {
        self.outstanding.first().unwrap_or(self.next)
    }

    /// Records up to `end` that are not settled.
    pub(crate) fn lag(&self, end: u64) -> u64 {
        end.saturating_sub(self.next) + self.outstanding.len() as u64
    }

    pub(crate) fn leased(&self) -> usize {
        self.members.leased()
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn has_members(&self) -> bool {
        self.members.len() > 0
    }

    pub(crate) fn member_ids(&self) -> Vec<MemberId> {
        self.members.ids().collect()
    }

    pub(crate) fn has_member(&self, member: MemberId) -> bool {
        self.members.contains(member)
    }

    /// When something is due: a lease runs out, a pause is over.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.outstanding.due_ms()
    }

    /// Takes a member in, or changes how much it takes.
    pub(crate) fn join(&mut self, member: MemberId, takes: Member) {
        self.members.join(member, takes);
    }

    /// A member has gone: what it had is delivered again.
    pub(crate) fn leave(&mut self, member: MemberId) -> Vec<Failed> {
        let held = self.outstanding.held_by(member);
        self.members.leave(member);
        held.into_iter().filter_map(|offset| self.fail(offset, Reason::Gone, 0)).collect()
    }

    /// Settles what a member has done in `[from, next)`: what is leased to it, and what was and waits
    /// to be delivered again.
    pub(crate) fn settle(&mut self, member: MemberId, from: u64, next: u64) -> Settled {
        let mut settled = Settled::default();
        for offset in self.outstanding.answerable_by(member, from, next) {
            self.remove(offset);
            settled.add(offset);
        }
        self.members.heard(member);
        settled
    }

    /// A member does not manage what is leased to it in `[from, next)`: it is delivered again after
    /// a pause, that of the rules or another.
    pub(crate) fn refuse(
        &mut self,
        member: MemberId,
        (from, next): (u64, u64),
        delay_ms: Option<u64>,
        reason: &Reason,
        now_ms: u64,
    ) -> (u64, Vec<Failed>) {
        let held = self.outstanding.leased_in(member, from, next);
        let records = held.len() as u64;
        let failed = held.into_iter().filter_map(|offset| {
            let deliveries = self.outstanding.deliveries(offset);
            let pause_ms = delay_ms.unwrap_or_else(|| self.rules.pause_ms(deliveries));
            self.fail(offset, reason.clone(), now_ms.saturating_add(pause_ms))
        });
        let failed = failed.collect();
        self.members.heard(member);
        (records, failed)
    }

    /// A member gives up what is leased to it in `[from, next)`: dead letters, whatever the limit.
    pub(crate) fn reject(
        &mut self,
        member: MemberId,
        (from, next): (u64, u64),
        reason: &Reason,
    ) -> (u64, Vec<Failed>) {
        let held = self.outstanding.leased_in(member, from, next);
        for offset in &held {
            self.members.give_back(member, self.outstanding.bytes(*offset));
            self.outstanding.set_reason(*offset, reason.clone());
            self.outstanding.set(*offset, State::Dead { until_ms: 0 });
        }
        self.members.heard(member);
        (held.len() as u64, held.into_iter().map(|offset| (offset, REJECTED)).collect())
    }

    /// A member needs more time for what is leased to it in `[from, next)`.
    pub(crate) fn extend(&mut self, member: MemberId, from: u64, next: u64, now_ms: u64) -> u64 {
        let until_ms = now_ms.saturating_add(self.rules.ack_timeout_ms);
        let held = self.outstanding.leased_in(member, from, next);
        for offset in &held {
            self.outstanding.set(*offset, State::Leased { member, until_ms });
        }
        self.members.heard(member);
        held.len() as u64
    }

    /// Does what is due; returns the deliveries that have failed.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) -> Vec<Failed> {
        let mut failed = Vec::new();
        while let Some((offset, state)) = self.outstanding.pop_due(now_ms) {
            match state {
                State::Leased { member, .. } => {
                    // Who says nothing gets nothing more.
                    self.members.silent(member);
                    failed.extend(self.fail(offset, Reason::TimedOut, 0));
                }
                State::Paused { .. } => self.outstanding.set(offset, State::Ready),
                // Sent again: nobody has said that it arrived.
                State::Dead { .. } | State::Unreadable { .. } => {
                    self.outstanding.set(offset, State::Dead { until_ms: 0 });
                }
                State::Ready | State::Behind => {}
            }
        }
        failed
    }

    /// Records that are to be sent to the dead letters now, and the sequence of a cold batch that
    /// holds others.
    pub(crate) fn take_dead(&mut self, ring: &Ring, now_ms: u64) -> (Vec<Dead>, Option<u64>) {
        let until_ms = now_ms.saturating_add(DEAD_LETTER_TIMEOUT_MS);
        let mut dead = self.outstanding.unsent(LETTERS_MAX);
        let mut cold = None;
        dead.retain(|offset| {
            let found = ring.find(*offset).filter(|batch| batch.body.is_cold());
            cold = cold.or(found.map(|batch| batch.sequence));
            found.is_none()
        });
        for offset in &dead {
            self.outstanding.set(*offset, State::Dead { until_ms });
        }
        (dead.into_iter().filter_map(|offset| self.outstanding.dead(offset)).collect(), cold)
    }

    /// Dead letters of these offsets cannot be sent now.
    pub(crate) fn put_letters_off(&mut self, (from, next): (u64, u64), now_ms: u64) {
        let until_ms = now_ms.saturating_add(DEAD_LETTER_TIMEOUT_MS);
        for offset in self.outstanding.unsent_in(from, next) {
            self.outstanding.set(offset, State::Unreadable { until_ms });
        }
    }

    /// Whether what it delivers next is among these offsets.
    pub(crate) fn has_come_to(&self, from: u64, next: u64) -> bool {
        let ready = self.outstanding.first_ready().unwrap_or(self.next);
        (from..next).contains(&ready)
    }

    /// A dead letter has arrived, or its record has left the topic.
    pub(crate) fn buried(&mut self, offset: u64, arrived: bool) -> bool {
        let is_dead = self.outstanding.is_dead(offset);
        if is_dead {
            self.remove(offset);
            self.counts.dead += u64::from(arrived);
            self.counts.missed += u64::from(!arrived);
        }
        is_dead
    }

    /// Begins anew at an offset. What is leased is forgotten.
    pub(crate) fn reset(&mut self, next: u64) {
        self.next = next;
        self.place = None;
        self.outstanding = Outstanding::default();
        self.order = Order::default();
        self.members.give_everything_back();
    }

    /// A delivery has failed: it is due again, or one delivery too many. Returns it if it is to be
    /// remembered.
    fn fail(&mut self, offset: u64, reason: Reason, due_ms: u64) -> Option<Failed> {
        let (member, deliveries) = self.outstanding.lease(offset)?;
        if let Some(member) = member {
            self.members.give_back(member, self.outstanding.bytes(offset));
        }
        self.outstanding.set_reason(offset, reason);
        let max = self.rules.deliveries_max;
        let state = match due_ms {
            _ if max > 0 && deliveries >= max => State::Dead { until_ms: 0 },
            0 => State::Ready,
            due_ms => State::Paused { until_ms: due_ms },
        };
        self.outstanding.set(offset, state);
        Some((offset, deliveries))
    }

    /// Takes a record out: it is settled, one way or the other.
    fn remove(&mut self, offset: u64) {
        let Some(gone) = self.outstanding.remove(offset) else { return };
        if let State::Leased { member, .. } = gone.state {
            self.members.give_back(member, gone.bytes);
        }
        let released = gone.key.and_then(|key| self.order.settled(&key, offset));
        if let Some(next) = released {
            self.outstanding.set(next, State::Ready);
        }
    }
}

/// Boxed, since most topics have none.
pub(crate) type Groups = Box<alloc::collections::BTreeMap<Name, Group>>;
