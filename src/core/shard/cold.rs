//! What a durable shard has on disk only: batches whose records have left memory, and how they are
//! recalled from its log.
//!
//! Batches cool in commit order, once they are known to be in a closed extent, when the warm ones
//! take more memory than they may. Nothing else about them changes: where they begin, what
//! retention does with them, who has seen them. Dispatchers recall what their cursors come to; the
//! shard itself recalls what its consumer groups come to, and keeps that warm for a while.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::ErrorCode;

use super::message::{DispatcherId, Event};
use super::{Shard, refuse, tell};
use crate::state_hash::StateHasher;
use crate::topic::{Batch, Body, Extent, Slot, TopicId};

/// Batches that cool at the end of one round, so that no round takes long.
const COOLED_PER_ROUND: usize = 1024;
/// Bytes of recalled batches that are kept for groups, beside those of the newest recall.
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recalled {
    /// The batches with these sequences were to be read; who asked for one of them is answered.
    pub sequences: Range<u64>,
    /// The bodies by sequence, in order; or why they cannot be read.
    pub outcome: Result<Vec<(u64, Bytes)>, String>,
}

/// The state of what is cold.
#[derive(Clone, Debug, Default)]
pub(super) struct Cold {
    /// Batches before this sequence are cold, but for those that were warmed.
    pub(super) before: u64,
    /// What was warmed for groups, oldest recall first: sequences, bytes.
    warmed: VecDeque<(Range<u64>, u64)>,
    /// Topics whose groups wait for a recall.
    waiting: BTreeSet<TopicId>,
    /// Whether a recall is under way.
    is_recalling: bool,
}

/// Saved [`Cold`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedCold {
    before: u64,
    warmed: Vec<(Range<u64>, u64)>,
    waiting: Vec<TopicId>,
    is_recalling: bool,
}

impl Cold {
    pub(super) fn save(&self) -> SavedCold {
        let Self { before, warmed, waiting, is_recalling } = self;
        SavedCold {
            before: *before,
            warmed: warmed.iter().cloned().collect(),
            waiting: waiting.iter().copied().collect(),
            is_recalling: *is_recalling,
        }
    }

    /// With everything before a sequence cold, and nobody waiting.
    pub(super) fn saved_before(before: u64) -> SavedCold {
        SavedCold { before, warmed: Vec::new(), waiting: Vec::new(), is_recalling: false }
    }

    pub(super) fn restore(saved: SavedCold) -> Self {
        let SavedCold { before, warmed, waiting, is_recalling } = saved;
        let (warmed, waiting) = (warmed.into(), waiting.into_iter().collect());
        Self { before, warmed, waiting, is_recalling }
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { before, warmed, waiting, is_recalling } = self;
        hasher.number(*before);
        hasher.ordered(warmed, |hasher, (sequences, bytes)| {
            for number in [sequences.start, sequences.end, *bytes] {
                hasher.number(number);
            }
        });
        hasher.ordered(waiting, |hasher, id| hasher.number(*id));
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
            && cooled.len() < COOLED_PER_ROUND
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
                let (sequences, outcome) = (sequence..sequence + 1, Ok(Vec::new()));
                let recalled = Arc::new(Recalled { sequences, outcome });
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

    /// The groups of a topic have come to a cold batch.
    pub(super) fn recall_for_groups(&mut self, id: TopicId, sequence: u64) {
        self.topics.cold.waiting.insert(id);
        if !self.topics.cold.is_recalling
            && let Some(recall) = self.recall_of(Recaller::Shard, sequence)
        {
            self.topics.cold.is_recalling = true;
            self.round.recalls.push(recall);
        }
    }

    /// What groups have waited for.
    pub(super) fn recalled(&mut self, recalled: Recalled) {
        self.topics.cold.is_recalling = false;
        let waiting = core::mem::take(&mut self.topics.cold.waiting);
        match recalled.outcome {
            Ok(bodies) => self.warm(recalled.sequences, bodies),
            Err(reason) => {
                let refusal = refuse(ErrorCode::StorageFailed, reason);
                waiting.iter().for_each(|id| self.end_consumers(*id, &refusal));
            }
        }
        waiting.into_iter().for_each(|id| self.offer_later(id));
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
        while bytes > WARMED_BYTES_MAX
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
