//! The checkpoint of a group's shard that counts, as it is read beside the commits: for other nodes that lack
//! more than the log has, and for this one when its copy is to be made again.

use std::io;

use tidewire_core::shard::ShardSnapshot;

use super::base::Base;
use super::checkpoint::{self, Record};
use super::group_log::GroupLog;
use super::holds::Hold;
use super::reads::Reads;
use super::store::Parts;

/// A checkpoint. As long as it is there, nothing goes that belongs to it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    _hold: Hold,
    parts: Parts,
    reads: Reads,
    shard: u16,
    record: Record,
    base: Base,
}

impl GroupLog {
    /// What the checkpoint of the shard stands on that counts, if there is one that stands on an entry of
    /// the group. Blocks.
    ///
    /// # Errors
    /// When the disk fails, or what it says is damaged.
    pub(crate) fn base(&self) -> io::Result<Option<Base>> {
        Ok(self.current()?.and_then(|(_, base)| base))
    }

    /// The checkpoint of the shard that counts, if there is one that stands on an entry of the group.
    /// Blocks.
    ///
    /// # Errors
    /// When the disk fails, or what it says is damaged.
    pub(crate) fn checkpoint(&self) -> io::Result<Option<Checkpoint>> {
        // Before it is looked which one counts, so that all of it is there.
        let hold = self.state.hold_shard(self.shard);
        let Some((record, Some(base))) = self.current()? else { return Ok(None) };
        let (parts, reads) = (self.parts.clone(), self.reads.clone());
        Ok(Some(Checkpoint { _hold: hold, parts, reads, shard: self.shard, record, base }))
    }

    fn current(&self) -> io::Result<Option<(Record, Option<Base>)>> {
        let Some(bytes) = self.parts.current(self.shard)? else { return Ok(None) };
        Record::with_base(&bytes).map(Some).map_err(|what| self.refusal(&what))
    }
}

impl Checkpoint {
    pub(crate) fn shard(&self) -> u16 {
        self.shard
    }

    /// What it stands on.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// The blocks that it counts on.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The state. Blocks.
    ///
    /// # Errors
    /// When a part is missing or damaged.
    pub(crate) fn read(&self) -> io::Result<ShardSnapshot> {
        checkpoint::read(&self.parts, self.shard, self.record)
    }
}
