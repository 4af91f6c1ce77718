//! What keeps blocks from being removed or packed anew while somebody reads them: a backup all of them,
//! who gives a shard's state to another node those of the shard.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use tidewire_core::{SHARDS, SHARDS_MAX};

use super::state::State;

/// Durable shards.
const DURABLE: usize = (SHARDS_MAX - SHARDS) as usize;

/// Who holds what, counted.
#[derive(Debug, Default)]
pub(super) struct Holds {
    all: AtomicU64,
    shards: [AtomicU64; DURABLE],
}

impl Holds {
    /// Whether somebody holds the blocks of this shard.
    pub(super) fn are_on(&self, shard: u16) -> bool {
        self.all.load(Acquire) > 0 || self.of(Some(shard)).is_some_and(|of| of.load(Acquire) > 0)
    }

    /// The count for all shards, or for one of them.
    fn of(&self, shard: Option<u16>) -> Option<&AtomicU64> {
        match shard {
            None => Some(&self.all),
            Some(shard) => {
                shard.checked_sub(SHARDS).and_then(|at| self.shards.get(usize::from(at)))
            }
        }
    }
}

/// Keeps superfluous blocks from being removed, and others from being packed anew.
pub(crate) struct Hold {
    state: Arc<State>,
    shard: Option<u16>,
}

impl Hold {
    /// Waits for what is just being replaced.
    pub(super) fn on(state: &Arc<State>, shard: Option<u16>) -> Self {
        if let Some(count) = state.holds().of(shard) {
            count.fetch_add(1, AcqRel);
        }
        drop(state.replacing());
        Self { state: Arc::clone(state), shard }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(count) = self.state.holds().of(self.shard) {
            count.fetch_sub(1, AcqRel);
        }
    }
}
