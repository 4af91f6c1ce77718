//! The journal of a shard in the simulation: its blocks, and what is read back from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::shard::{Command, LogEntry, Recall, Recalled, Round};
use tidewire_core::topic::{Batch, EXTENT_BYTES, LoggedBatch};

/// What one shard has logged: a block for each round.
#[derive(Default)]
pub(crate) struct Disk {
    blocks: Vec<Vec<LogEntry>>,
    /// Blocks that cannot be read.
    damaged: BTreeSet<usize>,
    /// So many reads fail from now on.
    pub(crate) failures: u32,
}

impl Disk {
    pub(crate) fn append(&mut self, round: &mut Round) {
        if !round.log.is_empty() {
            self.blocks.push(std::mem::take(&mut round.log));
        }
    }

    /// What the shard is told when all of it is on disk; each time an extent of its own.
    pub(crate) fn stored(&self, next_sequence: u64) -> Command {
        let next_block = self.blocks.len() as u64;
        Command::Stored { next_sequence, next_block, bytes: EXTENT_BYTES }
    }

    /// Damages the block that holds a record; returns the offsets of its batch.
    pub(crate) fn damage(&mut self, topic: &str, offset: u64) -> Option<(u64, u64)> {
        let found = self.blocks.iter().enumerate().find_map(|(index, block)| {
            let mut batches = block.iter().filter_map(batch_in);
            let holds =
                |batch: &&Arc<Batch>| batch.topic.as_str() == topic && batch.next() > offset;
            batches.find(holds).map(|batch| (index, (batch.base, batch.next())))
        });
        let (index, offsets) = found?;
        self.damaged.insert(index);
        Some(offsets)
    }

    pub(crate) fn read(&mut self, recall: &Recall) -> Recalled {
        let Recall { extent, wanted, .. } = recall;
        let sequences = extent.sequences.clone();
        if self.failures > 0 {
            self.failures -= 1;
            return Recalled { sequences, reason: Some("for once".into()), bodies: Vec::new() };
        }
        let blocks = extent.blocks.start as usize..extent.blocks.end as usize;
        let whole = blocks.filter(|index| !self.damaged.contains(index));
        let bodies: Vec<(u64, Bytes)> = whole
            .flat_map(|index| self.blocks[index].iter().filter_map(batch_in))
            .map(|batch| (batch.sequence, batch.body.warm().unwrap().clone()))
            .filter(|(sequence, body)| wanted.contains(&(*sequence, body.len() as u32)))
            .collect();
        let is_whole = bodies.len() == wanted.len();
        assert!(is_whole || !self.damaged.is_empty(), "an extent holds what it says");
        Recalled { sequences, bodies, reason: (!is_whole).then(|| "damaged".into()) }
    }
}

fn batch_in(entry: &LogEntry) -> Option<&Arc<Batch>> {
    match entry {
        LogEntry::Batch(LoggedBatch(batch)) => Some(batch),
        _ => None,
    }
}
