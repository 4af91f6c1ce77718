//! Pulling: a connection that is writable takes what its cursors have for it.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, DeliverHeader, Position};
use tidewire_protocol::options::Filter;
use tidewire_protocol::{ErrorCode, Name, Refusal, ServerFrame};

use super::filters::FilterId;
use super::selection::SelectionKey;
use super::session::{Mode, OnGap, Owner};
use super::sink::{Lane, Sink};
use super::{CursorId, Dispatcher, Target, Turn};
use crate::shard::SessionId;
use crate::topic::Batch;

/// Bytes that one cursor may send before the next one of its connection has its turn.
const TURN_BYTES: i64 = 64 * 1024;
/// Cost of a frame beyond its body at the least, so that small frames count as well.
const FRAME_COST_BYTES: usize = 32;
/// Records without a match after which a filtered subscription hears of its progress.
const PROGRESS_RECORDS: u64 = 10_000;

/// Retention removed the records before the subscriber took them.
pub(super) const GAP_RETENTION: u64 = 0;
/// The history is another one.
pub(super) const GAP_EPOCH: u64 = 1;
/// The subscription asked to jump to the newest record.
pub(super) const GAP_JUMPED: u64 = 2;

/// What a GAP says.
pub(super) struct Gap {
    pub(super) topic: Option<Name>,
    pub(super) epoch: u64,
    pub(super) from: u64,
    pub(super) next: u64,
    pub(super) reason: u64,
    pub(super) position: Option<Position>,
}

/// One pull's outbound side and what is left of its budget.
pub(super) struct Pull<'a> {
    sink: &'a mut dyn Sink,
    /// Bytes that this pull may still send.
    pub(super) budget: i64,
    /// Bytes that this turn may still send.
    pub(super) turn: i64,
    pub(super) head: &'a mut Vec<u8>,
}

impl Pull<'_> {
    /// Whether a subscription may send a frame now.
    pub(super) fn has_room(&mut self, dispatcher: &Dispatcher, owner: Owner) -> bool {
        let has_credit = owner.is_plain || {
            let credit = dispatcher.subs.get(owner.entry).and_then(|entry| entry.credit);
            credit.is_none_or(|credit| credit > 0)
        };
        self.budget > 0 && has_credit && self.sink.is_open(Lane::Sub(owner.sub))
    }

    /// Sends the frame whose head has been written, and `shared` behind it.
    pub(super) fn send(&mut self, sub: u32, shared: &Bytes) {
        self.send_on(Lane::Sub(sub), shared);
    }

    pub(super) fn send_on(&mut self, lane: Lane, shared: &Bytes) {
        self.sink.frame(lane, self.head, shared);
        let bytes = self.head.len().max(FRAME_COST_BYTES).saturating_add(shared.len());
        let cost = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.budget = self.budget.saturating_sub(cost);
        self.turn = self.turn.saturating_sub(cost);
    }

    pub(super) fn send_frame(&mut self, sub: u32, frame: &ServerFrame) {
        self.head.clear();
        frame.encode(self.head);
        self.send(sub, &Bytes::new());
    }
}

impl Dispatcher {
    /// Lets a connection take up to about `budget` bytes: first its replies, then its cursors in
    /// turn. Returns whether there is more. `head` is scratch memory.
    pub fn pull(
        &mut self,
        id: SessionId,
        budget: usize,
        now_ms: u64,
        head: &mut Vec<u8>,
        sink: &mut dyn Sink,
    ) -> bool {
        self.now_ms = self.now_ms.max(now_ms);
        let Some(slot) = self.slot(id) else { return false };
        let budget = i64::try_from(budget).unwrap_or(i64::MAX);
        let mut pull = Pull { sink, budget, turn: 0, head };
        self.pull_replies(slot, &mut pull);
        while pull.budget > 0 {
            let Some(cursor) = self.dequeue(slot) else { break };
            pull.turn = TURN_BYTES;
            let turn = self.turn(cursor, &mut pull);
            self.end_turn(slot, cursor, turn);
        }
        // A turn may have ended subscriptions.
        self.pull_replies(slot, &mut pull);
        let Some(session) = self.sessions.get(slot) else { return false };
        let more = session.has_work();
        if more {
            self.mark_ready(slot);
        }
        more
    }

    fn pull_replies(&mut self, slot: usize, pull: &mut Pull<'_>) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if !core::mem::take(&mut session.has_replies) {
            return;
        }
        for sub in core::mem::take(&mut session.rest.ended) {
            pull.sink.finish(sub);
        }
        session.drain_outbox(|stream, frames| pull.sink.control(stream, frames));
        for (sub, progress) in core::mem::take(&mut session.rest.progress) {
            pull.send_frame(sub, &progress);
        }
    }

    fn end_turn(&mut self, slot: usize, id: CursorId, turn: Turn) {
        match turn {
            Turn::More => {
                self.enqueue(slot, id);
            }
            Turn::Done | Turn::Blocked => {
                if let Some(cursor) = self.cursors.get_mut(id) {
                    cursor.queued = false;
                }
            }
            Turn::Ended => {}
        }
    }

    fn turn(&mut self, id: CursorId, pull: &mut Pull<'_>) -> Turn {
        let Some(cursor) = self.cursors.get_mut(id) else { return Turn::Ended };
        if cursor.due_ms > self.now_ms {
            cursor.queued = false;
            self.wake(id);
            return Turn::Blocked;
        }
        let owner = cursor.owner;
        if core::mem::take(&mut cursor.opens)
            && let Some(opening) = self.subs.get_mut(owner.entry).and_then(|s| s.opening.take())
        {
            if let Some(entry) = self.subs.get_mut(owner.entry) {
                entry.is_open = true;
            }
            *pull.head = opening;
            pull.send(owner.sub, &Bytes::new());
        }
        let mode = match owner.is_plain {
            true => Mode::Every,
            false => self.subs.get(owner.entry).map_or(Mode::Every, |entry| entry.mode),
        };
        match (&self.cursors.get(id).map(|cursor| &cursor.target), mode) {
            (Some(Target::Topic(_)), Mode::Every) => self.pull_topic(id, owner, pull),
            (Some(Target::Topic(_)), Mode::Latest) => self.pull_topic_latest(id, owner, pull),
            (Some(Target::Pattern(_)), Mode::Every) => self.pull_pattern(id, pull),
            (Some(Target::Pattern(_)), Mode::Latest) => self.pull_pattern_latest(id, owner, pull),
            (Some(Target::Watch(_)), _) => self.pull_watch(id, owner, pull),
            (None, _) => Turn::Ended,
        }
    }

    /// One turn of a cursor that takes every record of a topic.
    fn pull_topic(&mut self, id: CursorId, owner: Owner, pull: &mut Pull<'_>) -> Turn {
        loop {
            let Some((view, next)) = self.topic_place(id) else {
                match self.not_started(id, owner, pull) {
                    Some(turn) => return turn,
                    None => continue,
                }
            };
            let Some(view) = self.topics.get(view).filter(|view| view.ready) else {
                return Turn::Done;
            };
            if next < view.ring.first() {
                let turn = self.topic_gap(id, owner, pull);
                if turn != Turn::More || pull.budget <= 0 {
                    return turn;
                }
                continue;
            }
            let Some(batch) = view.ring.find(next).cloned() else { return Turn::Done };
            if !pull.has_room(self, owner) {
                return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
            }
            if pull.turn <= 0 {
                return Turn::More;
            }
            let Some(batch) = self.warm(id, batch) else { return Turn::Blocked };
            self.deliver_batch(id, owner, &batch, next, pull);
        }
    }

    pub(super) fn filter_of(&self, owner: Owner) -> Option<(FilterId, Arc<Filter>)> {
        match owner.is_plain {
            true => None,
            false => self.subs.get(owner.entry)?.filter.clone(),
        }
    }

    pub(super) fn topic_place(&self, id: CursorId) -> Option<(usize, u64)> {
        match &self.cursors.get(id)?.target {
            Target::Topic(target) if target.start.is_none() => Some((target.view, target.next)),
            Target::Topic(_) | Target::Pattern(_) | Target::Watch(_) => None,
        }
    }

    fn deliver_batch(
        &mut self,
        id: CursorId,
        owner: Owner,
        batch: &Arc<Batch>,
        from: u64,
        pull: &mut Pull<'_>,
    ) {
        let filter = self.filter_of(owner);
        let mut header = DeliverHeader {
            sub: owner.sub,
            topic: batch.topic.as_str(),
            epoch: batch.epoch,
            from,
            next: batch.next(),
            time_ms: batch.time_ms,
            position: self.partition_position(id, batch.epoch, batch.next()),
            offsets: None,
            body_len: 0,
        };
        let Some((filter_id, filter)) = filter else {
            let Some(body) = batch.body.warm() else { return };
            let body = batch.records_from(body, from);
            header.body_len = body.len();
            self.deliver(owner, &header, &body, batch.next() - from, pull);
            return self.advance(id, batch.next(), true);
        };
        let key = SelectionKey {
            shard: batch.shard,
            topic: batch.key(),
            from,
            next: batch.next(),
            mode: Mode::Every,
            filter: Some(filter_id),
        };
        let batches = core::slice::from_ref(batch);
        let chosen = self.selections.find_or_build(key, batches, Some(&filter));
        if chosen.count > 0 {
            // Records that were passed over belong to the range, so that ranges leave no hole.
            let reported = self.reported(id).unwrap_or(from);
            let behind = from - reported;
            let mut shifted = core::mem::take(&mut self.offsets);
            shifted.clear();
            match &chosen.offsets {
                Some(offsets) => shifted.extend(offsets.iter().map(|offset| offset + behind)),
                None if behind > 0 => shifted.extend(behind..behind + chosen.count),
                None => {}
            }
            header.from = reported;
            header.offsets = (!shifted.is_empty()).then_some(shifted.as_slice());
            header.body_len = chosen.body.len();
            self.deliver(owner, &header, &chosen.body, chosen.count, pull);
            self.offsets = shifted;
            return self.advance(id, batch.next(), true);
        }
        self.advance(id, batch.next(), false);
        if self.reported(id).is_some_and(|reported| batch.next() - reported >= PROGRESS_RECORDS)
            && let Some(progress) = self.topic_progress(id)
        {
            pull.send_frame(owner.sub, &progress);
        }
    }

    pub(super) fn reported(&self, id: CursorId) -> Option<u64> {
        match &self.cursors.get(id)?.target {
            Target::Topic(target) => Some(target.reported),
            Target::Pattern(_) | Target::Watch(_) => None,
        }
    }

    /// Moves a cursor on; `reported`: the client has been told.
    pub(super) fn advance(&mut self, id: CursorId, next: u64, reported: bool) {
        if let Some(Target::Topic(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.next = next;
            if reported {
                target.reported = next;
            }
        }
    }

    /// Tells how far a filtered subscription has come without a match.
    pub(super) fn topic_progress(&mut self, id: CursorId) -> Option<ServerFrame> {
        let cursor = self.cursors.get_mut(id)?;
        let Target::Topic(target) = &mut cursor.target else { return None };
        let view = self.topics.get(target.view).filter(|view| view.ready)?;
        if target.start.is_some() || target.next == target.reported {
            return None;
        }
        target.reported = target.next;
        Some(ServerFrame::Progress {
            sub: cursor.owner.sub,
            topic: Some(view.name.clone()),
            epoch: view.epoch,
            next: target.next,
            position: target.position(view.epoch, target.next),
        })
    }

    /// The cursor has fallen off what the topic keeps.
    pub(super) fn topic_gap(&mut self, id: CursorId, owner: Owner, pull: &mut Pull<'_>) -> Turn {
        let Some((view, next)) = self.topic_place(id) else { return Turn::Ended };
        let Some(view) = self.topics.get(view) else { return Turn::Ended };
        let (name, epoch) = (view.name.clone(), view.epoch);
        let (first, newest) = (view.ring.first(), view.ring.next());
        let from = self.reported(id).unwrap_or(next).min(next);
        let (to, reason) = match self.on_gap(owner) {
            OnGap::Continue => (first, GAP_RETENTION),
            OnGap::Newest => (newest, GAP_JUMPED),
            OnGap::End => {
                let missing = format!("topic '{name}', records {next} to {first}");
                self.end_at_gap(owner, &missing);
                return Turn::Ended;
            }
        };
        // Told when delivery can go on: until then the gap may grow, and it stays one gap.
        if !pull.has_room(self, owner) {
            return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
        }
        if from < next
            && let Some(progress) = self.topic_progress(id)
        {
            pull.send_frame(owner.sub, &progress);
        }
        let position = self.partition_position(id, epoch, to);
        let gap = Gap { topic: Some(name), epoch, from: next, next: to, reason, position };
        self.send_gap(owner.sub, gap, pull);
        self.advance(id, to, true);
        Turn::More
    }

    pub(super) fn on_gap(&self, owner: Owner) -> OnGap {
        self.subs.get(owner.entry).map_or(OnGap::Continue, |entry| entry.on_gap)
    }

    pub(super) fn send_gap(&mut self, sub: u32, gap: Gap, pull: &mut Pull<'_>) {
        let Gap { topic, epoch, from, next, reason, position } = gap;
        self.stats.gaps += 1;
        let frame = ServerFrame::Gap { sub, topic, epoch, from, next, reason, position };
        pull.send_frame(sub, &frame);
    }

    /// The subscription has asked to be ended at a gap.
    pub(super) fn end_at_gap(&mut self, owner: Owner, missing: &str) {
        let sub = owner.sub;
        let refusal = Refusal::new(
            ErrorCode::TooSlow,
            format!("subscription {sub} is ended: it fell behind what is kept ({missing})"),
        );
        self.end_with(owner, refusal);
    }

    /// Whether a kind of cell can be watched.
    pub(super) fn can_watch(kind: CellKind) -> bool {
        match kind {
            CellKind::Counter | CellKind::Tally | CellKind::Map | CellKind::Presence => true,
            CellKind::Topic | CellKind::Rounds => false,
        }
    }
}
