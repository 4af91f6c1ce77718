//! The saved forms of rings and of the commit log.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::{Batch, Body, CommitLog, Gone, LoggedBatch, Ring, Slot, TopicId};
use crate::HashMap;
use crate::snapshot::BadSnapshot;

/// A saved [`Ring`]; the name and number of its topic stand beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedRing {
    next: u64,
    batches: Vec<SavedBatch>,
}

/// Epoch, base, count, time, sequence, bytes, body if it is not on disk only.
type SavedBatch = (u64, u64, u64, u64, u64, u32, Option<Bytes>);

/// A batch whose records lie in the shard's log only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// Its topic.
    pub topic: Name,
    /// Offset of its first record.
    pub base: u64,
    /// Offset behind its last record.
    pub next: u64,
    /// Its place in the commit order.
    pub sequence: u64,
    /// Bytes of its records.
    pub bytes: u32,
}

/// Which bodies are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// All that are in memory.
    Warm,
    /// Those of batches from this sequence on, which are in memory.
    From(u64),
}

impl SavedRing {
    pub(crate) fn of(ring: &Ring, bodies: Bodies) -> Self {
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
            let is_saved = match bodies {
                Bodies::Warm => true,
                Bodies::From(first) => *sequence >= first,
            };
            let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
            let body = body.warm().filter(|_| is_saved).cloned();
            (*epoch, *base, *count, *time_ms, *sequence, bytes, body)
        });
        Self { next: ring.next(), batches: batches.collect() }
    }

    /// The batches whose records lie in the log only.
    pub(crate) fn stored(&self, topic: &Name) -> impl Iterator<Item = StoredBatch> {
        let stored = self.batches.iter().filter(|(.., body)| body.is_none());
        stored.map(|(_, base, count, _, sequence, bytes, _)| StoredBatch {
            topic: topic.clone(),
            base: *base,
            next: base.saturating_add(*count),
            sequence: *sequence,
            bytes: *bytes,
        })
    }

    /// The batches whose records are here.
    pub(crate) fn unstored(&self, shard: u16, topic: &Name) -> impl Iterator<Item = LoggedBatch> {
        self.batches.iter().filter_map(move |batch| {
            let (epoch, base, count, time_ms, sequence, _, Some(body)) = batch else { return None };
            Some(LoggedBatch(Arc::new(Batch {
                topic: topic.clone(),
                topic_id: 0,
                shard,
                epoch: *epoch,
                base: *base,
                count: *count,
                time_ms: *time_ms,
                sequence: *sequence,
                body: Body::Warm(body.clone()),
            })))
        })
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
        for (epoch, base, count, time_ms, sequence, bytes, body) in self.batches {
            let body = body.map_or(Body::Cold(bytes), Body::Warm);
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
            Slot::Gone(gone) => {
                let Gone { topic, topic_id, epoch, from, next } = &**gone;
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
                    Slot::Gone(Box::new(Gone { topic, topic_id, epoch, from, next }))
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
