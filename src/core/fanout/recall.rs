//! Recalling: cursors that come to records which are on disk only wait until these have been read.
//!
//! What is read is an extent: records of all topics of a shard that were committed together. It is
//! kept for a while, for other cursors at about the same place, and the ones behind it are asked
//! for while it is being sent. A cursor asks only when its connection takes more, so what slow
//! connections have still to get stays on disk.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use super::session::Owner;
use super::{CursorId, Dispatcher};
use crate::shard::{Command, Recalled};
use crate::topic::Batch;

/// Recalls of one dispatcher that are under way at the same time, of all shards.
const UNDER_WAY_MAX: usize = 8;
/// Extents that are asked for before a cursor comes to them.
const AHEAD: usize = 2;

/// What a dispatcher has recalled, and who waits for what.
#[derive(Debug)]
pub(super) struct Recalls {
    bytes_max: usize,
    bytes: usize,
    /// Least recently used first; there are few.
    held: VecDeque<Held>,
    /// Shard and sequence that were asked for.
    under_way: Vec<(u16, u64)>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Held {
    shard: u16,
    recalled: Arc<Recalled>,
    bytes: usize,
    /// Whether a cursor has come to it.
    is_used: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    shard: u16,
    sequence: u64,
    cursor: CursorId,
}

impl Recalls {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            held: VecDeque::new(),
            under_way: Vec::new(),
            waiting: VecDeque::new(),
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
        let bodies = held.recalled.outcome.as_ref().ok()?;
        let found = bodies.binary_search_by_key(&sequence, |(sequence, _)| *sequence).ok()?;
        let (_, body) = bodies.get(found)?;
        let is_first = !core::mem::replace(&mut held.is_used, true);
        Some((body.clone(), is_first))
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
        self.under_way.len() < UNDER_WAY_MAX && !self.under_way.contains(&(shard, sequence))
    }

    fn hold(&mut self, shard: u16, recalled: &Arc<Recalled>) {
        let Ok(bodies) = &recalled.outcome else { return };
        if bodies.is_empty() || self.holds(shard, recalled.sequences.start).is_some() {
            return;
        }
        let bytes = bodies.iter().map(|(_, body)| body.len()).sum();
        self.bytes += bytes;
        let (recalled, is_used) = (Arc::clone(recalled), false);
        self.held.push_back(Held { shard, recalled, bytes, is_used });
        while self.bytes > self.bytes_max
            && self.held.len() > 1
            && let Some(oldest) = self.held.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
    }
}

impl Dispatcher {
    /// A batch with its records in memory, if they are there; otherwise the cursor waits for them.
    pub(super) fn warm(&mut self, id: CursorId, batch: Arc<Batch>) -> Option<Arc<Batch>> {
        if !batch.body.is_cold() {
            return Some(batch);
        }
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
                self.end_unreadable(id, "what was read is another record");
                None
            }
        }
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
        if core::mem::replace(&mut cursor.recalls, true) {
            return;
        }
        self.recalls.waiting.push_back(Waiting { shard, sequence, cursor: id });
        if self.recalls.may_ask(shard, sequence) {
            self.ask(shard, sequence);
        }
    }

    fn ask(&mut self, shard: u16, sequence: u64) {
        self.recalls.under_way.push((shard, sequence));
        self.outgoing.push_back((shard, Command::Recall(self.id, sequence)));
    }

    /// A cursor that waits is no more.
    pub(super) fn wait_no_more(&mut self, id: CursorId) {
        if self.cursors.get(id).is_some_and(|cursor| cursor.recalls) {
            self.recalls.waiting.retain(|waiting| waiting.cursor != id);
        }
    }

    /// What was recalled has come, or cannot be read.
    pub(super) fn recalled(&mut self, shard: u16, recalled: &Arc<Recalled>) {
        let is_of = |of: u16, sequence: u64| of == shard && recalled.sequences.contains(&sequence);
        self.recalls.under_way.retain(|(of, sequence)| !is_of(*of, *sequence));
        self.recalls.hold(shard, recalled);
        self.stats.recalls += 1;
        let waiting = core::mem::take(&mut self.recalls.waiting);
        let (served, left) = waiting
            .into_iter()
            .partition::<VecDeque<Waiting>, _>(|waiting| is_of(waiting.shard, waiting.sequence));
        self.recalls.waiting = left;
        for Waiting { cursor: id, .. } in served {
            let Some(cursor) = self.cursors.get_mut(id) else { continue };
            cursor.recalls = false;
            match &recalled.outcome {
                Ok(_) => self.wake(id),
                Err(reason) => self.end_unreadable(id, reason),
            }
        }
        let next = self.recalls.waiting.iter().find(|w| self.recalls.may_ask(w.shard, w.sequence));
        if let Some(Waiting { shard, sequence, .. }) = next.copied() {
            self.ask(shard, sequence);
        }
    }

    fn end_unreadable(&mut self, id: CursorId, reason: &str) {
        let Some(owner) = self.cursors.get(id).map(|cursor| cursor.owner) else { return };
        let message = alloc::format!(
            "subscription {} is ended: what comes next cannot be read from the journal ({reason}); \
             'tidewire admin verify' says what is damaged",
            owner.sub
        );
        self.end_with(owner, Refusal::new(ErrorCode::StorageFailed, message));
    }

    /// Ends a subscription that has begun, and says why.
    pub(super) fn end_with(&mut self, owner: Owner, refusal: Refusal) {
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
