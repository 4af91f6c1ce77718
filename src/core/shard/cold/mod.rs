//! What a durable shard has on disk only: batches whose records have left memory, and how they are
//! recalled from its log.
//!
//! Batches cool in commit order, once they are known to be in a closed extent, when the warm ones
//! take more memory than they may. Nothing else about them changes: where they begin, what
//! retention does with them, who has seen them. Dispatchers recall what their cursors come to; the
//! shard itself recalls what its consumer groups come to, and keeps that warm for a while.

mod groups;
mod state;

pub(super) use state::{Cold, SavedCold};

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{DispatcherId, Event, is_peer};
use super::{Shard, tell};
use crate::topic::{Batch, Body, Extent, Slot};

/// Batches that cool at the end of one round at least, so that no round takes long; more if more were
/// appended in it.
const COOLED_PER_ROUND: usize = 1024;
/// What another node is sent for one recall: batches that are in memory here.
const WARM_BYTES_MAX: usize = 128 * 1024;
const WARM_BATCHES_MAX: u64 = 1024;

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

impl Shard {
    /// What was logged is on disk: batches before `next_sequence`, in blocks before `next_block`,
    /// which are `bytes` more than was said before.
    pub(in crate::shard) fn stored(&mut self, next_sequence: u64, next_block: u64, bytes: u64) {
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
    #[inline]
    pub(in crate::shard) fn cool(&mut self) {
        if self.topics.warm_bytes > self.config.limits.bytes_max {
            self.cool_some();
        }
    }

    fn cool_some(&mut self) {
        let bytes_max = self.config.limits.bytes_max;
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
    pub(in crate::shard) fn recall(&mut self, dispatcher: DispatcherId, sequence: u64) {
        let to = Recaller::Dispatcher(dispatcher);
        match self.recall_of(to, sequence) {
            Some(recall) => self.round.recalls.push(recall),
            None => {
                // It is gone, which the dispatcher has been told, or warm.
                let recalled = match is_peer(dispatcher) {
                    true => self.recall_warm(sequence),
                    false => Recalled { sequences: sequence..sequence + 1, ..Recalled::default() },
                };
                let recalled = Arc::new(recalled);
                let shard = self.config.shard;
                self.round.events.push((dispatcher, Event::Recalled { shard, recalled }));
            }
        }
    }

    /// Batches that are in memory, from this one on: for another node, which was told of them without
    /// their records.
    fn recall_warm(&self, sequence: u64) -> Recalled {
        let mut recalled = Recalled { sequences: sequence..sequence + 1, ..Recalled::default() };
        let mut bytes = 0;
        for next in sequence..sequence.saturating_add(WARM_BATCHES_MAX) {
            match self.topics.log.slot(next) {
                Some(Slot::Live(batch)) => {
                    let Some(body) = batch.body.warm() else { break };
                    if bytes > 0 && bytes + body.len() > WARM_BYTES_MAX {
                        break;
                    }
                    bytes += body.len();
                    recalled.bodies.push((next, body.clone()));
                }
                Some(Slot::Gone(_)) => {}
                None => break,
            }
            recalled.sequences.end = next + 1;
        }
        recalled
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

    /// After a restart nobody waits, and nothing is warm that was so for groups only.
    pub(in crate::shard) fn forget_recalls(&mut self) {
        let before = self.topics.cold.before;
        let warmed = core::mem::take(&mut self.topics.cold).warmed;
        warmed.into_iter().for_each(|(sequences, _)| self.cool_again(sequences));
        self.topics.cold.before = before;
    }
}

/// Bytes that a batch takes in memory among those that have never cooled.
pub(in crate::shard) fn warm_bytes(batch: &Batch, cold_before: u64) -> u64 {
    match &batch.body {
        Body::Warm(bytes) if batch.sequence >= cold_before => bytes.len() as u64,
        Body::Warm(_) | Body::Cold(_) => 0,
    }
}
