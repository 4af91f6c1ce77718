//! The journal of a shard in the simulation: its blocks, and what is read back from them.

use bytes::Bytes;
use tidewire_core::shard::{Command, LogEntry, Recall, Recalled, Round};
use tidewire_core::topic::{EXTENT_BYTES, LoggedBatch};

/// What one shard has logged: a block for each round.
#[derive(Default)]
pub(crate) struct Disk {
    blocks: Vec<Vec<LogEntry>>,
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

    /// What is read back. All that was wanted must be there.
    pub(crate) fn read(&self, recall: &Recall) -> Recalled {
        let Recall { extent, wanted, .. } = recall;
        let (from, to) = (extent.blocks.start as usize, extent.blocks.end as usize);
        let entries = self.blocks[from..to].iter().flatten();
        let batches = entries.filter_map(|entry| match entry {
            LogEntry::Batch(LoggedBatch(batch)) => Some(batch),
            _ => None,
        });
        let bodies: Vec<(u64, Bytes)> = batches
            .map(|batch| (batch.sequence, batch.body.warm().unwrap().clone()))
            .filter(|(sequence, body)| wanted.contains(&(*sequence, body.len() as u32)))
            .collect();
        assert_eq!(bodies.len(), wanted.len(), "an extent holds what it says");
        Recalled { sequences: extent.sequences.clone(), outcome: Ok(bodies) }
    }
}
