//! `latest` mode: the newest record per key, at most once per interval.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::{DeliverHeader, Position, flags};

use super::pull::Pull;
use super::selection::{Selection, SelectionKey};
use super::session::{Mode, Owner};
use super::{CursorId, Dispatcher, Target, Turn};
use crate::topic::{Batch, Slot, TopicKey};

/// Bytes of batches that one selection may look at: it must fit a frame.
const SOURCE_BYTES_MAX: usize = 1024 * 1024;

impl Dispatcher {
    /// One turn of a conflated cursor in one topic.
    pub(super) fn pull_topic_latest(
        &mut self,
        id: CursorId,
        owner: Owner,
        pull: &mut Pull<'_>,
    ) -> Turn {
        let Some((view, next)) = self.topic_place(id) else {
            return self.not_started(id, owner, pull).unwrap_or(Turn::More);
        };
        let Some(view) = self.topics.get(view).filter(|view| view.ready) else {
            return Turn::Done;
        };
        if next < view.ring.first() {
            return self.topic_gap(id, owner, pull);
        }
        if next >= view.ring.next() {
            return Turn::Done;
        }
        if !pull.has_room(self, owner) {
            return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
        }
        let (name, epoch) = (view.name.clone(), view.epoch);
        let mut batches = core::mem::take(&mut self.looked_at);
        take_within(&mut batches, view.ring.from(next));
        if !self.warm_all(id, &mut batches) {
            batches.clear();
            self.looked_at = batches;
            return Turn::Blocked;
        }
        let from = self.reported(id).unwrap_or(next);
        let chosen = self.newest_per_key(owner, from, &batches);
        batches.clear();
        self.looked_at = batches;
        if chosen.count == 0 {
            self.advance(id, chosen.next, false);
            return Turn::More;
        }
        let header = DeliverHeader {
            sub: owner.sub,
            topic: name.as_str(),
            epoch,
            from,
            next: chosen.next,
            time_ms: chosen.time_ms,
            position: self.partition_position(id, epoch, chosen.next),
            offsets: chosen.offsets.as_deref(),
            body_len: chosen.body.len(),
        };
        self.deliver(owner, &header, &chosen.body, chosen.count, pull);
        self.advance(id, chosen.next, true);
        self.set_due(id, owner);
        self.wake_if_behind(id)
    }

    /// One turn of a conflated cursor in a shard: a delivery per topic that has changed.
    pub(super) fn pull_pattern_latest(
        &mut self,
        id: CursorId,
        owner: Owner,
        pull: &mut Pull<'_>,
    ) -> Turn {
        let Some(Target::Pattern(target)) = self.cursors.get(id).map(|c| &c.target) else {
            return Turn::Ended;
        };
        if target.begins_anew {
            return self.new_history(id, owner, pull).unwrap_or(Turn::More);
        }
        let (shard, pattern, position) = (target.shard, target.pattern, target.position);
        let Some(view) = self.shards.get(usize::from(shard)) else { return Turn::Ended };
        let (first, next, epoch) = (view.log.first(), view.log.next(), view.epoch);
        let Some(start) = position.filter(|position| *position < next) else {
            self.caught_up(id, next);
            return Turn::Done;
        };
        if !pull.has_room(self, owner) {
            return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
        }
        if start < first {
            return self.pattern_gap(id, owner, start, first, pull);
        }
        let mut by_topic: BTreeMap<TopicKey, Vec<Arc<Batch>>> = BTreeMap::new();
        let (mut end, mut bytes) = (start, 0);
        while let Some(Slot::Live(batch)) = self.next_slot(shard, &mut end, next) {
            if !self.sees(owner, shard, pattern, &batch.topic, batch.key()) {
                continue;
            }
            bytes += batch.body.len();
            if bytes > SOURCE_BYTES_MAX && !by_topic.is_empty() {
                end -= 1;
                break;
            }
            let warm = match by_topic.is_empty() {
                true => self.warm(id, batch),
                false => self.warm_now(batch),
            };
            let Some(batch) = warm else {
                end -= 1;
                break;
            };
            by_topic.entry(batch.key()).or_default().push(batch);
        }
        if by_topic.is_empty() && self.cursors.get(id).is_none_or(|cursor| cursor.recalls != 0) {
            self.set_position(id, Some(end));
            return Turn::Blocked;
        }
        let last = by_topic.len();
        for (index, batches) in by_topic.values().enumerate() {
            // Only the last of them moves the position, so a cut between two loses nothing.
            let at = if index + 1 == last { end } else { start };
            let position = Position(u64::from(shard), epoch, at);
            self.deliver_newest(owner, batches, position, pull);
        }
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.position = (end < next).then_some(end);
            target.reported = if last > 0 { end } else { target.reported };
        }
        self.set_due(id, owner);
        if end < next { self.wake_later(id) } else { Turn::Done }
    }

    /// Brings the records of these batches into memory, or of as many as are there; false if the
    /// cursor has to wait for the first one.
    fn warm_all(&mut self, id: CursorId, batches: &mut Vec<Arc<Batch>>) -> bool {
        let is_cold = |batch: &Arc<Batch>| batch.body.is_cold();
        let Some(from) = batches.iter().position(is_cold) else { return true };
        for (at, batch) in batches.split_off(from).into_iter().enumerate() {
            let warm = match from + at {
                0 => self.warm(id, batch),
                _ => self.warm_now(batch),
            };
            match warm {
                Some(batch) => batches.push(batch),
                None => break,
            }
        }
        !batches.is_empty()
    }

    /// The slot at `end`, which moves on; batches that are gone are passed over, since a newer
    /// record has superseded what they held.
    fn next_slot(&self, shard: u16, end: &mut u64, next: u64) -> Option<Slot> {
        let view = self.shards.get(usize::from(shard))?;
        while *end < next {
            let slot = view.log.slot(*end)?;
            *end += 1;
            if matches!(slot, Slot::Live(_)) {
                return Some(slot.clone());
            }
        }
        None
    }

    fn deliver_newest(
        &mut self,
        owner: Owner,
        batches: &[Arc<Batch>],
        position: Position,
        pull: &mut Pull<'_>,
    ) {
        let Some(head) = batches.first() else { return };
        let chosen = self.newest_per_key(owner, head.base, batches);
        let header = DeliverHeader {
            sub: owner.sub,
            topic: head.topic.as_str(),
            epoch: head.epoch,
            from: head.base,
            next: chosen.next,
            time_ms: chosen.time_ms,
            position: Some(position),
            offsets: chosen.offsets.as_deref(),
            body_len: chosen.body.len(),
        };
        if chosen.count > 0 {
            self.deliver(owner, &header, &chosen.body, chosen.count, pull);
        }
    }

    fn newest_per_key(
        &mut self,
        owner: Owner,
        from: u64,
        batches: &[Arc<Batch>],
    ) -> Arc<Selection> {
        let filter = self.filter_of(owner);
        let first = batches.first();
        let key = SelectionKey {
            shard: first.map_or(0, |batch| batch.shard),
            topic: first.map_or(TopicKey { id: 0, epoch: 0 }, |batch| batch.key()),
            from,
            next: batches.last().map_or(from, |batch| batch.next()),
            mode: Mode::Latest,
            filter: filter.as_ref().map(|(id, _)| *id),
        };
        self.selections.find_or_build(key, batches, filter.as_ref().map(|(_, filter)| &**filter))
    }

    /// The next delivery is due at the next multiple of the interval, so that subscribers of the
    /// same interval are served together and share their selections.
    pub(super) fn set_due(&mut self, id: CursorId, owner: Owner) {
        let asked_ms = self.subs.get(owner.entry).map_or(0, |entry| entry.interval_ms);
        let (interval_ms, now_ms) = (asked_ms.max(self.interval_ms_min), self.now_ms);
        if let Some(cursor) = self.cursors.get_mut(id)
            && let Some(rounds) = now_ms.checked_div(interval_ms)
        {
            cursor.due_ms = (rounds + 1).saturating_mul(interval_ms);
        }
    }

    /// From now on the newest value of something goes to the same follower at most once in so long;
    /// 0: as often as it has asked for. Watchers are told by the flag `stale`.
    pub fn widen(&mut self, interval_ms: u64) {
        self.interval_ms_min = interval_ms;
    }

    /// The flags of an update of a cell that is as of `behind_ms`, or that comes more seldom than was
    /// asked for; with how old the value may get.
    pub(super) fn stale_flags(&self, owner: Owner, behind_ms: Option<u64>) -> u64 {
        let asked_ms = self.subs.get(owner.entry).map_or(0, |entry| entry.interval_ms);
        let (seldom, interval_ms) = match self.interval_ms_min > asked_ms {
            true => (flags::STALE, self.interval_ms_min),
            false => (0, 0),
        };
        let behind = if behind_ms.is_some() { flags::BEHIND } else { 0 };
        let age_ms = behind_ms.map_or(0, |at_ms| self.now_ms.saturating_sub(at_ms));
        seldom | behind | (interval_ms + age_ms) << flags::INTERVAL_SHIFT
    }

    fn wake_if_behind(&mut self, id: CursorId) -> Turn {
        let behind = self
            .topic_place(id)
            .and_then(|(view, next)| self.topics.get(view).map(|view| next < view.ring.next()));
        if behind == Some(true) { self.wake_later(id) } else { Turn::Done }
    }

    /// Ends the turn of a cursor that has more, but not before its time.
    pub(super) fn wake_later(&mut self, id: CursorId) -> Turn {
        let Some(cursor) = self.cursors.get_mut(id) else { return Turn::Ended };
        if cursor.due_ms <= self.now_ms {
            return Turn::More;
        }
        cursor.queued = false;
        self.wake(id);
        Turn::Blocked
    }
}

/// Appends the batches that one selection may look at: at least one, and together no more than a
/// frame.
fn take_within<'a>(taken: &mut Vec<Arc<Batch>>, batches: impl Iterator<Item = &'a Arc<Batch>>) {
    let mut bytes = 0;
    for batch in batches {
        bytes += batch.body.len();
        if bytes > SOURCE_BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push(Arc::clone(batch));
    }
}
