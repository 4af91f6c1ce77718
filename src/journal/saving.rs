//! The thread beside the commits that saves the states of shards, one after the other, and cleans their
//! logs.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use tidewire_core::shard::ShardSnapshot;

use super::checkpoint::{Record, write};
use super::cleaning::Cleaning;
use super::committer::Message;
use super::reads::Reads;
use super::state::State;
use super::store::Parts;

/// What a checkpoint makes superfluous: earlier checkpoints of the shard, and blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) shard: u16,
    pub(crate) record: Record,
    /// Blocks that hold no record that is kept, and nothing else that is not in the checkpoint.
    pub(crate) unused: Vec<Range<u64>>,
    /// Bytes of the checkpoint, and of the blocks of the extents that are kept.
    pub(crate) kept_bytes: u64,
}

impl Covered {
    pub(crate) fn of(record: Record, snapshot: &ShardSnapshot) -> Self {
        let extents = snapshot.extents();
        let kept_bytes = record.bytes + extents.iter().map(|extent| extent.bytes).sum::<u64>();
        Self { shard: snapshot.shard(), record, unused: extents.unused_blocks(), kept_bytes }
    }

    /// Takes out what an earlier one has said, in order, and is done with.
    pub(super) fn without(&mut self, done: &[Range<u64>]) {
        let mut unused = Vec::new();
        let mut done = done.iter().peekable();
        for Range { start, end } in std::mem::take(&mut self.unused) {
            let mut from = start;
            while let Some(gone) = done.peek().filter(|gone| gone.start < end) {
                if from < gone.start {
                    unused.push(from..gone.start);
                }
                from = from.max(gone.end);
                if gone.end > end {
                    break;
                }
                done.next();
            }
            if from < end {
                unused.push(from..end);
            }
        }
        self.unused = unused;
    }
}

/// What is done beside the commits.
pub(crate) enum Job {
    /// A state is to be written. The blocks before `covers` are in it.
    Save { shard: u16, covers: u64, snapshot: Box<ShardSnapshot> },
    /// The newest checkpoint of a shard counts: what it says is sparse is cleaned.
    Clean { shard: u16 },
}

/// Extents that are cleaned before the next look at what else is to be done.
const CLEANED_AT_ONCE: usize = 16;

/// What is done beside the commits, and with what.
pub(crate) struct Writer {
    pub(crate) parts: Parts,
    pub(crate) reads: Reads,
    pub(crate) state: Arc<State>,
    pub(crate) committer: SyncSender<Message>,
    /// What was written last of each shard, whether it counts or not.
    pub(crate) written: HashMap<u16, Record>,
}

impl Writer {
    /// Writes checkpoints and cleans, until nobody asks for any more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let (mut cleaning, mut to_clean) = (Cleaning::default(), Vec::new());
        loop {
            // Checkpoints go first: cleaning may take long.
            let job = match to_clean.last().copied() {
                None => jobs.recv().ok(),
                Some(shard) => match jobs.try_recv() {
                    Ok(job) => Some(job),
                    Err(TryRecvError::Disconnected) => None,
                    Err(TryRecvError::Empty) => {
                        let state = &self.state;
                        if cleaning.clean(&self.reads, shard, state, CLEANED_AT_ONCE) {
                            to_clean.pop();
                        }
                        continue;
                    }
                },
            };
            match job {
                None => return,
                Some(Job::Save { shard, covers, snapshot }) => {
                    // What is found now is cleaned when this one counts.
                    to_clean.retain(|known| *known != shard);
                    cleaning.look(&snapshot);
                    let outcome = self.save(covers, &snapshot);
                    if self.committer.send(Message::Written { shard, outcome }).is_err() {
                        return;
                    }
                }
                Some(Job::Clean { shard }) => to_clean.push(shard),
            }
        }
    }

    pub(super) fn save(&mut self, covers: u64, snapshot: &ShardSnapshot) -> io::Result<Covered> {
        let shard = snapshot.shard();
        // Nothing may have been logged since the one before: its parts are not written over.
        let before = self.written.get(&shard).filter(|record| record.covers == covers);
        let first = before.map_or(0, Record::next_part);
        let record = write(&self.parts, (covers, first), snapshot)?;
        self.written.insert(shard, record);
        Ok(Covered::of(record, snapshot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_not_looked_for_again() {
        let record = Record { covers: 7, first: 0, parts: 3, bytes: 6 };
        let unused = vec![0..10, 20..30, 40..50];
        let mut covered = Covered { shard: 16, record, unused, kept_bytes: 0 };
        covered.without(&[0..10, 22..24, 26..30, 45..46]);
        assert_eq!(covered.unused, vec![20..22, 24..26, 40..45, 46..50]);
        covered.without(&[0..48, 48..100]);
        assert!(covered.unused.is_empty());
    }
}
