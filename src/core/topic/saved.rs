//! The saved forms of rings and of the commit log.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::{Batch, CommitLog, Ring, Slot, TopicId};
use crate::HashMap;
use crate::snapshot::BadSnapshot;

/// A saved [`Ring`]; the name and number of its topic stand beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedRing {
    next: u64,
    batches: Vec<SavedBatch>,
}

/// Epoch, base, count, time, sequence, body.
type SavedBatch = (u64, u64, u64, u64, u64, Bytes);

impl SavedRing {
    pub(crate) fn of(ring: &Ring) -> Self {
        let batches = ring.iter().map(|batch| {
            let Batch {
                topic: _,
                topic_id: _,
                shard: _,
                epoch,
                base,
                count,
                time_ms,
                sequence,
                body,
            } = &**batch;
            (*epoch, *base, *count, *time_ms, *sequence, body.clone())
        });
        Self { next: ring.next(), batches: batches.collect() }
    }

    /// Offset of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn begin_anew(&mut self, epoch: u64) {
        self.batches.iter_mut().for_each(|batch| batch.0 = epoch);
    }

    pub(crate) fn restore(
        self,
        shard: u16,
        topic: &Name,
        topic_id: TopicId,
    ) -> Result<Ring, BadSnapshot> {
        let first = self.batches.first().map_or(self.next, |(_, base, ..)| *base);
        let mut ring = Ring::starting_at(first);
        for (epoch, base, count, time_ms, sequence, body) in self.batches {
            let batch = Batch {
                topic: topic.clone(),
                topic_id,
                shard,
                epoch,
                base,
                count,
                time_ms,
                sequence,
                body,
            };
            if base.checked_add(count).is_none() || !ring.append(Arc::new(batch)) {
                let what =
                    format!("a batch of topic '{topic}' begins at {base}, not at {}", ring.next());
                return Err(BadSnapshot::new(what));
            }
        }
        if ring.next() == self.next {
            return Ok(ring);
        }
        let what = format!("topic '{topic}' ends at {}, its batches at {}", self.next, ring.next());
        Err(BadSnapshot::new(what))
    }
}

/// A saved [`CommitLog`]; the batches that are kept stand in their topics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedLog {
    base: u64,
    slots: Vec<Option<SavedGone>>,
}

/// Topic, its number, epoch, first offset, offset behind the last.
type SavedGone = (Name, TopicId, u64, u64, u64);

impl SavedLog {
    pub(crate) fn of(log: &CommitLog) -> Self {
        let slots = log.iter().map(|(_, slot)| match slot {
            Slot::Live(_) => None,
            Slot::Gone { topic, topic_id, epoch, from, next } => {
                Some((topic.clone(), *topic_id, *epoch, *from, *next))
            }
        });
        Self { base: log.first(), slots: slots.collect() }
    }

    /// The log of these batches, by their sequence.
    pub(crate) fn restore(
        self,
        mut batches: HashMap<u64, Arc<Batch>>,
    ) -> Result<CommitLog, BadSnapshot> {
        if self.base.checked_add(self.slots.len() as u64).is_none() {
            return Err(BadSnapshot::new("the commit log goes beyond 64 bits"));
        }
        let mut slots = Vec::new();
        for (sequence, slot) in (self.base..).zip(self.slots) {
            slots.push(match slot {
                Some((topic, topic_id, epoch, from, next)) => {
                    Slot::Gone { topic, topic_id, epoch, from, next }
                }
                None => Slot::Live(batches.remove(&sequence).ok_or_else(|| {
                    BadSnapshot::new(format!("no topic has the batch of sequence {sequence}"))
                })?),
            });
        }
        if let Some(sequence) = batches.keys().min() {
            let what = format!("the commit log lacks the batch of sequence {sequence}");
            return Err(BadSnapshot::new(what));
        }
        Ok(CommitLog::of(self.base, slots))
    }
}
