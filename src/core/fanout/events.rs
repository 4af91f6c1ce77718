//! Events of shards, which keep a dispatcher's copies equal to them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::{Name, Refusal};

use super::view::TOMBSTONES_MAX;
use super::watched::ViewValue;
use super::{CursorId, Dispatcher, Target};
use crate::cell::Keyed;
use crate::hash_map;
use crate::shard::{CellValue, Event, KeyedEntry, Reply};
use crate::topic::{Batch, CommitLog, PatternId, Ring, TopicId};

impl Dispatcher {
    /// Takes in what a shard says. Events of one shard must come in the order of its rounds.
    pub fn apply(&mut self, event: Event, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match event {
            Event::Reply { session, stream, req, reply } => {
                self.answer(session, stream, req, reply);
            }
            Event::Published { session, stream, epoch, level, acks } => {
                for (req, offset) in acks {
                    let duplicate = false;
                    let published = |offset| {
                        let offset = Some(offset);
                        Reply::Published { epoch, offset, level, duplicate }
                    };
                    let reply = offset.map_or(Reply::Silent, published);
                    self.answer(session, stream, req, reply);
                }
            }
            Event::TopicSnapshot { shard, name, topic_id, epoch, next, batches } => {
                self.topic_snapshot(&(shard, name), topic_id, epoch, next, batches);
            }
            Event::TopicRefused { shard, name, refusal } => {
                self.topic_refused(&(shard, name), &refusal);
            }
            Event::Appended { batch, first, evicted } => self.appended(&batch, first, &evicted),
            Event::Trimmed { shard, topic_id, first, evicted } => {
                self.trimmed(shard, topic_id, first, &evicted);
            }
            Event::Cooled { batches } => self.cooled(&batches),
            Event::Recalled { shard, recalled } => self.recalled(shard, &recalled),
            Event::LogSnapshot { shard, epoch, base, slots } => {
                self.log_snapshot(shard, epoch, CommitLog::of(base, slots));
                self.start_waiting_patterns();
            }
            Event::Cell { shard, kind, name, version, epoch, value, snapshot } => {
                let Some(index) = self.cell_names.get(&(kind, name)).copied() else { return };
                if self.cells.get(index).is_some_and(|view| view.poll.is_some()) {
                    self.poll_event(index, shard, version, epoch, value, snapshot);
                } else {
                    self.cell_event(index, version, epoch, value, snapshot);
                }
            }
            Event::Leased { topic, epoch, partition, lease } => {
                self.leased(&topic, epoch, partition, lease);
            }
            Event::ConsumerEnded { member, refusal } => self.consumer_ended(member, refusal),
            Event::Forward(commands) => self.outgoing.extend(commands),
            Event::Renumbered { shard } => self.renumbered(shard),
            Event::Behind { shard, as_of_ms } => self.set_behind(shard, as_of_ms),
        }
    }

    /// The view that a snapshot (or the refusal of one) is for. A view that was made while earlier
    /// snapshots were still under way waits for its own: the topic may have been removed and made
    /// anew since those.
    fn answered_view(&mut self, place: &(u16, Name)) -> Option<usize> {
        if let Some(due) = self.snapshots_due.get_mut(place) {
            *due -= 1;
            if *due == 0 {
                self.snapshots_due.remove(place);
            }
        }
        let index = self.topic_names.get(place).copied()?;
        let view = self.topics.get_mut(index)?;
        view.answered += 1;
        (view.ready || view.answered >= view.asked).then_some(index)
    }

    fn topic_snapshot(
        &mut self,
        place: &(u16, Name),
        topic_id: TopicId,
        epoch: u64,
        next: u64,
        batches: Vec<Arc<Batch>>,
    ) {
        let Some(index) = self.answered_view(place) else { return };
        let Some(view) = self.topics.get_mut(index) else { return };
        let base = batches.first().map_or(next, |batch| batch.base);
        view.ring = Ring::starting_at(base);
        for batch in batches {
            let appended = view.ring.append(batch);
            debug_assert!(appended, "a snapshot has no holes");
        }
        let is_other_history = view.ready && view.epoch != epoch;
        if is_other_history {
            self.recalls.forget_shard(view.shard);
        }
        let (shard, old_id) = (view.shard, view.id);
        view.id = topic_id;
        view.epoch = epoch;
        view.ready = true;
        let followers = view.followers.clone();
        // A shard that was made again numbers its topics anew; another one may have the old number.
        if self.topic_ids.get(&(shard, old_id)) == Some(&index) {
            self.topic_ids.remove(&(shard, old_id));
        }
        self.topic_ids.insert((shard, topic_id), index);
        for cursor in followers {
            if is_other_history {
                self.begin_anew(cursor);
            }
            self.start_cursor(cursor);
            // A view that was asked for again may have more than before.
            self.wake(cursor);
        }
    }

    fn topic_refused(&mut self, place: &(u16, Name), refusal: &Refusal) {
        let Some(index) = self.answered_view(place) else { return };
        let followers = self.topics.get(index).map(|view| view.followers.clone());
        for cursor in followers.unwrap_or_default() {
            let Some(owner) = self.cursors.get(cursor).map(|c| c.owner) else { continue };
            self.refuse_sub(owner, refusal.clone());
        }
    }

    pub(super) fn log_snapshot(&mut self, shard: u16, epoch: u64, log: CommitLog) {
        let Some(view) = self.shards.get_mut(usize::from(shard)) else { return };
        let known_to = view.log.next();
        let is_other_history = view.was_told && view.epoch != epoch;
        view.epoch = epoch;
        view.log = log;
        (view.ready, view.was_told) = (true, true);
        view.matches = hash_map(self.seed);
        if is_other_history {
            self.recalls.forget_shard(shard);
            return self.begin_log_anew(shard);
        }
        // As with topics it may be the second one: whoever had caught up goes on from there.
        let followers: Vec<CursorId> = view.by_pattern.values().flatten().copied().collect();
        for id in followers {
            if let Some(Target::Pattern(cursor)) = self.cursors.get_mut(id).map(|c| &mut c.target)
                && cursor.started
            {
                cursor.position.get_or_insert(known_to);
                self.wake(id);
            }
        }
    }

    pub(super) fn appended(&mut self, batch: &Arc<Batch>, first: u64, evicted: &[u64]) {
        let key = (batch.shard, batch.topic_id);
        if let Some(index) = self.topic_ids.get(&key).copied()
            && let Some(view) = self.topics.get_mut(index)
            && view.ring.append(Arc::clone(batch))
        {
            view.ring.trim(first);
            let followers = core::mem::take(&mut view.followers);
            for cursor in &followers {
                self.wake(*cursor);
            }
            if let Some(view) = self.topics.get_mut(index) {
                view.followers = followers;
            }
        }
        self.appended_to_log(batch, evicted);
    }

    pub(super) fn appended_to_log(&mut self, batch: &Arc<Batch>, evicted: &[u64]) {
        let Some(view) = self.shards.get_mut(usize::from(batch.shard)) else { return };
        if !view.ready || !view.log.append(Arc::clone(batch)) {
            return;
        }
        for sequence in evicted {
            view.log.remove(*sequence);
        }
        let matching = self.matching(batch.shard, &batch.topic, batch.key());
        for pattern in matching.iter() {
            let Some(followers) = self.followers_of(batch.shard, *pattern) else { continue };
            let followers = core::mem::take(followers);
            for id in &followers {
                self.wake_at(*id, batch.sequence);
            }
            if let Some(place) = self.followers_of(batch.shard, *pattern) {
                *place = followers;
            }
        }
    }

    fn followers_of(&mut self, shard: u16, pattern: PatternId) -> Option<&mut Vec<CursorId>> {
        self.shards.get_mut(usize::from(shard))?.by_pattern.get_mut(&pattern)
    }

    /// A batch that matches a cursor's pattern has come. Whoever had caught up has seen everything
    /// that matches before it.
    fn wake_at(&mut self, id: CursorId, sequence: u64) {
        if let Some(Target::Pattern(cursor)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            if !cursor.started {
                return;
            }
            cursor.position.get_or_insert(sequence);
        }
        self.wake(id);
    }

    pub(super) fn trimmed(&mut self, shard: u16, topic_id: TopicId, first: u64, evicted: &[u64]) {
        if let Some(view) =
            self.topic_ids.get(&(shard, topic_id)).and_then(|index| self.topics.get_mut(*index))
        {
            view.ring.trim(first);
        }
        if let Some(view) = self.shards.get_mut(usize::from(shard)).filter(|view| view.ready) {
            for sequence in evicted {
                view.log.remove(*sequence);
            }
        }
    }

    /// Records have left memory: copies let go of them as well.
    fn cooled(&mut self, batches: &[Arc<Batch>]) {
        for batch in batches {
            let key = (batch.shard, batch.topic_id);
            if let Some(index) = self.topic_ids.get(&key)
                && let Some(view) = self.topics.get_mut(*index).filter(|view| view.ready)
                && view.epoch == batch.epoch
            {
                view.ring.replace(Arc::clone(batch));
            }
            if let Some(view) = self.shards.get_mut(usize::from(batch.shard))
                && view.ready
            {
                view.log.replace(Arc::clone(batch));
            }
        }
    }

    pub(super) fn cell_event(
        &mut self,
        index: usize,
        version: u64,
        epoch: u64,
        value: CellValue,
        snapshot: bool,
    ) {
        let Some(view) = self.cells.get_mut(index) else { return };
        if !view.ready && !snapshot {
            return;
        }
        if let CellValue::Refused(refusal) = &value {
            return self.refuse_watchers(index, refusal);
        }
        view.outdate(&mut self.large);
        view.epoch = epoch;
        view.version = version;
        match value {
            // A partition comes from a poll that has partitions only.
            CellValue::Refused(_) | CellValue::Part(..) => {}
            CellValue::Absent => {
                view.value = ViewValue::Absent;
                view.info = None;
            }
            CellValue::Whole { value, info } => {
                view.value = ViewValue::Whole(value);
                if info.is_some() {
                    view.info = info;
                }
            }
            CellValue::Entries { full, entries } => merge(&mut view.value, entries, version, full),
        }
        view.ready = true;
        let followers = core::mem::take(&mut view.followers);
        for cursor in &followers {
            if snapshot {
                self.start_watch(*cursor);
            }
            self.wake(*cursor);
        }
        if let Some(view) = self.cells.get_mut(index) {
            view.followers = followers;
        }
    }

    pub(super) fn refuse_watchers(&mut self, index: usize, refusal: &Refusal) {
        let Some(view) = self.cells.get_mut(index) else { return };
        for cursor in view.followers.clone() {
            let waiting = self.cursors.get(cursor).and_then(|cursor| match &cursor.target {
                Target::Watch(target) if !target.started => Some(cursor.owner),
                Target::Watch(_) | Target::Topic(_) | Target::Pattern(_) => None,
            });
            if let Some(owner) = waiting {
                self.refuse_sub(owner, refusal.clone());
            }
        }
    }
}

/// Brings a copy of a map or presence set up to date.
fn merge(value: &mut ViewValue, entries: Vec<KeyedEntry>, version: u64, full: bool) {
    if full || !matches!(value, ViewValue::Keyed(_)) {
        *value = ViewValue::Keyed(Keyed::replica(TOMBSTONES_MAX, version));
    }
    let ViewValue::Keyed(keyed) = value else { return };
    for entry in entries {
        keyed.apply(&entry.key, entry.version, entry.value);
    }
    keyed.advance(version);
}
