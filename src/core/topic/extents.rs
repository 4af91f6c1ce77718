//! Where the batches of a shard lie in its log: in extents, which are read and removed as a whole.
//!
//! Batches lie in the log in commit order, and each in one block. So it is enough to know, for a run
//! of blocks, which sequences they hold; what else lies in them does not matter.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;

/// Bytes of blocks from which on an extent is closed: what one recall reads.
pub const EXTENT_BYTES: u64 = 512 * 1024;

/// A run of blocks, and the batches that lie in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The sequences of the batches. All of these that are still kept are in the blocks.
    pub sequences: Range<u64>,
    /// The indices of the blocks in the shard's log.
    pub blocks: Range<u64>,
    /// Bytes of the blocks.
    pub bytes: u64,
}

/// The extents of a shard, oldest first, without those that hold nothing that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extents {
    closed: VecDeque<Extent>,
    /// First batch and block behind the last closed extent, and bytes since.
    next_sequence: u64,
    next_block: u64,
    open_bytes: u64,
}

impl Extents {
    /// The batches before `next_sequence` are on disk, in blocks before `next_block`; `bytes` more
    /// than was said before. Returns whether an extent was closed.
    pub fn grow(&mut self, next_sequence: u64, next_block: u64, bytes: u64) -> bool {
        self.open_bytes += bytes;
        if self.open_bytes < EXTENT_BYTES {
            return false;
        }
        let sequences = self.next_sequence..next_sequence.max(self.next_sequence);
        let blocks = self.next_block..next_block.max(self.next_block);
        let bytes = core::mem::take(&mut self.open_bytes);
        (self.next_sequence, self.next_block) = (sequences.end, blocks.end);
        if !sequences.is_empty() {
            self.closed.push_back(Extent { sequences, blocks, bytes });
        }
        true
    }

    /// Batches before this sequence are in closed extents: their bodies need not be in memory.
    #[must_use]
    pub fn stored_before(&self) -> u64 {
        self.next_sequence
    }

    /// The extent that holds a batch.
    #[must_use]
    pub fn find(&self, sequence: u64) -> Option<&Extent> {
        let at = self.closed.partition_point(|extent| extent.sequences.end <= sequence);
        self.closed.get(at).filter(|extent| extent.sequences.contains(&sequence))
    }

    /// Number of extents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.closed.len()
    }

    /// Whether there is no closed extent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }

    /// The extents, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.closed.iter()
    }

    /// Forgets the oldest extents, those of batches before this sequence.
    pub(crate) fn forget_before(&mut self, sequence: u64) {
        while self.closed.front().is_some_and(|extent| extent.sequences.end <= sequence) {
            self.closed.pop_front();
        }
    }

    /// Forgets extents that hold nothing that is kept.
    pub(crate) fn retain(&mut self, is_kept: impl FnMut(&Extent) -> bool) {
        self.closed.retain(is_kept);
    }

    /// Blocks that hold nothing that is kept, of those before the last closed extent's end.
    #[must_use]
    pub fn unused_blocks(&self) -> Vec<Range<u64>> {
        let mut unused = Vec::new();
        let mut from = 0;
        for Extent { blocks, .. } in &self.closed {
            if from < blocks.start {
                unused.push(from..blocks.start);
            }
            from = blocks.end;
        }
        if from < self.next_block {
            unused.push(from..self.next_block);
        }
        unused
    }

    /// Blocks from this one on are behind the last closed extent.
    #[must_use]
    pub fn next_block(&self) -> u64 {
        self.next_block
    }

    /// Extents that were saved.
    ///
    /// # Errors
    /// When they overlap, or are not in order.
    pub(crate) fn check(self) -> Result<Self, BadSnapshot> {
        let (mut sequence, mut block) = (0, 0);
        for Extent { sequences, blocks, .. } in &self.closed {
            if sequences.start < sequence || blocks.start < block || sequences.is_empty() {
                let what = format!("the extent of block {} overlaps another", blocks.start);
                return Err(BadSnapshot::new(what));
            }
            (sequence, block) = (sequences.end, blocks.end.max(blocks.start));
        }
        if sequence > self.next_sequence || block > self.next_block {
            return Err(BadSnapshot::new("an extent lies behind the end of the log"));
        }
        Ok(self)
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { closed, next_sequence, next_block, open_bytes } = self;
        hasher.ordered(closed, |hasher, Extent { sequences, blocks, bytes }| {
            let numbers = [sequences.start, sequences.end, blocks.start, blocks.end, *bytes];
            numbers.into_iter().for_each(|number| hasher.number(number));
        });
        for number in [next_sequence, next_block, open_bytes] {
            hasher.number(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec;

    use super::*;

    #[test]
    fn small_commits_gather_into_one_extent() {
        let mut extents = Extents::default();
        assert!(!extents.grow(3, 1, EXTENT_BYTES - 1));
        assert_eq!((extents.stored_before(), extents.find(1)), (0, None));
        assert!(extents.grow(4, 2, 1));
        let found = extents.find(3).unwrap();
        assert_eq!((found.sequences.clone(), found.blocks.clone()), (0..4, 0..2));
        assert!(extents.find(4).is_none());
    }

    #[test]
    fn blocks_of_no_extent_are_unused() {
        let mut extents = Extents::default();
        for number in 1..=4 {
            assert!(extents.grow(10 * number, 3 * number, EXTENT_BYTES));
        }
        extents.retain(|extent| extent.sequences.start == 10);
        assert_eq!(extents.unused_blocks(), vec![0..3, 6..12]);
        assert!(extents.find(5).is_none());
        assert_eq!(extents.find(19).unwrap().blocks, 3..6);
    }

    proptest! {
        #[test]
        fn every_batch_is_in_the_extent_that_was_closed_over_it(
            commits in proptest::collection::vec((0_u64..4, 1_u64..3, 1_u64..EXTENT_BYTES), 1..60),
        ) {
            let mut extents = Extents::default();
            let (mut sequence, mut block) = (0, 0);
            for (batches, blocks, bytes) in commits {
                sequence += batches;
                block += blocks;
                extents.grow(sequence, block, bytes);
                prop_assert!(extents.stored_before() <= sequence);
                prop_assert!(extents.next_block() <= block);
            }
            for sequence in 0..sequence {
                let found = extents.find(sequence);
                prop_assert_eq!(found.is_some(), sequence < extents.stored_before());
                prop_assert!(found.is_none_or(|extent| extent.blocks.end <= extents.next_block()));
            }
            prop_assert_eq!(extents.clone().check().unwrap(), extents);
        }
    }
}
