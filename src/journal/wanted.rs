//! Which blocks a Raft group may ask for, as it wrote them.
//!
//! Two have to be done with a block before it goes: the checkpoint that counts, in which it is covered,
//! and the group, which has purged it. The same holds before it is cleaned: what is packed anew is not
//! the entry any more that the group knows.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use tidewire_core::SHARDS;

use super::META;

/// Groups there may be: those of the shards, and the one without a shard.
const GROUPS: usize = (META - SHARDS + 1) as usize;

/// The first block of each shard that its group may ask for.
#[derive(Debug)]
pub(crate) struct Wanted([AtomicU64; GROUPS]);

impl Default for Wanted {
    /// Nobody asks for any.
    fn default() -> Self {
        Self([const { AtomicU64::new(u64::MAX) }; GROUPS])
    }
}

impl Wanted {
    /// The first block of a shard that may be asked for. It only grows, once there is a group.
    pub(super) fn from(&self, shard: u16) -> u64 {
        self.of(shard).map_or(u64::MAX, |from| from.load(Acquire))
    }

    /// What is before this block is not asked for any more, and that is on the disk.
    pub(super) fn set(&self, shard: u16, from: u64) {
        if let Some(wanted) = self.of(shard) {
            wanted.store(from, Release);
        }
    }

    fn of(&self, shard: u16) -> Option<&AtomicU64> {
        shard.checked_sub(SHARDS).and_then(|at| self.0.get(usize::from(at)))
    }
}
