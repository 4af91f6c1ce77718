//! A dispatcher's copies of topics, commit logs and cells, and the events that keep them equal.

use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;

use super::ready::is_sparse;
use super::session::Owner;
use super::watched::CellView;
use super::{CursorId, Dispatcher, Target};
use crate::shard::{Command, Interest};
use crate::topic::{CommitLog, PatternId, Ring, TopicId, TopicKey};
use crate::{HashMap, hash_map, shard_of_partition};

/// Topics whose matching patterns a shard's view remembers.
const MATCHES_MAX: usize = 100_000;
/// Tombstones that a copy of a map or presence set keeps.
pub(super) const TOMBSTONES_MAX: usize = 1024;

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
    /// Whether there has been a snapshot since somebody follows it.
    pub(super) was_told: bool,
    pub(super) by_pattern: HashMap<PatternId, Vec<CursorId>>,
    pub(super) matches: HashMap<TopicId, Matches>,
}

/// The patterns that a topic matches: in the life that had its number then, and among the patterns
/// of that time. So a new pattern outdates what is remembered of a million topics without touching it.
#[derive(Debug)]
pub(super) struct Matches {
    epoch: u64,
    version: u64,
    patterns: Arc<[PatternId]>,
}

impl ShardView {
    pub(super) fn new(shard: u16, seed: u64) -> Self {
        Self {
            shard,
            epoch: 0,
            log: CommitLog::default(),
            ready: false,
            was_told: false,
            by_pattern: hash_map(seed),
            matches: hash_map(seed),
        }
    }
}

impl Dispatcher {
    /// The patterns in use that match a topic, remembered.
    pub(super) fn matching(
        &mut self,
        shard: u16,
        name: &Name,
        topic: TopicKey,
    ) -> Arc<[PatternId]> {
        let Some(view) = self.shards.get_mut(usize::from(shard)) else { return Arc::from([]) };
        let version = self.patterns.version();
        if let Some(known) = view.matches.get(&topic.id)
            && known.epoch == topic.epoch
            && known.version == version
        {
            return Arc::clone(&known.patterns);
        }
        let patterns: Arc<[PatternId]> = self.patterns.lookup(name).into();
        if view.matches.len() >= MATCHES_MAX {
            view.matches.clear();
        }
        let matches = Matches { epoch: topic.epoch, version, patterns: Arc::clone(&patterns) };
        view.matches.insert(topic.id, matches);
        patterns
    }

    /// Whether a subscription on a pattern gets a topic: it matches, and its session may have it.
    pub(super) fn sees(
        &mut self,
        owner: Owner,
        shard: u16,
        pattern: PatternId,
        name: &Name,
        topic: TopicKey,
    ) -> bool {
        if self.matching(shard, name, topic).binary_search(&pattern).is_err() {
            return false;
        }
        let entry = self.subs.get(owner.entry);
        entry.map(|entry| entry.needs).is_some_and(|needs| self.allows(owner.slot, needs, name))
    }

    /// The copy of a topic, requested from its shard if nobody here follows it yet.
    pub(super) fn topic_view(&mut self, shard: u16, name: &Name) -> usize {
        let place = (shard, name.clone());
        if let Some(index) = self.topic_names.get(&place) {
            return *index;
        }
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
        self.topic_names.insert(place, index);
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
        let due = self.snapshots_due.entry((shard, name.clone())).or_default();
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
        let partitions = match kind {
            CellKind::Tally => self.policies.partitions(name),
            CellKind::Counter
            | CellKind::Map
            | CellKind::Presence
            | CellKind::Topic
            | CellKind::Rounds => 1,
        };
        let mut view = CellView::new(kind, name.clone(), partitions);
        view.behind_ms = self.behind_of(&view);
        let index = self.cells.insert(view);
        self.cell_names.insert((kind, name.clone()), index);
        self.ask_for_cell(index);
        index
    }

    /// Asks for a cell's state, and for its changes from then on: its shard, or those of its
    /// partitions.
    pub(super) fn ask_for_cell(&mut self, index: usize) {
        let Some(view) = self.cells.get(index) else { return };
        let home = self.policies.home_of_cell(view.kind, &view.name);
        for partition in 0..view.partitions() {
            let shard = shard_of_partition(home, partition);
            let interest = Interest::Cell(view.kind, view.name.clone());
            self.outgoing.push_back((shard, Command::Follow(self.id, interest)));
        }
    }

    /// Takes a cursor out of its view's followers; the last one ends the interest.
    pub(super) fn unfollow(&mut self, id: CursorId) {
        let Some(cursor) = self.cursors.get(id) else { return };
        let at = cursor.at;
        let (moved, emptied) = match &cursor.target {
            Target::Topic(target) => {
                let Some(view) = self.topics.get_mut(target.view) else { return };
                let moved = remove_at(&mut view.followers, at);
                (moved, view.followers.is_empty().then_some(Emptied::Topic(target.view)))
            }
            Target::Pattern(target) => {
                let (shard, pattern) = (target.shard, target.pattern);
                return self.unfollow_pattern(shard, pattern, at);
            }
            Target::Watch(target) => {
                if let Some(taking) = target.taking {
                    self.large.end(taking);
                }
                let Some(view) = self.cells.get_mut(target.view) else { return };
                let moved = remove_at(&mut view.followers, at);
                (moved, view.followers.is_empty().then_some(Emptied::Cell(target.view)))
            }
        };
        self.moved(moved, at);
        match emptied {
            Some(Emptied::Topic(view)) => self.drop_topic(view),
            Some(Emptied::Cell(view)) => self.drop_cell(view),
            None => {}
        }
    }

    fn moved(&mut self, cursor: Option<CursorId>, at: usize) {
        if let Some(cursor) = cursor.and_then(|id| self.cursors.get_mut(id)) {
            cursor.at = at;
        }
    }

    fn drop_topic(&mut self, index: usize) {
        let Some(view) = self.topics.try_remove(index) else { return };
        self.topic_names.remove(&(view.shard, view.name.clone()));
        self.topic_ids.remove(&(view.shard, view.id));
        let command = Command::Unfollow(self.id, Interest::Topic(view.name));
        self.outgoing.push_back((view.shard, command));
    }

    fn drop_cell(&mut self, index: usize) {
        let Some(view) = self.cells.try_remove(index) else { return };
        self.cell_names.remove(&(view.kind, view.name.clone()));
        let home = self.policies.home_of_cell(view.kind, &view.name);
        for partition in 0..view.partitions() {
            let interest = Interest::Cell(view.kind, view.name.clone());
            let shard = shard_of_partition(home, partition);
            self.outgoing.push_back((shard, Command::Unfollow(self.id, interest)));
        }
        view.forget(&mut self.large);
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
            (view.ready, view.was_told) = (false, false);
            view.matches = hash_map(self.seed);
            let command = Command::Unfollow(self.id, Interest::CommitLog);
            self.outgoing.push_back((view.shard, command));
        }
    }
}

/// A view that nobody follows any more.
enum Emptied {
    Topic(usize),
    Cell(usize),
}

/// Removes an element by moving the last one into its place; returns the one that moved.
fn remove_at(followers: &mut Vec<CursorId>, at: usize) -> Option<CursorId> {
    if at >= followers.len() {
        return None;
    }
    followers.swap_remove(at);
    if is_sparse(followers.len(), followers.capacity()) {
        followers.shrink_to(2 * followers.len());
    }
    followers.get(at).copied()
}
