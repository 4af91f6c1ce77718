//! Reading back what shards have on disk only. One thread does so for all of them, beside the commits.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use tidewire_core::shard::{LogEntry, Recall, Recalled, Recaller};
use tidewire_core::topic::{Batch, Body, LoggedBatch};

use super::block;
use super::reads::Reads;
use super::state::State;

/// Reads again when something is missing: while blocks are being cleaned some are seen before and
/// others after it.
const TRIES: usize = 3;

/// What is to be read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) shard: u16,
    pub(crate) recall: Recall,
}

/// What was found of batches that were looked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Sequence and body of each, in order.
    pub(crate) bodies: Vec<(u64, Bytes)>,
    /// Blocks that were read, and their bytes.
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Why others are missing.
    pub(crate) reason: Option<String>,
}

/// Reads what is asked for, until nobody asks any more, or the journal ends.
pub(super) fn read_all(
    reads: &Reads,
    jobs: &Receiver<Job>,
    state: &State,
    hand_over: &dyn Fn(u16, Recaller, Recalled),
) {
    for Job { shard, recall } in jobs {
        if state.is_stopping() {
            return;
        }
        let Recall { to, extent, wanted } = recall;
        let mut found = Found::default();
        for _ in 0..TRIES {
            found = bodies(reads, shard, &extent.blocks, &wanted);
            if found.reason.is_none() {
                break;
            }
        }
        let Found { bodies, reason, .. } = found;
        if let Some(reason) = &reason {
            // Retention may have removed them meanwhile; who wants them asks again then.
            tracing::warn!(%reason, "records cannot be read back");
        }
        hand_over(shard, to, Recalled { sequences: extent.sequences, bodies, reason });
    }
}

/// Reads the bodies of these batches (sequence and bytes of each, in order), which lie in these blocks.
pub(super) fn bodies(
    reads: &Reads,
    shard: u16,
    blocks: &Range<u64>,
    wanted: &[(u64, u32)],
) -> Found {
    let mut found = Found { bodies: Vec::with_capacity(wanted.len()), ..Found::default() };
    // sled may panic at what is damaged.
    let read = AssertUnwindSafe(|| read_into(&mut found, reads, shard, blocks, wanted));
    if catch_unwind(read).is_err() {
        found.reason = Some(format!("shard {shard}: the database is damaged"));
    }
    if found.bodies.len() < wanted.len() {
        let last = blocks.end.saturating_sub(1);
        let missing = || format!("shard {shard}: blocks {} to {last} lack batches", blocks.start);
        found.reason.get_or_insert_with(missing);
    }
    found
}

fn read_into(
    found: &mut Found,
    reads: &Reads,
    shard: u16,
    blocks: &Range<u64>,
    wanted: &[(u64, u32)],
) {
    for block in reads.scan(shard, blocks.clone()) {
        let (key, bytes) = match block {
            Ok(block) => block,
            Err(error) => {
                found.reason = Some(format!("shard {shard}: {error}"));
                return;
            }
        };
        found.blocks += 1;
        found.bytes += bytes.len() as u64;
        let opened = block::open(&bytes).and_then(|(head, body)| block::entries(&head, body));
        let entries = match opened {
            Ok(entries) => entries,
            // What lies in the blocks behind it can be read.
            Err(error) => {
                found.reason = Some(format!("block {} of shard {shard}: {error}", key.index));
                continue;
            }
        };
        for entry in entries {
            let LogEntry::Batch(LoggedBatch(batch)) = entry else { continue };
            let Batch { sequence, body: Body::Warm(body), .. } = &*batch else { continue };
            let at = wanted.binary_search_by_key(sequence, |(sequence, _)| *sequence);
            let is_wanted = at.ok().and_then(|at| wanted.get(at));
            let is_new = found.bodies.last().is_none_or(|(last, _)| last < sequence);
            if is_new && is_wanted.is_some_and(|(_, bytes)| *bytes as usize == body.len()) {
                found.bodies.push((*sequence, body.clone()));
            }
        }
    }
}

/// The batches in a block: sequence and bytes of each.
///
/// # Errors
/// What is wrong with the block.
pub(crate) fn batches_in(block: &[u8]) -> Result<Vec<(u64, usize)>, String> {
    let opened = block::open(block).and_then(|(head, body)| block::entries(&head, body));
    let entries = opened.map_err(|error| error.to_string())?;
    let batch = |entry| {
        let LogEntry::Batch(LoggedBatch(batch)) = entry else { return None };
        Some((batch.sequence, batch.body.len()))
    };
    Ok(entries.into_iter().filter_map(batch).collect())
}
