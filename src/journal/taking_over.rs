//! The committer's part of a state that comes from another node: that it counts, all at once, and that what it
//! has taken the place of goes.

use std::collections::HashMap;
use std::io;

use super::base::Base;
use super::checkpoint::Record;
use super::committer::{Committer, REMOVALS_MAX};
use super::disk::Disk;
use super::places::Place;
use super::saving::Covered;

/// What the committer has to know of states that were taken over, and of shards' own that they may meet.
#[derive(Debug, Default)]
pub(crate) struct TakenOver {
    /// How far the checkpoint of each shard goes that counts.
    covers: HashMap<u16, u64>,
    /// Of each shard how many of its own states are being written; and how many of these are from before
    /// another one was taken over, so that they may not count.
    saving: HashMap<u16, (u32, u32)>,
    /// Shards of which blocks may be there that belong to no state that counts.
    left: Vec<u16>,
}

impl TakenOver {
    /// As the checkpoints of shards were found at the start.
    pub(super) fn found(records: impl Iterator<Item = (u16, Record)>) -> Self {
        let covers: HashMap<_, _> = records.map(|(shard, record)| (shard, record.covers)).collect();
        // Something may have been left over; what was taken of a state that does not count yet is not
        // looked for, for it may go on.
        Self { covers, ..Self::default() }
    }

    /// A state of a shard is being written.
    pub(super) fn saves(&mut self, shard: u16) {
        self.saving.entry(shard).or_default().0 += 1;
    }

    /// The state that has been written is from before another one was taken over.
    pub(super) fn is_stale(&mut self, shard: u16) -> bool {
        let (under_way, stale) = self.saving.entry(shard).or_default();
        *under_way = under_way.saturating_sub(1);
        let is_stale = *stale > 0;
        *stale = stale.saturating_sub(1);
        is_stale
    }

    /// A checkpoint counts.
    pub(super) fn counts(&mut self, shard: u16, record: Record) {
        self.covers.insert(shard, record.covers);
        if !self.left.contains(&shard) {
            self.left.push(shard);
        }
    }
}

impl<D: Disk> Committer<D> {
    /// Makes a state count whose parts and blocks are there. An error of the disk poisons the journal.
    ///
    /// # Errors
    /// When it may not count, or something fails.
    pub(super) fn take_over(&mut self, covered: Covered, place: Place) -> io::Result<()> {
        let (shard, record) = (covered.shard, covered.record);
        let refuse = |what: &str| {
            Err(io::Error::other(format!("the state of shard {shard} is not taken over: {what}")))
        };
        if let Some(failure) = self.state.failure() {
            return refuse(failure);
        }
        let Some(base) = covered.base.clone().filter(|base| base.is_taken_over) else {
            return refuse("it does not come from a leader");
        };
        if self.taken_over.covers.get(&shard).is_some_and(|covers| record.covers <= *covers) {
            return refuse("what is here is as new");
        }
        // Blocks of the log before it are not looked at any more, and of commits behind the written ends a
        // start wants to find all.
        self.write_ends();
        if !self.kept_ends.say(&self.ends) {
            return refuse("the file `ends` cannot be written");
        }
        self.make_count(&base, record, place, shard).inspect_err(|error| self.state.fail(error))?;
        // What was removed of the state before says nothing of this one.
        self.removed.remove(&shard);
        let (under_way, stale) = self.taken_over.saving.entry(shard).or_default();
        *stale = *under_way;
        self.counts(covered);
        Ok(())
    }

    fn make_count(
        &mut self,
        base: &Base,
        record: Record,
        place: Place,
        shard: u16,
    ) -> io::Result<()> {
        // Whoever is packing blocks of the state before must not do so in the new one.
        let state = std::sync::Arc::clone(&self.state);
        let _replacing = state.replacing();
        self.disk.take_over(shard, record, base, place)
    }

    /// Removes some of what belongs to no state that counts.
    pub(super) fn remove_left(&mut self) {
        let state = &self.state;
        let is_free = |shard: &u16| !state.is_held(*shard) && !state.is_taking(*shard);
        let Some(at) = self.taken_over.left.iter().rposition(is_free) else { return };
        let Some(shard) = self.taken_over.left.get(at).copied() else { return };
        let wanted_from = state.wanted().from(shard);
        match self.disk.remove_left(shard, wanted_from, REMOVALS_MAX) {
            Ok(true) => drop(self.taken_over.left.remove(at)),
            Ok(false) => {}
            Err(error) => state.fail(&error),
        }
    }
}
