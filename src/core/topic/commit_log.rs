//! The commit log: every kept batch of a shard in commit order, which pattern cursors walk.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::ops::Range;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::{Batch, TopicId, TopicKey};
use crate::state_hash::StateHasher;

/// A place in the commit order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Slot {
    /// The batch is kept.
    Live(Arc<Batch>),
    /// Retention has removed the batch; what it held is still known.
    Gone(Box<Gone>),
}

/// A batch that retention has removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gone {
    /// Its topic.
    pub topic: Name,
    /// Its topic's number.
    pub topic_id: TopicId,
    /// Epoch of the offsets.
    pub epoch: u64,
    /// Offset of its first record.
    pub from: u64,
    /// Offset behind its last record.
    pub next: u64,
}

impl Slot {
    /// The topic of the batch.
    #[must_use]
    pub fn topic(&self) -> (&Name, TopicKey) {
        match self {
            Self::Live(batch) => (&batch.topic, batch.key()),
            Self::Gone(gone) => (&gone.topic, TopicKey { id: gone.topic_id, epoch: gone.epoch }),
        }
    }

    fn hash_into(&self, hasher: &mut StateHasher) {
        match self {
            Self::Live(batch) => {
                hasher.number(1_u8);
                // The topic's ring holds the same batch, and hashes the rest of it.
                hasher.number(batch.topic_id);
                hasher.number(batch.base);
            }
            Self::Gone(gone) => {
                let Gone { topic, topic_id, epoch, from, next } = &**gone;
                hasher.number(2_u8);
                hasher.text(topic.as_str());
                hasher.number(*topic_id);
                for number in [epoch, from, next] {
                    hasher.number(*number);
                }
            }
        }
    }
}

/// The newest batches of a whole shard. Sequences are dense; slots at the front whose batches are
/// gone are dropped, so its length is bounded by what lies between the oldest kept batch and the
/// newest, and the shard bounds that.
#[derive(Clone, Debug, Default)]
pub struct CommitLog {
    slots: VecDeque<Slot>,
    base: u64,
}

impl CommitLog {
    /// A log whose next batch has this sequence.
    #[must_use]
    pub fn starting_at(base: u64) -> Self {
        Self { slots: VecDeque::new(), base }
    }

    /// A log of these slots, the first of which has this sequence.
    pub fn of(base: u64, slots: impl IntoIterator<Item = Slot>) -> Self {
        Self { slots: slots.into_iter().collect(), base }
    }

    /// Sequence of the oldest slot.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.base
    }

    /// Sequence that the next batch will get.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Appends a batch; it must carry [`Self::next`] as its sequence.
    #[must_use]
    pub fn append(&mut self, batch: Arc<Batch>) -> bool {
        if batch.sequence != self.next() {
            return false;
        }
        self.slots.push_back(Slot::Live(batch));
        true
    }

    /// The slot of this sequence.
    #[must_use]
    pub fn slot(&self, sequence: u64) -> Option<&Slot> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.slots.get(index)
    }

    /// Puts a batch into the place of the one with the same sequence, if that is kept.
    pub fn replace(&mut self, batch: Arc<Batch>) {
        let index = batch.sequence.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index))
            && matches!(slot, Slot::Live(_))
        {
            *slot = Slot::Live(batch);
        }
    }

    /// Whether a batch of these sequences is kept.
    #[must_use]
    pub fn keeps_any(&self, sequences: &Range<u64>) -> bool {
        let index = |sequence: u64| {
            let at = sequence.saturating_sub(self.base);
            usize::try_from(at).unwrap_or(usize::MAX).min(self.slots.len())
        };
        let range = index(sequences.start)..index(sequences.end);
        self.slots.range(range).any(|slot| matches!(slot, Slot::Live(_)))
    }

    /// The slots in order, with their sequences.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Slot)> {
        let base = self.base;
        self.slots.iter().enumerate().map(move |(index, slot)| (base + index as u64, slot))
    }

    /// The oldest kept batch.
    #[must_use]
    pub fn oldest(&self) -> Option<&Arc<Batch>> {
        // The front is always live: `remove` drops the slots that are not.
        match self.slots.front() {
            Some(Slot::Live(batch)) => Some(batch),
            Some(Slot::Gone(_)) | None => None,
        }
    }

    /// Marks a batch as gone and drops the slots at the front that are.
    pub fn remove(&mut self, sequence: u64) {
        let Some(index) = sequence.checked_sub(self.base).and_then(|at| usize::try_from(at).ok())
        else {
            return;
        };
        let Some(slot) = self.slots.get_mut(index) else { return };
        if let Slot::Live(batch) = slot {
            *slot = Slot::Gone(Box::new(Gone {
                topic: batch.topic.clone(),
                topic_id: batch.topic_id,
                epoch: batch.epoch,
                from: batch.base,
                next: batch.next(),
            }));
        }
        while matches!(self.slots.front(), Some(Slot::Gone(_))) {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// Sequence of the first kept batch appended at or after this time.
    #[must_use]
    pub fn sequence_at_time(&self, time_ms: u64) -> u64 {
        self.iter()
            .find(|(_, slot)| matches!(slot, Slot::Live(batch) if batch.time_ms >= time_ms))
            .map_or(self.next(), |(sequence, _)| sequence)
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { slots, base } = self;
        hasher.ordered(slots, |hasher, slot| slot.hash_into(hasher));
        hasher.number(*base);
    }
}
