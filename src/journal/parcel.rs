//! Blocks as they go from one node to another.

use tidewire_core::shard::LogEntry;
use tidewire_core::topic::{LoggedBatch, StoredBatch};

use super::block::{self, Head};

/// The block without its place in a commit, which is a matter of each node's own journal.
///
/// # Errors
/// What is wrong with the block.
pub(crate) fn without_commit(block: &[u8]) -> Result<Vec<u8>, String> {
    let (head, body) = block::open(block).map_err(|error| error.to_string())?;
    Ok(block::seal(&Head { commit: 0, place: 0, blocks: 1, ..head }, body))
}

/// The batches in a block, which is this one of this shard.
///
/// # Errors
/// What is wrong with the block.
pub(crate) fn batches_of(block: &[u8], shard: u16, index: u64) -> Result<Vec<StoredBatch>, String> {
    let (head, body) = block::open(block).map_err(|error| error.to_string())?;
    if (head.shard, head.index) != (shard, index) {
        return Err(format!("it is block {} of shard {}", head.index, head.shard));
    }
    let entries = block::entries(&head, body).map_err(|error| error.to_string())?;
    let batch = |entry| {
        let LogEntry::Batch(LoggedBatch(batch)) = entry else { return None };
        let bytes = u32::try_from(batch.body.len()).unwrap_or(u32::MAX);
        let (next, sequence) = (batch.next(), batch.sequence);
        Some(StoredBatch { topic: batch.topic.clone(), base: batch.base, next, sequence, bytes })
    };
    Ok(entries.into_iter().filter_map(batch).collect())
}
