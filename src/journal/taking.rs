//! A state of a shard that is being taken from another node. Its blocks and its parts are written beside what
//! is here, which stays as it is and in use; then it counts, all at once.
//!
//! What has come stays when taking it ends early, also over a restart: the next attempt finds its blocks, as
//! long as no checkpoint of this node's own has counted meanwhile.

use std::io;
use std::ops::Range;
use std::sync::mpsc;

use tidewire_core::is_durable;
use tidewire_core::shard::ShardSnapshot;

use super::base::Base;
use super::checkpoint::{self, Record, sealed};
use super::group_log::GroupLog;
use super::group_state::behind;
use super::key::Key;
use super::message::{Change, Done, Message, TakenBlocks};
use super::places::{Place, Slot};
use super::saving::Covered;

/// Number of the first part of a state from elsewhere. The parts of a shard's own states that cover as
/// much have lower ones.
const FIRST_PART: u32 = 1 << 31;
/// Bytes of a part, at most: sled writes what is much larger into a file that it does not sync.
pub(crate) const STATE_PART_BYTES_MAX: usize = 64 * 1024;

/// A state on its way into the journal. One at a time of each shard. All of it blocks.
pub(crate) struct Taking {
    log: GroupLog,
    slot: Slot,
    base: Base,
    parts: u32,
    bytes: u64,
}

impl GroupLog {
    /// Begins to take a state that stands on an entry of this group.
    ///
    /// # Errors
    /// When another one is being taken, or what is here is as new, or nothing can be written any more.
    pub(crate) fn begin_taking(&self, base: Base) -> io::Result<Taking> {
        if !is_durable(self.shard) {
            return Err(self.refusal("it has no shard whose state could be taken"));
        }
        if self.remembered().committed >= Some(base.last) {
            return Err(self.refusal("no state is taken that is not newer than what is here"));
        }
        if self.state.set_taking(self.shard, true) {
            return Err(self.refusal("a state of it is being taken already"));
        }
        let slot = self.reads.places().next_slot(self.shard);
        let base = Base { is_taken_over: true, ..base };
        let taking = Taking { log: self.clone(), slot, base, parts: 0, bytes: 0 };
        // From the next commit on nothing is removed of what is there of an earlier attempt.
        taking.write(Vec::new())?;
        Ok(taking)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.log.state.set_taking(self.log.shard, false);
    }
}

impl Taking {
    /// What it stands on.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    pub(crate) fn shard(&self) -> u16 {
        self.log.shard
    }

    /// The blocks that have come, in this attempt or an earlier one.
    pub(crate) fn come(
        &self,
        indices: Range<u64>,
    ) -> impl Iterator<Item = io::Result<(u64, Vec<u8>)>> + use<> {
        let blocks = self.log.reads.scan_slot(self.slot, self.log.shard, indices);
        blocks.map(|block| block.map(|(key, bytes)| (key.index, bytes)))
    }

    /// The blocks of the state that counts here, as far as its group has committed them.
    pub(crate) fn known(
        &self,
        indices: Range<u64>,
    ) -> impl Iterator<Item = io::Result<(u64, Vec<u8>)>> + use<> {
        let committed = behind(self.log.remembered().committed);
        let indices = indices.start..indices.end.min(committed).max(indices.start);
        let blocks = self.log.reads.scan(self.log.shard, indices);
        blocks.map(|block| block.map(|(key, bytes)| (key.index, bytes)))
    }

    /// Removes blocks that have come and do not belong to the state.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn remove(&self, indices: Range<u64>) -> io::Result<()> {
        self.log.reads.remove_from_slot(self.slot, self.log.shard, indices)
    }

    /// Writes blocks; they are on the disk when this returns.
    ///
    /// # Errors
    /// When they may not be, or the disk is full.
    pub(crate) fn write(&self, blocks: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        if self.log.state.is_full() {
            let what = "no state is taken, for the disk's reserve is reached \
                        (storage.free_bytes_min): make room";
            return Err(self.log.refusal(what));
        }
        let weight = blocks.iter().map(|(_, block)| block.len()).sum();
        let shard = self.log.shard;
        let key = |(index, block)| (Key { shard, index }, block);
        let blocks = blocks.into_iter().map(key).collect();
        let change = Change::Take(TakenBlocks { slot: self.slot, blocks });
        self.wait(|done| {
            let log = self.log.lock();
            self.log.write(&log, change, weight, Some(done))
        })
    }

    /// Writes the next part of the state; it is on the disk with the blocks that are written after it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put_part(&mut self, part: &[u8]) -> io::Result<()> {
        let mut bytes = vec![0; size_of::<u32>()];
        bytes.extend_from_slice(part);
        let record = self.record();
        self.log.parts.put(self.log.shard, record.covers, record.next_part(), sealed(bytes))?;
        self.parts += 1;
        self.bytes += part.len() as u64;
        Ok(())
    }

    /// Bytes of the parts that have been written.
    pub(crate) fn state_bytes(&self) -> u64 {
        self.bytes
    }

    /// The state, as its parts say.
    ///
    /// # Errors
    /// When they are no state of a shard.
    pub(crate) fn read(&self) -> io::Result<ShardSnapshot> {
        checkpoint::read(&self.log.parts, self.log.shard, self.record())
    }

    /// Makes the state count, of which everything has come, and says of the log that it begins behind it. When
    /// this returns it is on the disk; if it fails the earlier state counts.
    ///
    /// # Errors
    /// When what is here is as new, or nothing can be written any more.
    pub(crate) fn take_over(self, snapshot: &ShardSnapshot) -> io::Result<()> {
        let covered = Covered::of(self.record(), snapshot);
        let covered = Box::new(Covered { base: Some(self.base.clone()), ..covered });
        let place = Place { slot: self.slot, before: self.base.covers() };
        self.wait(|done| self.log.send(Message::TakeOver { covered, place, done }))?;
        let last = self.base.last;
        self.log.purge(last)?;
        self.log.save_committed(self.log.remembered().committed.max(Some(last)))
    }

    fn record(&self) -> Record {
        let Self { parts, bytes, .. } = *self;
        Record { covers: self.base.covers(), first: FIRST_PART, parts, bytes }
    }

    fn wait(&self, send: impl FnOnce(Done) -> io::Result<()>) -> io::Result<()> {
        let (sender, outcome) = mpsc::sync_channel(1);
        send(Done::new(move |done| drop(sender.send(done))))?;
        outcome.recv().map_err(|_gone| self.log.refusal("the journal has ended"))?
    }
}
