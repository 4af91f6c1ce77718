//! Subscriptions on patterns: one position per shard, whatever the number of topics.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;

use bytes::Bytes;
use tidewire_protocol::ServerFrame;
use tidewire_protocol::frame::{DeliverHeader, Position, put_deliver_header};

use super::pull::{GAP_JUMPED, GAP_RETENTION, Gap, Pull};
use super::selection::SelectionKey;
use super::session::{Mode, OnGap, Owner};
use super::{CursorId, Dispatcher, Target, Turn};
use crate::HashMap;
use crate::topic::{Batch, Gone, PatternId, Slot, TopicKey};

/// Slots that one turn looks at, so that a rare pattern cannot hold up the core.
const SLOTS_PER_TURN: u64 = 4096;

/// A place in one shard's commit order.
#[derive(Debug)]
pub(super) struct PatternCursor {
    pub(super) pattern: PatternId,
    pub(super) shard: u16,
    /// Sequence of the next batch to look at; `None`: caught up.
    pub(super) position: Option<u64>,
    /// First offset to deliver of some topics (`last n` starts).
    pub(super) skip: Option<Box<HashMap<TopicKey, u64>>>,
    /// Sequence that the client knows as its position.
    pub(super) reported: u64,
    /// Whether the start has been resolved; before that nothing is delivered.
    pub(super) started: bool,
    /// What was seen is no part of the shard's history any more, and the subscriber is to be told.
    pub(super) begins_anew: bool,
}

impl Dispatcher {
    /// One turn of a pattern cursor.
    pub(super) fn pull_pattern(&mut self, id: CursorId, pull: &mut Pull<'_>) -> Turn {
        let mut looked_at = 0;
        loop {
            let Some(cursor) = self.cursors.get(id) else { return Turn::Ended };
            let owner = cursor.owner;
            let Target::Pattern(target) = &cursor.target else { return Turn::Ended };
            if target.begins_anew {
                match self.new_history(id, owner, pull) {
                    Some(turn) => return turn,
                    None => continue,
                }
            }
            let (shard, pattern) = (target.shard, target.pattern);
            let Some(view) = self.shards.get(usize::from(shard)) else { return Turn::Ended };
            let (first, next) = (view.log.first(), view.log.next());
            let Some(position) = target.position.filter(|position| *position < next) else {
                self.caught_up(id, next);
                return Turn::Done;
            };
            if position < first {
                let turn = self.pattern_gap(id, owner, position, first, pull);
                if turn != Turn::More || pull.budget <= 0 {
                    return turn;
                }
                continue;
            }
            if looked_at >= SLOTS_PER_TURN {
                return Turn::More;
            }
            looked_at += 1;
            let Some(found) = view.log.slot(position).cloned() else { return Turn::Done };
            let (name, key) = found.topic();
            let matched = self.sees(owner, shard, pattern, name, key);
            if matched {
                if !pull.has_room(self, owner) {
                    return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
                }
                match found {
                    Slot::Live(batch) => {
                        let Some(batch) = self.warm(id, batch) else { return Turn::Blocked };
                        self.deliver_by_pattern(id, owner, &batch, pull);
                    }
                    Slot::Gone(gone) => {
                        let Gone { topic, epoch, from, next, .. } = *gone;
                        if self.on_gap(owner) != OnGap::Continue {
                            return self.pattern_gap(id, owner, position, position + 1, pull);
                        }
                        let at = self.shards.get(usize::from(shard)).map_or(0, |view| view.epoch);
                        let gap = Gap {
                            topic: Some(topic),
                            epoch,
                            from,
                            next,
                            reason: GAP_RETENTION,
                            position: Some(Position(u64::from(shard), at, position + 1)),
                        };
                        self.send_gap(owner.sub, gap, pull);
                    }
                }
            }
            self.set_position(id, Some(position + 1));
        }
    }

    /// Nothing is left up to `next`; a position beyond it stays.
    pub(super) fn caught_up(&mut self, id: CursorId, next: u64) {
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.position = target.position.filter(|position| *position > next);
        }
    }

    pub(super) fn set_position(&mut self, id: CursorId, position: Option<u64>) {
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.position = position;
        }
    }

    /// The position has fallen off the commit log. Which topics it would have met is unknown.
    pub(super) fn pattern_gap(
        &mut self,
        id: CursorId,
        owner: Owner,
        position: u64,
        first: u64,
        pull: &mut Pull<'_>,
    ) -> Turn {
        let Some(Target::Pattern(target)) = self.cursors.get(id).map(|c| &c.target) else {
            return Turn::Ended;
        };
        let shard = target.shard;
        let (epoch, newest) = self
            .shards
            .get(usize::from(shard))
            .map_or((0, first), |view| (view.epoch, view.log.next()));
        let (next, reason) = match self.on_gap(owner) {
            OnGap::Continue => (first, GAP_RETENTION),
            OnGap::Newest => (newest, GAP_JUMPED),
            OnGap::End => {
                self.end_at_gap(owner, &format!("shard {shard}, {position} to {first}"));
                return Turn::Ended;
            }
        };
        // Told when delivery can go on: until then the gap may grow, and it stays one gap.
        if !pull.has_room(self, owner) {
            return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
        }
        let at = Some(Position(u64::from(shard), epoch, next));
        let gap = Gap { topic: None, epoch, from: position, next, reason, position: at };
        self.send_gap(owner.sub, gap, pull);
        self.set_position(id, Some(next));
        Turn::More
    }

    fn deliver_by_pattern(
        &mut self,
        id: CursorId,
        owner: Owner,
        batch: &Arc<Batch>,
        pull: &mut Pull<'_>,
    ) {
        let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) else {
            return;
        };
        let skip = target.skip.as_ref().and_then(|skip| skip.get(&batch.key()).copied());
        let from = skip.map_or(batch.base, |from| batch.base.max(from));
        // The shard's epoch, not the topic's: it says in which history the sequence counts.
        let epoch = self.shards.get(usize::from(batch.shard)).map_or(0, |view| view.epoch);
        let position = Position(u64::from(batch.shard), epoch, batch.sequence + 1);
        if from >= batch.next() {
            return;
        }
        let filter = self.filter_of(owner);
        let Some(body) = batch.body.warm() else { return };
        let body = batch.records_from(body, from);
        let chosen = filter.map(|(filter_id, filter)| {
            let key = SelectionKey {
                shard: batch.shard,
                topic: batch.key(),
                from,
                next: batch.next(),
                mode: Mode::Every,
                filter: Some(filter_id),
            };
            self.selections.find_or_build(key, core::slice::from_ref(batch), Some(&filter))
        });
        let (offsets, body, count) = match &chosen {
            None => (None, body, batch.next() - from),
            Some(chosen) if chosen.count == 0 => return,
            Some(chosen) => (chosen.offsets.as_deref(), chosen.body.clone(), chosen.count),
        };
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.reported = batch.sequence + 1;
        }
        let header = DeliverHeader {
            sub: owner.sub,
            topic: batch.topic.as_str(),
            epoch: batch.epoch,
            from,
            next: batch.next(),
            time_ms: batch.time_ms,
            position: Some(position),
            offsets,
            body_len: body.len(),
        };
        self.deliver(owner, &header, &body, count, pull);
    }

    /// Sends one DELIVER and takes it from the credit and the budget.
    pub(super) fn deliver(
        &mut self,
        owner: Owner,
        header: &DeliverHeader<'_>,
        body: &Bytes,
        records: u64,
        pull: &mut Pull<'_>,
    ) {
        pull.head.clear();
        put_deliver_header(pull.head, header);
        pull.send(owner.sub, body);
        self.stats.deliveries += 1;
        self.stats.records += records;
        self.stats.body_bytes += body.len() as u64;
        if !owner.is_plain
            && let Some(entry) = self.subs.get_mut(owner.entry)
        {
            let bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
            entry.credit = entry.credit.map(|credit| credit.saturating_sub(bytes));
        }
    }

    /// Tells how far pattern cursors have come without a match, so that a resume does not begin
    /// where records may be gone by then.
    pub(super) fn pattern_progress(&mut self, id: CursorId) -> Option<ServerFrame> {
        let cursor = self.cursors.get_mut(id)?;
        let Target::Pattern(target) = &mut cursor.target else { return None };
        if !target.started {
            return None;
        }
        let view = self.shards.get(usize::from(target.shard)).filter(|view| view.ready)?;
        let at = target.position.unwrap_or(view.log.next());
        if at == target.reported {
            return None;
        }
        target.reported = at;
        let position = Some(Position(u64::from(target.shard), view.epoch, at));
        let sub = cursor.owner.sub;
        Some(ServerFrame::Progress { sub, topic: None, epoch: 0, next: 0, position })
    }
}
