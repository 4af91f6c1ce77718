//! The thread beside the commits that saves the states of shards, one after the other, and cleans their
//! logs.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use tidewire_core::shard::ShardSnapshot;

use super::base::Base;
use super::checkpoint::{Record, write};
use super::cleaning::Cleaning;
use super::message::Message;
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
    /// Of such blocks those that the shard's group may ask for still.
    pub(crate) held: Vec<Range<u64>>,
    /// The first block that is held.
    pub(super) held_from: u64,
    /// All is done with but what is held.
    pub(super) is_waiting: bool,
    /// The entry that the checkpoint stands on, if there is a group.
    pub(crate) base: Option<Base>,
    /// Bytes of the checkpoint, and of the blocks of the extents that are kept.
    pub(crate) kept_bytes: u64,
}

impl Covered {
    pub(crate) fn of(record: Record, snapshot: &ShardSnapshot) -> Self {
        let extents = snapshot.extents();
        let kept_bytes = record.bytes + extents.iter().map(|extent| extent.bytes).sum::<u64>();
        Self::unused(snapshot.shard(), record, extents.unused_blocks(), kept_bytes)
    }

    /// These blocks are not used any more.
    pub(super) fn unused(
        shard: u16,
        record: Record,
        unused: Vec<Range<u64>>,
        kept_bytes: u64,
    ) -> Self {
        let (held, held_from, is_waiting, base) = (Vec::new(), u64::MAX, false, None);
        Self { shard, record, unused, held, held_from, is_waiting, base, kept_bytes }
    }

    /// Holds those blocks that are wanted still; returns whether there is something else to do.
    pub(super) fn hold(&mut self, wanted_from: u64) -> bool {
        if self.held_from != wanted_from {
            self.held_from = wanted_from;
            let mut all = std::mem::take(&mut self.unused);
            all.append(&mut self.held);
            self.unused = before(&all, wanted_from);
            let wanted = all.into_iter().map(|Range { start, end }| start.max(wanted_from)..end);
            self.held = wanted.filter(|range| !range.is_empty()).collect();
            self.is_waiting &= self.unused.is_empty();
        }
        !self.is_waiting
    }

    /// What is not held is done with; returns which of the blocks that it said are, if others are held.
    pub(super) fn wait(&mut self, said: &[Range<u64>]) -> Option<Vec<Range<u64>>> {
        self.is_waiting = true;
        (!self.held.is_empty()).then(|| before(said, self.held_from))
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

/// What of these ranges lies before an index.
fn before(ranges: &[Range<u64>], index: u64) -> Vec<Range<u64>> {
    let cut = ranges.iter().map(|Range { start, end }| *start..index.min(*end));
    cut.filter(|range| !range.is_empty()).collect()
}

/// What is done beside the commits.
pub(crate) enum Job {
    /// A state is to be written. The blocks before `covers` are in it.
    Save { shard: u16, covers: u64, snapshot: Box<ShardSnapshot>, base: Option<Base> },
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
                Some(Job::Save { shard, covers, snapshot, base }) => {
                    // What is found now is cleaned when this one counts.
                    to_clean.retain(|known| *known != shard);
                    cleaning.look(&snapshot, self.state.wanted().from(shard), &self.reads);
                    let outcome = self.save(covers, &snapshot);
                    let outcome = outcome.map(|covered| Covered { base, ..covered });
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
        let mut covered = Covered::unused(16, record, unused, 0);
        covered.without(&[0..10, 22..24, 26..30, 45..46]);
        assert_eq!(covered.unused, vec![20..22, 24..26, 40..45, 46..50]);
        covered.without(&[0..48, 48..100]);
        assert!(covered.unused.is_empty());
    }

    #[test]
    fn what_a_group_may_ask_for_stays_until_it_does_not() {
        let record = Record { covers: 50, first: 0, parts: 3, bytes: 6 };
        let said = vec![0..10, 20..30, 40..50];
        let mut covered = Covered::unused(16, record, said.clone(), 0);
        assert!(covered.hold(25));
        assert_eq!((&covered.unused, &covered.held), (&vec![0..10, 20..25], &vec![25..30, 40..50]));
        // All of it is removed, and then there is nothing to do before the group has purged more.
        covered.unused.clear();
        assert_eq!(covered.wait(&said), Some(vec![0..10, 20..25]));
        assert!(!covered.hold(25));
        assert!(covered.hold(45));
        assert_eq!(covered.unused, [25..30, 40..45]);
        assert_eq!(covered.held.first(), Some(&(45..50)));
        assert!(covered.hold(u64::MAX));
        covered.unused.clear();
        assert_eq!(covered.wait(&said), None);
    }
}
