//! A dispatcher's copies of topics, commit logs and cells, and the events that keep them equal.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{Name, Refusal};

use super::watch::EncodedEntries;
use super::{CursorId, Dispatcher, Target};
use crate::cell::Keyed;
use crate::shard::{CellValue, Command, Event, Interest, KeyedEntry};
use crate::topic::{Batch, CommitLog, PatternId, Ring, TopicId};
use crate::{HashMap, hash_map, shard_of};

/// Topics whose matching patterns a shard's view remembers.
const MATCHES_MAX: usize = 100_000;
/// Tombstones that a copy of a map or presence set keeps.
const TOMBSTONES_MAX: usize = 1024;

/// The copy of one topic.
#[derive(Debug)]
pub(super) struct TopicView {
    pub(super) name: Name,
    pub(super) shard: u16,
    pub(super) id: TopicId,
    pub(super) epoch: u64,
    pub(super) ring: Ring,
    /// Whether the snapshot has come.
    pub(super) ready: bool,
    /// Snapshots asked for and received.
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) followers: Vec<CursorId>,
}

/// The copy of one shard's commit log.
#[derive(Debug)]
pub(super) struct ShardView {
    pub(super) shard: u16,
    pub(super) epoch: u64,
    pub(super) log: CommitLog,
    pub(super) ready: bool,
    pub(super) by_pattern: HashMap<PatternId, Vec<CursorId>>,
    pub(super) matches: HashMap<TopicId, Arc<[PatternId]>>,
}

impl ShardView {
    pub(super) fn new(shard: u16, seed: u64) -> Self {
        Self {
            shard,
            epoch: 0,
            log: CommitLog::default(),
            ready: false,
            by_pattern: hash_map(seed),
            matches: hash_map(seed),
        }
    }
}

/// The copy of one cell.
#[derive(Debug)]
pub(super) struct CellView {
    pub(super) kind: CellKind,
    pub(super) name: Name,
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) value: ViewValue,
    pub(super) info: Option<Bytes>,
    pub(super) ready: bool,
    pub(super) followers: Vec<CursorId>,
    /// The last changes that were encoded, for the next watcher that needs the same.
    pub(super) encoded: Option<EncodedEntries>,
}

#[derive(Debug)]
pub(super) enum ViewValue {
    Absent,
    Whole(Bytes),
    Keyed(Keyed),
}

impl Dispatcher {
    /// Takes in what a shard says. Events of one shard must come in the order of its rounds.
    pub fn apply(&mut self, event: Event, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match event {
            Event::Reply { session, stream, req, reply } => {
                self.answer(session, stream, req, reply);
            }
            Event::TopicSnapshot { name, topic_id, epoch, next, batches } => {
                self.topic_snapshot(&name, topic_id, epoch, next, batches);
            }
            Event::Appended { batch, first, evicted } => self.appended(&batch, first, &evicted),
            Event::Trimmed { shard, topic_id, first, evicted } => {
                self.trimmed(shard, topic_id, first, &evicted);
            }
            Event::LogSnapshot { shard, epoch, base, slots } => {
                self.log_snapshot(shard, epoch, CommitLog::of(base, slots));
                self.start_waiting_patterns();
            }
            Event::Cell { kind, name, version, epoch, value, snapshot } => {
                self.cell_event(kind, &name, version, epoch, value, snapshot);
            }
        }
    }

    fn topic_snapshot(
        &mut self,
        name: &Name,
        topic_id: TopicId,
        epoch: u64,
        next: u64,
        batches: Vec<Arc<Batch>>,
    ) {
        if let Some(due) = self.snapshots_due.get_mut(name) {
            *due -= 1;
            if *due == 0 {
                self.snapshots_due.remove(name);
            }
        }
        let Some(index) = self.topic_names.get(name).copied() else { return };
        let Some(view) = self.topics.get_mut(index) else { return };
        let base = batches.first().map_or(next, |batch| batch.base);
        view.ring = Ring::starting_at(base);
        for batch in batches {
            let appended = view.ring.append(batch);
            debug_assert!(appended, "a snapshot has no holes");
        }
        view.id = topic_id;
        view.epoch = epoch;
        view.ready = true;
        view.answered += 1;
        self.topic_ids.insert((view.shard, topic_id), index);
        for cursor in view.followers.clone() {
            self.start_cursor(cursor);
            // It may not be the first snapshot: interest that ended and began again while one was
            // under way makes two, and only the last one holds what came in between.
            self.wake(cursor);
        }
    }

    fn log_snapshot(&mut self, shard: u16, epoch: u64, log: CommitLog) {
        let Some(view) = self.shards.get_mut(usize::from(shard)) else { return };
        let known_to = view.log.next();
        view.epoch = epoch;
        view.log = log;
        view.ready = true;
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

    fn appended(&mut self, batch: &Arc<Batch>, first: u64, evicted: &[u64]) {
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

    fn appended_to_log(&mut self, batch: &Arc<Batch>, evicted: &[u64]) {
        let Some(view) = self.shards.get_mut(usize::from(batch.shard)) else { return };
        if !view.ready || !view.log.append(Arc::clone(batch)) {
            return;
        }
        for sequence in evicted {
            view.log.remove(*sequence);
        }
        let matching = self.matching(batch.shard, &batch.topic, batch.topic_id);
        for pattern in matching.iter() {
            let followers = self
                .shards
                .get(usize::from(batch.shard))
                .and_then(|view| view.by_pattern.get(pattern))
                .cloned()
                .unwrap_or_default();
            for id in followers {
                if let Some(Target::Pattern(cursor)) =
                    self.cursors.get_mut(id).map(|cursor| &mut cursor.target)
                {
                    if !cursor.started {
                        continue;
                    }
                    // Whoever had caught up has seen everything that matches before this batch.
                    cursor.position.get_or_insert(batch.sequence);
                }
                self.wake(id);
            }
        }
    }

    /// The patterns in use that match a topic, remembered.
    pub(super) fn matching(&mut self, shard: u16, name: &Name, id: TopicId) -> Arc<[PatternId]> {
        let Some(view) = self.shards.get_mut(usize::from(shard)) else { return Arc::from([]) };
        if let Some(known) = view.matches.get(&id) {
            return Arc::clone(known);
        }
        let found: Arc<[PatternId]> = self.patterns.lookup(name).into();
        if view.matches.len() >= MATCHES_MAX {
            view.matches.clear();
        }
        view.matches.insert(id, Arc::clone(&found));
        found
    }

    fn trimmed(&mut self, shard: u16, topic_id: TopicId, first: u64, evicted: &[u64]) {
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

    fn cell_event(
        &mut self,
        kind: CellKind,
        name: &Name,
        version: u64,
        epoch: u64,
        value: CellValue,
        snapshot: bool,
    ) {
        let Some(index) = self.cell_names.get(&(kind, name.clone())).copied() else { return };
        let Some(view) = self.cells.get_mut(index) else { return };
        if !view.ready && !snapshot {
            return;
        }
        if let CellValue::Refused(refusal) = &value {
            return self.refuse_watchers(index, refusal);
        }
        view.encoded = None;
        view.epoch = epoch;
        view.version = version;
        match value {
            CellValue::Refused(_) => {}
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

    fn refuse_watchers(&mut self, index: usize, refusal: &Refusal) {
        let Some(view) = self.cells.get_mut(index) else { return };
        for cursor in view.followers.clone() {
            let waiting = self.cursors.get(cursor).and_then(|cursor| match &cursor.target {
                Target::Watch(target) if !target.started => Some((cursor.session, cursor.sub)),
                Target::Watch(_) | Target::Topic(_) | Target::Pattern(_) => None,
            });
            let Some((slot, sub)) = waiting else { continue };
            if let Some(session) = self.sessions.get_mut(slot)
                && let Some(origin) = session.subs.get(&sub).map(|sub| sub.origin)
            {
                self.stats.refusals += 1;
                session.refuse(origin, refusal.clone());
            }
            self.end_sub(slot, sub);
            self.mark_ready(slot);
        }
    }

    /// The copy of a topic, requested from its shard if nobody here follows it yet.
    pub(super) fn topic_view(&mut self, name: &Name) -> usize {
        if let Some(index) = self.topic_names.get(name) {
            return *index;
        }
        let shard = shard_of(name);
        let index = self.topics.insert(TopicView {
            name: name.clone(),
            shard,
            id: TopicId::MAX,
            epoch: 0,
            ring: Ring::default(),
            ready: false,
            asked: 0,
            answered: 0,
            followers: Vec::new(),
        });
        self.topic_names.insert(name.clone(), index);
        let asked = self.follow_topic_command(shard, name);
        if let Some(view) = self.topics.get_mut(index) {
            view.asked = asked;
        }
        index
    }

    /// Tells the shard to send a snapshot; returns how many are due by then.
    fn follow_topic_command(&mut self, shard: u16, name: &Name) -> u64 {
        let interest = Interest::Topic(name.clone());
        self.outgoing.push_back((shard, Command::Follow(self.id, interest)));
        let due = self.snapshots_due.entry(name.clone()).or_default();
        *due += 1;
        *due
    }

    /// Asks the shard for the topic's state again; returns how many snapshots must have come then.
    pub(super) fn ask_again(&mut self, index: usize) -> Option<u64> {
        let view = self.topics.get(index)?;
        let (shard, name) = (view.shard, view.name.clone());
        self.follow_topic_command(shard, &name);
        let view = self.topics.get_mut(index)?;
        view.asked += 1;
        Some(view.asked)
    }

    /// The copy of a cell, requested from its shard if nobody here watches it yet.
    pub(super) fn cell_view(&mut self, kind: CellKind, name: &Name) -> usize {
        if let Some(index) = self.cell_names.get(&(kind, name.clone())) {
            return *index;
        }
        let index = self.cells.insert(CellView {
            kind,
            name: name.clone(),
            epoch: 0,
            version: 0,
            value: ViewValue::Absent,
            info: None,
            ready: false,
            followers: Vec::new(),
            encoded: None,
        });
        self.cell_names.insert((kind, name.clone()), index);
        self.ask_for_cell(kind, name);
        index
    }

    /// Asks the shard for a cell's state, and for its changes from then on.
    pub(super) fn ask_for_cell(&mut self, kind: CellKind, name: &Name) {
        let interest = Interest::Cell(kind, name.clone());
        self.outgoing.push_back((shard_of(name), Command::Follow(self.id, interest)));
    }

    /// Takes a cursor out of its view's followers; the last one ends the interest.
    pub(super) fn unfollow(&mut self, id: CursorId) {
        let Some(cursor) = self.cursors.get(id) else { return };
        let at = cursor.at;
        let (moved, emptied) = match &cursor.target {
            Target::Topic(target) => {
                let Some(view) = self.topics.get_mut(target.view) else { return };
                let moved = remove_at(&mut view.followers, at);
                let emptied = view.followers.is_empty().then(|| Interest::Topic(view.name.clone()));
                (moved, emptied)
            }
            Target::Pattern(target) => {
                let (shard, pattern) = (target.shard, target.pattern);
                return self.unfollow_pattern(shard, pattern, at);
            }
            Target::Watch(target) => {
                let Some(view) = self.cells.get_mut(target.view) else { return };
                let moved = remove_at(&mut view.followers, at);
                let emptied =
                    view.followers.is_empty().then(|| Interest::Cell(view.kind, view.name.clone()));
                (moved, emptied)
            }
        };
        self.moved(moved, at);
        if let Some(interest) = emptied {
            self.drop_view(interest);
        }
    }

    fn moved(&mut self, cursor: Option<CursorId>, at: usize) {
        if let Some(cursor) = cursor.and_then(|id| self.cursors.get_mut(id)) {
            cursor.at = at;
        }
    }

    fn drop_view(&mut self, interest: Interest) {
        let shard = match &interest {
            Interest::Topic(name) => {
                if let Some(index) = self.topic_names.remove(name) {
                    let view = self.topics.remove(index);
                    self.topic_ids.remove(&(view.shard, view.id));
                }
                shard_of(name)
            }
            Interest::Cell(kind, name) => {
                if let Some(index) = self.cell_names.remove(&(*kind, name.clone())) {
                    self.cells.remove(index);
                }
                shard_of(name)
            }
            Interest::CommitLog => return,
        };
        self.outgoing.push_back((shard, Command::Unfollow(self.id, interest)));
    }

    fn unfollow_pattern(&mut self, shard: u16, pattern: PatternId, at: usize) {
        let Some(view) = self.shards.get_mut(usize::from(shard)) else { return };
        let Some(followers) = view.by_pattern.get_mut(&pattern) else { return };
        let moved = remove_at(followers, at);
        if followers.is_empty() {
            view.by_pattern.remove(&pattern);
        }
        self.moved(moved, at);
    }

    /// The last pattern is gone: the commit logs are of no use any more.
    pub(super) fn drop_logs(&mut self) {
        for view in &mut self.shards {
            view.log = CommitLog::default();
            view.ready = false;
            view.matches.clear();
            let command = Command::Unfollow(self.id, Interest::CommitLog);
            self.outgoing.push_back((view.shard, command));
        }
    }
}

/// Removes an element by moving the last one into its place; returns the one that moved.
fn remove_at(followers: &mut Vec<CursorId>, at: usize) -> Option<CursorId> {
    if at >= followers.len() {
        return None;
    }
    followers.swap_remove(at);
    followers.get(at).copied()
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
