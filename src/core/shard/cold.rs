//! What a durable shard has on disk only: batches whose records have left memory, and how they are
//! recalled from its log.
//!
//! Batches cool in commit order, once they are known to be in a closed extent, when the warm ones
//! take more memory than they may. Nothing else about them changes: where they begin, what
//! retention does with them, who has seen them. Dispatchers recall what their cursors come to; the
//! shard itself recalls what its consumer groups come to, and keeps that warm for a while.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::{ErrorCode, Name};

use super::message::{DispatcherId, Event};
use super::{Shard, refuse, tell};
use crate::state_hash::StateHasher;
use crate::topic::{Batch, Body, Extent, Slot, TopicId};

/// Batches that cool at the end of one round at least, so that no round takes long; more if more were
/// appended in it.
const COOLED_PER_ROUND: usize = 1024;
/// Bytes of recalled batches that are kept for groups, beside those of the newest recall; and no more
/// than an eighth of what may be in memory.
const WARMED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Batches that are to be read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Who wants them.
    pub to: Recaller,
    /// Where they lie.
    pub extent: Extent,
    /// Those that are kept: sequence, bytes.
    pub wanted: Vec<(u64, u32)>,
}

/// Who recalls batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recaller {
    /// A dispatcher.
    Dispatcher(DispatcherId),
    /// The shard itself.
    Shard,
}

/// What was read from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// The batches with these sequences were to be read; who asked for one of them is answered.
    pub sequences: Range<u64>,
    /// The bodies that were found, by sequence, in order.
    pub bodies: Vec<(u64, Bytes)>,
    /// Why others that were wanted are not among them.
    pub reason: Option<String>,
}

impl Recalled {
    /// The records of a batch, if they were found.
    #[must_use]
    pub fn body(&self, sequence: u64) -> Option<&Bytes> {
        let at = self.bodies.binary_search_by_key(&sequence, |(sequence, _)| *sequence).ok()?;
        self.bodies.get(at).map(|(_, body)| body)
    }
}

/// A group that has come to a cold batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    topic: TopicId,
    group: Name,
    /// The batch.
    sequence: u64,
}

/// The state of what is cold.
#[derive(Clone, Debug, Default)]
pub(super) struct Cold {
    /// Batches before this sequence are cold, but for those that were warmed.
    pub(super) before: u64,
    /// What was warmed for groups, oldest recall first: sequences, bytes.
    warmed: VecDeque<(Range<u64>, u64)>,
    /// Groups that wait for a recall, in the order in which they came.
    waiting: Vec<Waiting>,
    /// Whether a recall is under way.
    is_recalling: bool,
}

/// Saved [`Cold`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedCold {
    before: u64,
    warmed: Vec<(Range<u64>, u64)>,
    waiting: Vec<Waiting>,
    is_recalling: bool,
}

impl Cold {
    pub(super) fn save(&self) -> SavedCold {
        let Self { before, warmed, waiting, is_recalling } = self;
        SavedCold {
            before: *before,
            warmed: warmed.iter().cloned().collect(),
            waiting: waiting.clone(),
            is_recalling: *is_recalling,
        }
    }

    /// With everything before a sequence cold, and nobody waiting.
    pub(super) fn saved_before(before: u64) -> SavedCold {
        SavedCold { before, warmed: Vec::new(), waiting: Vec::new(), is_recalling: false }
    }

    pub(super) fn restore(saved: SavedCold) -> Self {
        let SavedCold { before, warmed, waiting, is_recalling } = saved;
        Self { before, warmed: warmed.into(), waiting, is_recalling }
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { before, warmed, waiting, is_recalling } = self;
        hasher.number(*before);
        hasher.ordered(warmed, |hasher, (sequences, bytes)| {
            for number in [sequences.start, sequences.end, *bytes] {
                hasher.number(number);
            }
        });
        hasher.ordered(waiting, |hasher, Waiting { topic, group, sequence }| {
            hasher.number(*topic);
            hasher.text(group.as_str());
            hasher.number(*sequence);
        });
        hasher.flag(*is_recalling);
    }
}

impl Shard {
    /// What was logged is on disk: batches before `next_sequence`, in blocks before `next_block`,
    /// which are `bytes` more than was said before.
    pub(super) fn stored(&mut self, next_sequence: u64, next_block: u64, bytes: u64) {
        if self.topics.extents.grow(next_sequence, next_block, bytes) {
            self.topics.extents.forget_before(self.topics.log.first());
        }
    }

    /// A block of the log was read again, with its changes.
    pub fn recover_block(&mut self, index: u64, bytes: u64) {
        let next_sequence = self.topics.log.next();
        self.stored(next_sequence, index + 1, bytes);
    }

    /// Lets the oldest warm batches cool while they take more memory than they may.
    pub(super) fn cool(&mut self) {
        let bytes_max = self.config.limits.bytes_max;
        if self.topics.warm_bytes <= bytes_max {
            return;
        }
        // Some more at once, so that it does not have to be done in each round.
        let goal = bytes_max - bytes_max / 16;
        let mut sequence = self.topics.cold.before.max(self.topics.log.first());
        let (mut cooled, mut followers) = (Vec::new(), self.log_followers);
        while self.topics.warm_bytes > goal
            && sequence < self.topics.extents.stored_before()
            && cooled.len() < COOLED_PER_ROUND.max(2 * self.round.batches.len())
        {
            if let Some(Slot::Live(batch)) = self.topics.log.slot(sequence) {
                let cold = Arc::new(batch.cooled());
                self.topics.warm_bytes -= cold.body.len() as u64;
                if let Some(topic) = self.topics.by_id.get_mut(cold.topic_id as usize) {
                    topic.ring.replace(Arc::clone(&cold));
                    followers = followers.union(topic.followers);
                }
                self.topics.log.replace(Arc::clone(&cold));
                cooled.push(cold);
            }
            sequence += 1;
        }
        self.topics.cold.before = self.topics.cold.before.max(sequence);
        if !cooled.is_empty() {
            tell(&mut self.round.events, followers, &Event::Cooled { batches: cooled.into() });
        }
    }

    /// A dispatcher wants a cold batch, and what lies beside it.
    pub(super) fn recall(&mut self, dispatcher: DispatcherId, sequence: u64) {
        let to = Recaller::Dispatcher(dispatcher);
        match self.recall_of(to, sequence) {
            Some(recall) => self.round.recalls.push(recall),
            None => {
                // It is gone, which the dispatcher has been told, or warm.
                let sequences = sequence..sequence + 1;
                let recalled = Arc::new(Recalled { sequences, ..Recalled::default() });
                let shard = self.config.shard;
                self.round.events.push((dispatcher, Event::Recalled { shard, recalled }));
            }
        }
    }

    fn recall_of(&self, to: Recaller, sequence: u64) -> Option<Recall> {
        let Some(Slot::Live(batch)) = self.topics.log.slot(sequence) else { return None };
        let extent = self.topics.extents.find(sequence).filter(|_| batch.body.is_cold())?.clone();
        let wanted =
            extent.sequences.clone().filter_map(|sequence| match self.topics.log.slot(sequence) {
                Some(Slot::Live(batch)) => {
                    Some((sequence, u32::try_from(batch.body.len()).unwrap_or(u32::MAX)))
                }
                Some(Slot::Gone(_)) | None => None,
            });
        Some(Recall { to, wanted: wanted.collect(), extent })
    }

    /// A group has come to a cold batch, whose records it needs before it goes on.
    pub(super) fn recall_for_group(&mut self, topic: TopicId, group: Name, sequence: u64) {
        let waiting = Waiting { topic, group, sequence };
        if !self.topics.cold.waiting.contains(&waiting) {
            self.topics.cold.waiting.push(waiting);
        }
        self.recall_next();
    }

    /// Recalls what the first of the waiting groups needs, if nothing is under way.
    fn recall_next(&mut self) {
        while !self.topics.cold.is_recalling
            && let Some(Waiting { topic, sequence, .. }) = self.topics.cold.waiting.first()
        {
            let (topic, sequence) = (*topic, *sequence);
            match self.recall_of(Recaller::Shard, sequence) {
                Some(recall) => {
                    self.topics.cold.is_recalling = true;
                    self.round.recalls.push(recall);
                }
                None => {
                    // It has left the topic, or is warm.
                    self.topics.cold.waiting.remove(0);
                    self.offer_later(topic);
                }
            }
        }
    }

    /// What groups have waited for.
    pub(super) fn recalled(&mut self, recalled: Recalled) {
        self.topics.cold.is_recalling = false;
        let Recalled { sequences, bodies, reason } = recalled;
        let is_kept = |slot: Option<&Slot>| matches!(slot, Some(Slot::Live(_)));
        let (served, left): (Vec<Waiting>, Vec<Waiting>) =
            core::mem::take(&mut self.topics.cold.waiting)
                .into_iter()
                .partition(|waiting| sequences.contains(&waiting.sequence));
        self.topics.cold.waiting = left;
        let found: Vec<u64> = bodies.iter().map(|(sequence, _)| *sequence).collect();
        self.warm(sequences, bodies);
        for Waiting { topic, group, sequence } in served {
            let is_there = found.binary_search(&sequence).is_ok();
            if let Some(reason) = reason.as_ref().filter(|_| !is_there)
                && is_kept(self.topics.log.slot(sequence))
            {
                self.cannot_read(topic, &group, sequence, reason);
            } else {
                self.offer_later(topic);
            }
        }
        self.recall_next();
    }

    /// A group cannot go on: its consumers are told, and its dead letters wait.
    fn cannot_read(&mut self, id: TopicId, group: &Name, sequence: u64, reason: &str) {
        let Some(Slot::Live(batch)) = self.topics.log.slot(sequence) else { return };
        let (from, next) = (batch.base, batch.next());
        let message = format!(
            "records {from} to {} of topic '{}' cannot be read from the journal ({reason}); reset \
             the group to offset {next} to go on without them",
            next - 1,
            batch.topic
        );
        self.end_consumers(id, group, (from, next), &refuse(ErrorCode::StorageFailed, message));
    }

    fn warm(&mut self, sequences: Range<u64>, bodies: Vec<(u64, Bytes)>) {
        let mut bytes = 0;
        for (sequence, body) in bodies {
            let Some(Slot::Live(cold)) = self.topics.log.slot(sequence) else { continue };
            let Some(warm) = cold.warmed(body).filter(|_| cold.body.is_cold()) else { continue };
            bytes += warm.body.len() as u64;
            if let Some(topic) = self.topics.by_id.get_mut(warm.topic_id as usize) {
                topic.ring.replace(Arc::new(warm));
            }
        }
        let warmed = &mut self.topics.cold.warmed;
        warmed.retain(|(known, _)| *known != sequences);
        warmed.push_back((sequences, bytes));
        let mut bytes: u64 = warmed.iter().map(|(_, bytes)| bytes).sum();
        let bytes_max = WARMED_BYTES_MAX.min(self.config.limits.bytes_max / 8);
        while bytes > bytes_max
            && self.topics.cold.warmed.len() > 1
            && let Some((sequences, freed)) = self.topics.cold.warmed.pop_front()
        {
            bytes -= freed;
            self.cool_again(sequences);
        }
    }

    /// Puts the cold batches, which the commit log has kept, back into their topics.
    fn cool_again(&mut self, sequences: Range<u64>) {
        for sequence in sequences {
            let Some(Slot::Live(cold)) = self.topics.log.slot(sequence) else { continue };
            let cold = Arc::clone(cold);
            if let Some(topic) = self.topics.by_id.get_mut(cold.topic_id as usize) {
                topic.ring.replace(cold);
            }
        }
    }

    /// After a restart nobody waits, and nothing is warm that was so for groups only.
    pub(super) fn forget_recalls(&mut self) {
        let before = self.topics.cold.before;
        let warmed = core::mem::take(&mut self.topics.cold).warmed;
        warmed.into_iter().for_each(|(sequences, _)| self.cool_again(sequences));
        self.topics.cold.before = before;
    }
}

/// Bytes that a batch takes in memory among those that have never cooled.
pub(super) fn warm_bytes(batch: &Batch, cold_before: u64) -> u64 {
    match &batch.body {
        Body::Warm(bytes) if batch.sequence >= cold_before => bytes.len() as u64,
        Body::Warm(_) | Body::Cold(_) => 0,
    }
}
