//! Where subscriptions on patterns start, once the commit logs of all shards are here.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::{ErrorCode, Pattern, Refusal};

use super::pattern::PatternCursor;
use super::session::{Owner, Sub};
use super::start::{STATUS_EPOCH, STATUS_FRESH, STATUS_GAP, STATUS_RESUMED};
use super::{Dispatcher, Target, invalid};
use crate::shard::{Command, Interest};
use crate::topic::{Batch, PatternId, Slot, TopicKey};
use crate::{HashMap, hash_map};

/// Topics that a `last n` start of a pattern may match.
const LAST_TOPICS_MAX: usize = 1000;

impl Dispatcher {
    pub(super) fn subscribe_pattern(
        &mut self,
        slot: usize,
        sub: u32,
        pattern: &Pattern,
        start: Start,
        entry: Sub,
    ) -> Result<(), Refusal> {
        if matches!(start, Start::Offset { .. }) {
            return Err(invalid(format!(
                "'{pattern}' matches many topics: resume it from positions, not from an offset"
            )));
        }
        let (pattern_id, is_new) = self.patterns.add(pattern);
        if self.patterns.len() == 1 && is_new {
            for shard in self.shard_numbers() {
                self.outgoing.push_back((shard, Command::Follow(self.id, Interest::CommitLog)));
            }
        }
        let session = entry.origin.session;
        let pattern = Some(pattern_id);
        let owner = self.insert_sub(slot, sub, Sub { pattern, ..entry }, self.shards.len());
        for shard in self.shard_numbers() {
            let target = PatternCursor {
                pattern: pattern_id,
                shard,
                position: None,
                skip: None,
                reported: 0,
                started: false,
                begins_anew: false,
            };
            let followers = self
                .shards
                .get_mut(usize::from(shard))
                .map(|view| view.by_pattern.entry(pattern_id).or_default());
            let at = followers.map_or(0, |followers| followers.len());
            let id = self.insert_cursor(owner, at, Target::Pattern(target));
            if let Some(view) = self.shards.get_mut(usize::from(shard)) {
                view.by_pattern.entry(pattern_id).or_default().push(id);
            }
        }
        self.waiting.push((session, sub, start));
        self.start_waiting_patterns();
        Ok(())
    }

    pub(super) fn release_pattern(&mut self, id: PatternId) {
        self.patterns.remove(id);
        if self.patterns.is_empty() {
            self.drop_logs();
        }
    }

    /// Starts the pattern subscriptions that have been waiting, once every shard's log is here.
    pub(super) fn start_waiting_patterns(&mut self) {
        if !self.shards.iter().all(|view| view.ready) {
            return;
        }
        for (session, sub, start) in core::mem::take(&mut self.waiting) {
            let owner = self.slot(session).and_then(|slot| self.owner(slot, sub));
            let Some(owner) = owner else { continue };
            if let Err(refusal) = self.start_pattern(owner, &start) {
                self.refuse_sub(owner, refusal);
            }
        }
    }

    pub(super) fn start_pattern(&mut self, owner: Owner, start: &Start) -> Result<(), Refusal> {
        let cursors = self.cursors_of(owner.entry);
        let mut status = match start {
            Start::Positions(_) => STATUS_RESUMED,
            Start::Latest
            | Start::Earliest
            | Start::Offset { .. }
            | Start::Time(_)
            | Start::Last(_) => STATUS_FRESH,
        };
        let mut positions = Vec::new();
        let mut topics = 0;
        for id in cursors {
            let (shard, pattern) = match self.cursors.get(id).map(|cursor| &cursor.target) {
                Some(Target::Pattern(target)) => (target.shard, target.pattern),
                _ => continue,
            };
            let Some(view) = self.shards.get(usize::from(shard)) else { continue };
            let (first, next, epoch) = (view.log.first(), view.log.next(), view.epoch);
            let mut skip = hash_map(self.seed);
            let sequence = match start {
                Start::Latest | Start::Offset { .. } => next,
                Start::Earliest => first,
                Start::Time(time_ms) => view.log.sequence_at_time(*time_ms),
                Start::Last(count) => {
                    let sequence = self.last_of_each(owner, (shard, pattern), *count, &mut skip);
                    topics += skip.len();
                    sequence
                }
                Start::Positions(asked) => {
                    let asked = asked.iter().find(|position| position.0 == u64::from(shard));
                    match asked {
                        None => next,
                        Some(Position(_, asked_epoch, _)) if *asked_epoch != epoch => {
                            status = STATUS_EPOCH;
                            first
                        }
                        Some(Position(_, _, sequence)) if *sequence < first => {
                            status = status.max(STATUS_GAP);
                            first
                        }
                        Some(Position(_, _, sequence)) => *sequence,
                    }
                }
            };
            if topics > LAST_TOPICS_MAX {
                return Err(Refusal::new(
                    ErrorCode::LimitExceeded,
                    format!("'last n' is for patterns of at most {LAST_TOPICS_MAX} topics"),
                ));
            }
            positions.push(Position(u64::from(shard), epoch, sequence));
            if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
                // The client may know more than has arrived here: then it waits for it.
                target.position = (sequence != next).then_some(sequence);
                target.skip = (!skip.is_empty()).then(|| Box::new(skip));
                target.reported = sequence;
                target.started = true;
            }
            self.wake(id);
        }
        self.pattern_opened(owner, status, positions);
        Ok(())
    }

    /// Where the newest `count` records of each matching topic begin: the sequence to start at,
    /// and per topic the first offset to deliver.
    pub(super) fn last_of_each(
        &mut self,
        owner: Owner,
        (shard, pattern): (u16, PatternId),
        count: u64,
        skip: &mut HashMap<TopicKey, u64>,
    ) -> u64 {
        let Some(view) = self.shards.get(usize::from(shard)) else { return 0 };
        let (next, mut start) = (view.log.next(), view.log.next());
        let slots: Vec<(u64, Arc<Batch>)> = view
            .log
            .iter()
            .rev()
            .filter_map(|(sequence, slot)| match slot {
                Slot::Live(batch) => Some((sequence, Arc::clone(batch))),
                Slot::Gone(_) => None,
            })
            .collect();
        for (sequence, batch) in slots {
            if !self.sees(owner, shard, pattern, &batch.topic, batch.key()) {
                continue;
            }
            // Walking backwards, the first batch of a topic that is met is its newest.
            let first =
                *skip.entry(batch.key()).or_insert_with(|| batch.next().saturating_sub(count));
            if batch.next() > first {
                start = sequence;
            }
        }
        if count == 0 { next } else { start }
    }
}
