//! Recalling: cursors that come to records which are on disk only wait until these have been read.
//!
//! What is read is an extent: records of all topics of a shard that were committed together. It is
//! kept for a while, for other cursors at about the same place, and the ones behind it are asked
//! for while it is being sent. A cursor asks only when its connection takes more, so what slow
//! connections have still to get stays on disk.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use super::session::Owner;
use super::{Cursor, CursorId, Dispatcher, Target};
use crate::is_durable;
use crate::shard::{Command, Recalled};
use crate::topic::Batch;

/// Recalls of one dispatcher that are under way at the same time, of all shards.
const UNDER_WAY_MAX: usize = 8;
/// Reads of the same batch that may fail before its subscription ends. Several may have been under way
/// when retention removed it.
const FAILURES_MAX: u8 = 3;
/// Extents that are asked for before a cursor comes to them.
const AHEAD: usize = 2;

/// What a dispatcher has recalled, and who waits for what.
#[derive(Debug)]
pub(super) struct Recalls {
    bytes_max: usize,
    bytes: usize,
    /// Least recently used first; there are few.
    held: VecDeque<Held>,
    under_way: Vec<Asked>,
    waiting: VecDeque<Waiting>,
    last_ticket: u32,
}

/// Something that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    shard: u16,
    sequence: u64,
    /// The shard's sequences may be others by now: the answer is no answer.
    is_stale: bool,
}

#[derive(Debug)]
struct Held {
    shard: u16,
    recalled: Arc<Recalled>,
    bytes: usize,
    /// Whether a cursor has come to it.
    is_used: bool,
    /// Whether a cursor has gone on behind it.
    is_left: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    shard: u16,
    sequence: u64,
    cursor: CursorId,
    /// Number of this wait: what the cursor waits for now may be something else.
    ticket: u32,
    /// How often it could not be read. It is asked for again, since retention may have removed it
    /// meanwhile: then the shard says so.
    failures: u8,
}

impl Recalls {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            held: VecDeque::new(),
            under_way: Vec::new(),
            waiting: VecDeque::new(),
            last_ticket: 0,
        }
    }

    fn holds(&self, shard: u16, sequence: u64) -> Option<usize> {
        let is_there =
            |held: &Held| held.shard == shard && held.recalled.sequences.contains(&sequence);
        self.held.iter().rposition(is_there)
    }

    /// The records of a batch, if they are held; and whether they are the first of their extent that
    /// are taken.
    fn take(&mut self, shard: u16, sequence: u64) -> Option<(Bytes, bool)> {
        let at = self.holds(shard, sequence)?;
        if at + 1 < self.held.len()
            && let Some(used) = self.held.remove(at)
        {
            self.held.push_back(used);
        }
        let held = self.held.back_mut()?;
        let body = held.recalled.body(sequence)?.clone();
        let is_first = !core::mem::replace(&mut held.is_used, true);
        let start = held.recalled.sequences.start;
        if is_first {
            let is_before =
                |held: &&mut Held| held.shard == shard && held.recalled.sequences.end == start;
            if let Some(before) = self.held.iter_mut().find(is_before) {
                before.is_left = true;
            }
        }
        Some((body, is_first))
    }

    /// Where to ask for what follows an extent, if that is not held or under way.
    fn behind(&self, shard: u16, sequence: u64) -> Option<u64> {
        let mut next = sequence;
        for _ in 0..=AHEAD {
            match self.holds(shard, next).and_then(|at| self.held.get(at)) {
                Some(held) => next = held.recalled.sequences.end,
                None => return self.may_ask(shard, next).then_some(next),
            }
        }
        None
    }

    fn may_ask(&self, shard: u16, sequence: u64) -> bool {
        let is_it = |asked: &Asked| (asked.shard, asked.sequence) == (shard, sequence);
        self.under_way.len() < UNDER_WAY_MAX && !self.under_way.iter().any(is_it)
    }

    fn overlapping(&self, shard: u16, sequences: &Range<u64>) -> Option<usize> {
        let overlaps = |held: &Held| {
            let known = &held.recalled.sequences;
            held.shard == shard && known.start < sequences.end && sequences.start < known.end
        };
        self.held.iter().position(overlaps)
    }

    /// Keeps what was read. What nobody waits for does not drive out what is in use.
    fn hold(&mut self, shard: u16, recalled: &Arc<Recalled>, is_awaited: bool) {
        let Recalled { sequences, bodies, .. } = &**recalled;
        if bodies.is_empty() {
            return;
        }
        // A copy of the shard that was replaced may have had other extents: what was read of them is in
        // the way of what somebody waits for.
        while let Some(at) = self.overlapping(shard, sequences) {
            let is_more = |held: &Held| held.recalled.bodies.len() < bodies.len();
            if !is_awaited && !self.held.get(at).is_some_and(is_more) {
                return;
            }
            self.let_go(at);
        }
        let bytes: usize = bodies.iter().map(|(_, body)| body.len()).sum();
        while self.bytes + bytes > self.bytes_max {
            let spare = |held: &Held| held.is_left || !held.is_used;
            match self.held.iter().position(spare) {
                Some(spare) => self.let_go(spare),
                None if is_awaited && !self.held.is_empty() => self.let_go(0),
                None => break,
            }
        }
        if is_awaited || self.bytes + bytes <= self.bytes_max {
            self.bytes += bytes;
            let recalled = Arc::clone(recalled);
            self.held.push_back(Held { shard, recalled, bytes, is_used: false, is_left: false });
        }
    }

    /// What was read of a shard's earlier history is not of the one that it has now, and neither is what
    /// was asked for in it.
    pub(super) fn forget_shard(&mut self, shard: u16) {
        let asked = self.under_way.iter_mut().filter(|asked| asked.shard == shard);
        asked.for_each(|asked| asked.is_stale = true);
        while let Some(at) = self.held.iter().position(|held| held.shard == shard) {
            self.let_go(at);
        }
    }

    fn let_go(&mut self, at: usize) {
        if let Some(gone) = self.held.remove(at) {
            self.bytes -= gone.bytes;
        }
    }
}

impl Waiting {
    /// Whether the cursor with its number still waits for it.
    fn is_of(&self, cursor: Option<&Cursor>) -> bool {
        cursor.is_some_and(|cursor| cursor.recalls == self.ticket)
    }
}

impl Dispatcher {
    /// A batch with its records in memory, if they are there; otherwise the cursor waits for them.
    #[inline]
    pub(super) fn warm(&mut self, id: CursorId, batch: Arc<Batch>) -> Option<Arc<Batch>> {
        if batch.body.is_cold() { self.warm_cold(id, &batch) } else { Some(batch) }
    }

    #[cold]
    fn warm_cold(&mut self, id: CursorId, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        let (shard, sequence) = (batch.shard, batch.sequence);
        let Some((body, is_first)) = self.recalls.take(shard, sequence) else {
            self.wait_for(id, shard, sequence);
            return None;
        };
        if is_first && let Some(next) = self.recalls.behind(shard, sequence) {
            self.ask(shard, next);
        }
        match batch.warmed(body) {
            Some(warm) => Some(Arc::new(warm)),
            None => {
                self.end_mismatched(id, shard);
                None
            }
        }
    }

    /// What was read is another record than the one that comes next. Of a shard in memory that is no damage: the
    /// node that leads it has changed, and records are numbered anew; whoever subscribes again is told so.
    fn end_mismatched(&mut self, id: CursorId, shard: u16) {
        if is_durable(shard) {
            return self.end_unreadable(id, "what was read is another record");
        }
        self.recalls.forget_shard(shard);
        let Some(owner) = self.cursors.get(id).map(|cursor| cursor.owner) else { return };
        let message = "another node leads the shard of this name now, and what comes next cannot be read there: \
                       subscribe again, behind the last record"
            .to_owned();
        self.end_with(owner, Refusal::new(ErrorCode::Unavailable, message));
    }

    /// The same, without waiting for them.
    pub(super) fn warm_now(&mut self, batch: Arc<Batch>) -> Option<Arc<Batch>> {
        if !batch.body.is_cold() {
            return Some(batch);
        }
        let (body, _) = self.recalls.take(batch.shard, batch.sequence)?;
        batch.warmed(body).map(Arc::new)
    }

    fn wait_for(&mut self, id: CursorId, shard: u16, sequence: u64) {
        let Some(cursor) = self.cursors.get_mut(id) else { return };
        if cursor.recalls != 0 {
            return;
        }
        self.recalls.last_ticket = self.recalls.last_ticket.checked_add(1).unwrap_or(1);
        let ticket = self.recalls.last_ticket;
        cursor.recalls = ticket;
        self.recalls.waiting.push_back(Waiting {
            shard,
            sequence,
            cursor: id,
            ticket,
            failures: 0,
        });
        if self.recalls.may_ask(shard, sequence) {
            self.ask(shard, sequence);
        }
        if self.recalls.waiting.len() > 2 * self.cursors.len() + UNDER_WAY_MAX {
            self.forget_gone();
        }
    }

    fn ask(&mut self, shard: u16, sequence: u64) {
        self.recalls.under_way.push(Asked { shard, sequence, is_stale: false });
        self.outgoing.push_back((shard, Command::Recall(self.id, sequence)));
    }

    /// Cursors that have ended do not wait any more. They are not looked for when they end, since very
    /// many may end at once.
    fn forget_gone(&mut self) {
        let cursors = &self.cursors;
        self.recalls.waiting.retain(|waiting| waiting.is_of(cursors.get(waiting.cursor)));
    }

    /// What was recalled has come, or cannot be read.
    pub(super) fn recalled(&mut self, shard: u16, recalled: &Arc<Recalled>) {
        let is_of = |of: u16, sequence: u64| of == shard && recalled.sequences.contains(&sequence);
        let mut is_stale = false;
        self.recalls.under_way.retain(|asked| {
            let is_answered = is_of(asked.shard, asked.sequence);
            is_stale |= is_answered && asked.is_stale;
            !is_answered
        });
        self.stats.recalls += 1;
        let waiting = core::mem::take(&mut self.recalls.waiting);
        let (served, left) = waiting
            .into_iter()
            .partition::<VecDeque<Waiting>, _>(|waiting| is_of(waiting.shard, waiting.sequence));
        self.recalls.waiting = left;
        if !is_stale {
            self.recalls.hold(shard, recalled, !served.is_empty());
        }
        for waiting in served {
            self.serve(waiting, recalled);
        }
        self.ask_more();
    }

    fn serve(&mut self, waiting: Waiting, recalled: &Recalled) {
        let Waiting { sequence, cursor: id, failures, .. } = waiting;
        if !waiting.is_of(self.cursors.get(id)) {
            return;
        }
        let Some(cursor) = self.cursors.get_mut(id) else { return };
        let reason = recalled.reason.as_ref().filter(|_| recalled.body(sequence).is_none());
        match reason {
            None => {
                cursor.recalls = 0;
                self.wake(id);
            }
            Some(_) if failures < FAILURES_MAX => {
                let failures = failures + 1;
                self.recalls.waiting.push_back(Waiting { failures, ..waiting });
            }
            Some(reason) => {
                cursor.recalls = 0;
                self.end_unreadable(id, reason);
            }
        }
    }

    /// Asks for what is waited for, as far as that may be under way.
    fn ask_more(&mut self) {
        let cursors = &self.cursors;
        let is_gone = |waiting: &Waiting| !waiting.is_of(cursors.get(waiting.cursor));
        while self.recalls.waiting.front().is_some_and(is_gone) {
            self.recalls.waiting.pop_front();
        }
        let first: Vec<Waiting> =
            self.recalls.waiting.iter().take(UNDER_WAY_MAX).copied().collect();
        for Waiting { shard, sequence, .. } in first {
            if self.recalls.may_ask(shard, sequence) {
                self.ask(shard, sequence);
            }
        }
    }

    fn end_unreadable(&mut self, id: CursorId, reason: &str) {
        let Some(cursor) = self.cursors.get(id) else { return };
        let owner = cursor.owner;
        let place = match &cursor.target {
            Target::Topic(target) => self.topics.get(target.view).and_then(|view| {
                let batch = view.ring.find(target.next)?;
                let (name, from, next) = (&view.name, target.next, batch.next());
                Some(format!("records {from} to {} of topic '{name}'", next - 1))
            }),
            Target::Pattern(target) => target
                .position
                .map(|position| format!("position {position} of shard {}", target.shard)),
            Target::Watch(_) => None,
        };
        let place = place.unwrap_or_else(|| "what comes next".to_owned());
        let message = format!(
            "subscription {} is ended: {place} cannot be read from the journal ({reason}); begin \
             another one behind that to go on without it",
            owner.sub
        );
        self.end_with(owner, Refusal::new(ErrorCode::StorageFailed, message));
    }

    /// Ends a subscription that has begun, and says why.
    pub(super) fn end_with(&mut self, owner: Owner, refusal: Refusal) {
        if let Some(id) = self.sessions.get(owner.slot).map(|session| session.id) {
            self.refused(id, &refusal);
        }
        let mut frame = ServerFrame::refuse(0, refusal);
        if let ServerFrame::Error { sub: ended, .. } = &mut frame {
            *ended = Some(owner.sub);
        }
        if let Some(session) = self.sessions.get_mut(owner.slot) {
            session.push(0, &frame);
        }
        self.end_sub(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sequences: Range<u64>) -> Arc<Recalled> {
        let bodies = sequences.clone().map(|sequence| (sequence, Bytes::new())).collect();
        Arc::new(Recalled { sequences, bodies, reason: None })
    }

    #[test]
    fn what_is_awaited_is_held_also_if_the_extents_are_other_ones_than_before() {
        let mut recalls = Recalls::new(1_000);
        recalls.hold(17, &read(0..64), true);
        assert!(recalls.take(17, 63).is_some() && recalls.take(17, 70).is_none());
        // Nobody waits for it: what is there stays.
        recalls.hold(17, &read(50..114), false);
        assert!(recalls.take(17, 0).is_some() && recalls.take(17, 70).is_none());
        recalls.hold(17, &read(50..114), true);
        assert!(recalls.take(17, 70).is_some() && recalls.take(17, 0).is_none());
    }
}
