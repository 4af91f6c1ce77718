//! Which records a state keeps, and in which blocks they lie: in each of its extents, and in the blocks
//! between the last of these and the entry that the state stands on. The records of the latter are in the
//! state as well, but the next checkpoint counts on them lying there.

use std::ops::Range;

use tidewire_core::shard::ShardSnapshot;
use tidewire_core::topic::{LoggedBatch, StoredBatch};

use super::error::TransferError;
use crate::journal::batches_of;

/// What a state keeps.
#[derive(Debug)]
pub(super) struct Kept {
    batches: Vec<StoredBatch>,
    pub(super) runs: Vec<Run>,
}

/// A run of blocks, and which of the batches lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) blocks: Range<u64>,
    batches: Range<usize>,
}

impl Kept {
    /// What a state keeps that covers so many blocks.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub(super) fn of(snapshot: &ShardSnapshot, covers: u64) -> Result<Self, TransferError> {
        let mut batches = snapshot.stored();
        batches.extend(snapshot.unstored().iter().map(|LoggedBatch(batch)| StoredBatch {
            topic: batch.topic.clone(),
            base: batch.base,
            next: batch.next(),
            sequence: batch.sequence,
            bytes: u32::try_from(batch.body.len()).unwrap_or(u32::MAX),
        }));
        batches.sort_unstable_by_key(|batch| batch.sequence);
        let mut kept = Self { batches, runs: Vec::new() };
        let extents = snapshot.extents();
        for extent in extents.iter() {
            kept.add(extent.sequences.clone(), extent.blocks.clone())?;
        }
        kept.add(extents.stored_before()..u64::MAX, extents.next_block()..covers)?;
        Ok(kept)
    }

    fn add(&mut self, sequences: Range<u64>, blocks: Range<u64>) -> Result<(), TransferError> {
        let before = self.runs.last();
        let (block, batch) =
            before.map_or((0, 0), |before| (before.blocks.end, before.batches.end));
        let place = |sequence| self.batches.partition_point(|batch| batch.sequence < sequence);
        let batches = place(sequences.start)..place(sequences.end);
        if blocks.start < block || blocks.end < blocks.start || batches.start != batch {
            let what = format!("it has records that are not in the blocks before {}", blocks.end);
            return Err(TransferError::malformed(what));
        }
        self.runs.push(Run { blocks, batches });
        Ok(())
    }

    /// The batches that lie in a run.
    pub(super) fn in_run(&self, run: &Run) -> &[StoredBatch] {
        self.batches.get(run.batches.clone()).unwrap_or_default()
    }
}

/// Looks for the batches of a run, in the order in which its blocks hold them.
#[derive(Debug)]
pub(super) struct Search<'a> {
    left: &'a [StoredBatch],
    /// One has come whose turn it was not: whoever reads the blocks would miss those before it.
    is_broken: bool,
}

impl<'a> Search<'a> {
    pub(super) fn of(batches: &'a [StoredBatch]) -> Self {
        Self { left: batches, is_broken: false }
    }

    /// Looks into a block; returns whether it has any of them.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub(super) fn look(&mut self, block: &[u8], shard: u16, index: u64) -> Result<bool, String> {
        let before = self.left.len();
        for found in batches_of(block, shard, index)? {
            let Some((next, rest)) = self.left.split_first() else { break };
            match *next == found {
                true => self.left = rest,
                false => self.is_broken |= found.sequence >= next.sequence,
            }
        }
        Ok(self.left.len() < before)
    }

    /// How many have not been found.
    pub(super) fn missing(&self) -> usize {
        self.left.len()
    }

    /// Whether one has come whose turn it was not.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether all of them have been found, each in its turn.
    pub(super) fn is_whole(&self) -> bool {
        self.left.is_empty() && !self.is_broken
    }
}
