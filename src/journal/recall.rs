//! Reading back what shards have on disk only. One thread does so for all of them, beside the commits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use tidewire_core::shard::{LogEntry, Recall, Recalled, Recaller};
use tidewire_core::topic::{Batch, Body, LoggedBatch};

use super::block;
use super::store::Reads;

/// What is to be read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) shard: u16,
    pub(crate) recall: Recall,
}

/// Reads what is asked for, until nobody asks any more.
pub(super) fn read_all(
    reads: &Reads,
    jobs: &Receiver<Job>,
    hand_over: &dyn Fn(u16, Recaller, Recalled),
) {
    for Job { shard, recall } in jobs {
        let Recall { to, extent, wanted } = recall;
        // sled may panic at what is damaged.
        let read = || {
            // While blocks are being cleaned some are seen before and others after it.
            let once = || bodies(reads, shard, &extent.blocks, &wanted);
            once().or_else(|_first| once()).or_else(|_second| once())
        };
        let outcome = catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_panic| Err("its database is damaged".to_owned()));
        if let Err(reason) = &outcome {
            tracing::error!(shard, blocks = ?extent.blocks, %reason, "records cannot be read back");
        }
        hand_over(shard, to, Recalled { sequences: extent.sequences, outcome });
    }
}

/// The bodies of these batches, which lie in these blocks: sequence and bytes of each.
///
/// # Errors
/// What is missing or damaged.
pub(super) fn bodies(
    reads: &Reads,
    shard: u16,
    blocks: &std::ops::Range<u64>,
    wanted: &[(u64, u32)],
) -> Result<Vec<(u64, Bytes)>, String> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut left = wanted.iter().peekable();
    let place = |what: &str| {
        format!("shard {shard}, blocks {} to {}: {what}", blocks.start, blocks.end - 1)
    };
    for block in reads.scan(shard, blocks.clone()) {
        let (key, bytes) = block.map_err(|error: io::Error| place(&error.to_string()))?;
        reads.count_use(key).map_err(|error| place(&error.to_string()))?;
        let damaged =
            |error: block::BadBlock| format!("block {} of shard {shard}: {error}", key.index);
        let (head, body) = block::open(&bytes).map_err(damaged)?;
        for entry in block::entries(&head, body).map_err(damaged)? {
            let LogEntry::Batch(LoggedBatch(batch)) = entry else { continue };
            if left.peek().is_some_and(|(sequence, _)| *sequence < batch.sequence) {
                return Err(place("records are missing"));
            }
            let is_wanted = |(sequence, bytes): &&(u64, u32)| {
                *sequence == batch.sequence && *bytes as usize == batch.body.len()
            };
            if left.next_if(is_wanted).is_none() {
                continue;
            }
            let Batch { sequence, body: Body::Warm(body), .. } = &*batch else { continue };
            found.push((*sequence, body.clone()));
        }
    }
    match left.peek() {
        None => Ok(found),
        Some(_) => Err(place("records are missing")),
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
