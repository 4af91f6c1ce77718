//! Consumer groups that come to cold batches: the shard recalls for them, and keeps that warm for a
//! while.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use tidewire_protocol::{ErrorCode, Name};

use super::state::Waiting;
use super::{Recalled, Recaller};
use crate::shard::{Shard, refuse};
use crate::topic::{Slot, TopicId};

/// Bytes of recalled batches that are kept for groups, beside those of the newest recall; and no more
/// than an eighth of what may be in memory.
const WARMED_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Shard {
    /// A group has come to a cold batch, whose records it needs before it goes on.
    pub(in crate::shard) fn recall_for_group(
        &mut self,
        topic: TopicId,
        group: Name,
        sequence: u64,
    ) {
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
    pub(in crate::shard) fn recalled(&mut self, recalled: Recalled) {
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
        if bytes > 0 {
            warmed.push_back((sequences, bytes));
        }
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
    pub(super) fn cool_again(&mut self, sequences: Range<u64>) {
        for sequence in sequences {
            let Some(Slot::Live(cold)) = self.topics.log.slot(sequence) else { continue };
            let cold = Arc::clone(cold);
            if let Some(topic) = self.topics.by_id.get_mut(cold.topic_id as usize) {
                topic.ring.replace(cold);
            }
        }
    }
}
