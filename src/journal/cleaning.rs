//! Cleaning: what is still kept of extents that hold little else is written together, and the rest
//! of their blocks goes. Without it a record that is kept for long would keep everything that was
//! logged beside it.
//!
//! An extent stays where it is, with fewer blocks and the same records. It is cleaned only after a
//! checkpoint counts that was made of the same state, so nothing that a start would read is touched.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidewire_core::shard::{LogEntry, ShardSnapshot};
use tidewire_core::topic::{Extent, LoggedBatch, StoredBatch};

use super::block::{self, BLOCK_BYTES, BlockKind, Body, Head};
use super::key::Key;
use super::places::Place;
use super::reads::Reads;
use super::state::State;

/// An extent is cleaned when what is kept takes less than this part of it.
const KEPT_SHARE: u64 = 4;
/// Bytes that a batch takes beside its records, about.
const BATCH_HEAD_BYTES: u64 = 64;

/// Blocks, with their keys.
type Packed = Vec<(Key, Vec<u8>)>;

/// An extent of which little is kept.
#[derive(Debug)]
struct Sparse {
    shard: u16,
    blocks: Range<u64>,
    /// Where they lie: not any more once another state has taken their place.
    place: Option<Place>,
    /// Sequences of the batches that are kept.
    wanted: Vec<u64>,
}

/// What is to be cleaned, and what was.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    found: HashMap<u16, Vec<Sparse>>,
    /// Bytes that were left in an extent, by shard and first block.
    cleaned: HashMap<(u16, u64), u64>,
}

impl Cleaning {
    /// Looks for extents to clean, once the checkpoint of this state counts. Blocks from `wanted_from`
    /// on are left as they are: the shard's group may ask for them.
    pub(super) fn look(&mut self, snapshot: &ShardSnapshot, wanted_from: u64, reads: &Reads) {
        let (shard, stored) = (snapshot.shard(), snapshot.stored());
        let place = reads.places().of(shard);
        let mut left = HashMap::new();
        let mut found = Vec::new();
        for Extent { sequences, blocks, bytes } in snapshot.extents().iter() {
            if blocks.end > wanted_from {
                break;
            }
            let first = stored.partition_point(|batch| batch.sequence < sequences.start);
            let behind = stored.partition_point(|batch| batch.sequence < sequences.end);
            let batches = stored.get(first..behind).unwrap_or_default();
            let kept = |batch: &StoredBatch| u64::from(batch.bytes) + BATCH_HEAD_BYTES;
            let kept: u64 = batches.iter().map(kept).sum();
            let known = self.cleaned.remove(&(shard, blocks.start));
            if let Some(bytes) = known {
                left.insert((shard, blocks.start), bytes);
            }
            let is_small = kept * KEPT_SHARE < known.unwrap_or(*bytes);
            if is_small && reads.is_in_one_tree(shard, blocks) {
                let wanted = batches.iter().map(|batch| batch.sequence).collect();
                found.push(Sparse { shard, blocks: blocks.clone(), place, wanted });
            }
        }
        self.cleaned.retain(|(of, _), _| *of != shard);
        self.cleaned.extend(left);
        self.found.insert(shard, found);
    }

    /// Cleans at most so many extents of those that were found in a shard; returns whether that was all.
    /// What is damaged is left as it is; an error of a write poisons the journal.
    pub(super) fn clean(&mut self, reads: &Reads, shard: u16, state: &State, most: usize) -> bool {
        for _ in 0..most {
            let found = self.found.get_mut(&shard).and_then(Vec::pop);
            let Some(sparse) = found else { return true };
            if state.failure().is_some() || state.is_held(shard) || state.is_stopping() {
                return true;
            }
            // sled may panic at what is damaged.
            let gather = || sparse.gather(reads, shard);
            let gathered = catch_unwind(AssertUnwindSafe(gather))
                .unwrap_or_else(|_panic| Err(io::Error::other("the database is damaged")));
            let place = (shard, sparse.blocks.start);
            match gathered.map(|gathered| sparse.replace(reads, state, gathered)) {
                Ok(Some(bytes)) => drop(self.cleaned.insert(place, bytes)),
                Ok(None) => return true,
                Err(error) => {
                    let blocks = &sparse.blocks;
                    tracing::error!(shard, ?blocks, %error, "a part of the journal is not cleaned");
                    // It is not looked at again before the next start.
                    self.cleaned.insert(place, 0);
                }
            }
        }
        false
    }
}

impl Sparse {
    /// What is kept, in as few blocks as it takes, and the bytes of the blocks that it is in now.
    fn gather(&self, reads: &Reads, shard: u16) -> io::Result<(u64, Packed)> {
        let mut kept = Vec::with_capacity(self.wanted.len());
        let (mut before, mut last) = (0, Head::default());
        for block in reads.scan(shard, self.blocks.clone()) {
            let (_, bytes) = block?;
            before += bytes.len() as u64;
            let (head, body) = block::open(&bytes).map_err(io::Error::other)?;
            for entry in block::entries(&head, body).map_err(io::Error::other)? {
                let is_kept = |LoggedBatch(batch): &LoggedBatch| {
                    self.wanted.binary_search(&batch.sequence).is_ok()
                };
                if matches!(&entry, LogEntry::Batch(logged) if is_kept(logged)) {
                    kept.push(entry);
                }
            }
            last = head;
        }
        if kept.len() != self.wanted.len() {
            let (found, wanted) = (kept.len(), self.wanted.len());
            return Err(io::Error::other(format!("{found} of {wanted} batches are there")));
        }
        let blocks_max = usize::try_from(self.blocks.end - self.blocks.start);
        let blocks_max = blocks_max.unwrap_or(usize::MAX);
        Ok((before, pack_into(&kept, shard, (self.blocks.start, blocks_max), last)?))
    }

    /// Puts blocks into the place of those that are there, if that frees something; returns the bytes
    /// that there are then. `None`: it is not to be done now, or has failed.
    fn replace(
        &self,
        reads: &Reads,
        state: &State,
        (before, blocks): (u64, Packed),
    ) -> Option<u64> {
        let bytes = blocks.iter().map(|(_, block)| block.len() as u64).sum();
        if bytes >= before {
            return Some(bytes);
        }
        let replacing = state.replacing();
        // Somebody may have begun to read all of them meanwhile, or they count no more.
        if state.is_held(self.shard) || reads.places().of(self.shard) != self.place {
            return None;
        }
        let replaced = reads.replace(self.shard, self.blocks.clone(), blocks);
        drop(replacing);
        replaced.inspect_err(|error| state.fail(error)).ok()?;
        state.cleaned(before - bytes);
        Some(bytes)
    }
}

/// Packs entries into no more blocks than this from an index on: larger ones, if there is a round of a
/// group among those in which they were, for such a round is one block, however large.
///
/// # Errors
/// When an entry cannot be encoded.
fn pack_into(
    entries: &[LogEntry],
    shard: u16,
    (first, blocks_max): (u64, usize),
    like: Head,
) -> io::Result<Packed> {
    let mut bytes_max = BLOCK_BYTES;
    loop {
        let blocks = pack_within(entries, shard, first, like, bytes_max)?;
        // One block holds them all in the end.
        if blocks.len() <= blocks_max.max(1) {
            return Ok(blocks);
        }
        bytes_max = bytes_max.saturating_mul(2);
    }
}

/// Packs entries into blocks from this index on.
///
/// # Errors
/// When an entry cannot be encoded.
pub(super) fn pack(
    entries: &[LogEntry],
    shard: u16,
    first: u64,
    like: Head,
) -> io::Result<Vec<(Key, Vec<u8>)>> {
    pack_within(entries, shard, first, like, BLOCK_BYTES)
}

fn pack_within(
    entries: &[LogEntry],
    shard: u16,
    first: u64,
    like: Head,
    bytes_max: usize,
) -> io::Result<Packed> {
    let mut blocks = Vec::new();
    let mut open = Body::at(like.version, like.time_ms);
    let mut finish = |body: Body| {
        let index = first + blocks.len() as u64;
        let kind = BlockKind::Changes;
        let head = Head { shard, index, commit: 0, place: 0, blocks: 1, kind, ..like };
        blocks.push((Key { shard, index }, body.finish(head)));
    };
    for entry in entries {
        if !open.push_within(entry, bytes_max).map_err(io::Error::other)? {
            finish(std::mem::replace(&mut open, Body::at(like.version, like.time_ms)));
            open.push_within(entry, bytes_max).map_err(io::Error::other)?;
        }
    }
    if !open.is_empty() {
        finish(open);
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use tidewire_protocol::Name;

    use super::*;

    fn entry(bytes: usize) -> LogEntry {
        let topic = Name::parse("t").unwrap();
        let (key, value) = ("k".into(), Some(vec![7; bytes].into()));
        LogEntry::MapKey { topic, key, version: 1, expires_at_ms: None, value }
    }

    #[test]
    fn what_was_in_a_few_large_blocks_is_packed_into_no_more_than_these() {
        let entries: Vec<_> = (0..40).map(|_| entry(BLOCK_BYTES / 3)).collect();
        assert_eq!(pack(&entries, 16, 5, Head::default()).unwrap().len(), 20);
        for blocks_max in [1, 2, 3, 7, 19, 20, 100] {
            let blocks = pack_into(&entries, 16, (5, blocks_max), Head::default()).unwrap();
            assert!(blocks.len() <= blocks_max, "{} of {blocks_max}", blocks.len());
            let mut found = 0;
            for ((key, bytes), index) in blocks.iter().zip(5..) {
                let (head, body) = block::open(bytes).unwrap();
                assert_eq!((key.index, head.index), (index, index));
                found += block::entries(&head, body).unwrap().len();
            }
            assert_eq!(found, 40);
        }
    }
}
