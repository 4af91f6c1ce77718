//! How the journal is: what everybody may look at.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tidewire_protocol::{ErrorCode, Refusal};

use super::holds::{Hold, Holds};
use super::wanted::Wanted;

/// The state of a journal on disk, and its figures.
#[derive(Debug, Default)]
pub(crate) struct State {
    failure: OnceLock<String>,
    /// Blocks that somebody reads, who needs them.
    holds: Holds,
    /// Shards whose state is being taken from another node, a bit for each.
    taking: AtomicU64,
    /// Held while blocks are replaced.
    replacing: Mutex<()>,
    /// Blocks that groups may ask for.
    wanted: Wanted,
    is_stopping: AtomicBool,
    is_full: AtomicBool,
    free_bytes: AtomicU64,
    commits: AtomicU64,
    blocks: AtomicU64,
    bytes: AtomicU64,
    commit_us: AtomicU64,
    commit_us_max: AtomicU64,
    /// How long the longest commit took that nobody has asked for, and since when one is under way.
    ended_commit_us: AtomicU64,
    committing_since: Mutex<Option<Instant>>,
    checkpoints: AtomicU64,
    checkpoint_bytes: AtomicU64,
    cleaned_bytes: AtomicU64,
}

/// A commit that has begun.
pub(super) struct UnderWay(Arc<State>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.committing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Figures of a journal since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalStats {
    /// Commits.
    pub commits: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub bytes: u64,
    /// Microseconds that commits took, all together.
    pub commit_us: u64,
    /// Microseconds that the longest commit took.
    pub commit_us_max: u64,
    /// Bytes free on the disk.
    pub free_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes of these checkpoints.
    pub checkpoint_bytes: u64,
    /// Bytes of blocks that were freed, because little of what they held was kept.
    pub cleaned_bytes: u64,
}

impl State {
    /// Why nothing is committed any more.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Nothing is committed from now on.
    pub(super) fn fail(&self, error: &io::Error) {
        if self.failure.set(error.to_string()).is_ok() {
            tracing::error!(%error, "the journal has failed: nothing is acknowledged on disk any more");
        }
    }

    /// Whether nothing of a shard is to be removed at the moment.
    pub(super) fn is_held(&self, shard: u16) -> bool {
        self.holds.are_on(shard)
    }

    pub(super) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Nothing is removed until the hold is dropped. Waits for what is just being replaced.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        Hold::on(self, None)
    }

    /// Nothing of a shard is removed until the hold is dropped.
    pub(crate) fn hold_shard(self: &Arc<Self>, shard: u16) -> Hold {
        Hold::on(self, Some(shard))
    }

    /// The state of a shard is being taken from now on, or not any more; returns whether it was.
    pub(super) fn set_taking(&self, shard: u16, is_taking: bool) -> bool {
        let bit = 1_u64.checked_shl(shard.into()).unwrap_or_default();
        let before = match is_taking {
            true => self.taking.fetch_or(bit, AcqRel),
            false => self.taking.fetch_and(!bit, AcqRel),
        };
        before & bit != 0
    }

    pub(super) fn is_taking(&self, shard: u16) -> bool {
        let bit = 1_u64.checked_shl(shard.into()).unwrap_or_default();
        self.taking.load(Acquire) & bit != 0
    }

    /// To be held while blocks are replaced by others with the same records.
    pub(super) fn replacing(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks that groups may ask for: they are neither removed nor replaced.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What is not needed for what was handed over is not begun any more.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    /// Whether the disk's reserve is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    /// Notes the free space, of the disk and within the database's file. What was full is so until an
    /// eighth of the reserve is free beyond it. Half of the reserve has to be free on the disk.
    pub(super) fn set_free_bytes(&self, free_bytes: u64, reusable_bytes: u64, free_bytes_min: u64) {
        self.free_bytes.store(free_bytes, Relaxed);
        let was_full = self.is_full();
        let needed = match was_full {
            false => free_bytes_min,
            true => free_bytes_min.saturating_add(free_bytes_min / 8),
        };
        let is_full = free_bytes.saturating_add(reusable_bytes) < needed || free_bytes < needed / 2;
        self.is_full.store(is_full, Relaxed);
        match (was_full, is_full) {
            (false, true) => tracing::warn!(
                free_bytes,
                free_bytes_min,
                "the disk's reserve is reached: writes that go to disk are refused"
            ),
            (true, false) => tracing::info!(free_bytes, "there is space on the disk again"),
            (false, false) | (true, true) => {}
        }
    }

    /// A commit begins; it is over when what is returned is dropped, whatever becomes of it.
    pub(super) fn commits(self: &Arc<Self>) -> UnderWay {
        let mut since = self.committing_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = Some(Instant::now());
        UnderWay(Arc::clone(self))
    }

    /// How long the longest commit took that has ended since this was asked last; or the one under
    /// way has taken, if that is longer.
    pub(crate) fn take_commit_ms(&self) -> u64 {
        let since = *self.committing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = since.map_or(Duration::ZERO, |since| since.elapsed());
        let ended = Duration::from_micros(self.ended_commit_us.swap(0, Relaxed));
        u64::try_from(ended.max(under_way).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn committed(&self, blocks: u64, bytes: u64, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.blocks.fetch_add(blocks, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.commit_us.fetch_add(us, Relaxed);
        self.ended_commit_us.fetch_max(us, Relaxed);
        self.commit_us_max.fetch_max(us, Relaxed);
    }

    pub(super) fn checkpointed(&self, bytes: u64) {
        self.checkpoints.fetch_add(1, Relaxed);
        self.checkpoint_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn cleaned(&self, bytes: u64) {
        self.cleaned_bytes.fetch_add(bytes, Relaxed);
    }

    /// Why writes are refused, if they are.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if let Some(failure) = self.failure() {
            let message = format!(
                "the journal has failed ({failure}): nothing is taken that has to be on disk until \
                 the server is started again"
            );
            return Some(Refusal::new(ErrorCode::StorageFailed, message));
        }
        self.is_full().then(|| {
            let free = self.free_bytes.load(Relaxed) / (1024 * 1024);
            let message = format!(
                "the disk has {free} MiB left, which is its reserve (storage.free_bytes_min): make \
                 room, and try again"
            );
            Refusal::new(ErrorCode::StorageFull, message)
        })
    }

    pub(crate) fn stats(&self) -> JournalStats {
        JournalStats {
            commits: self.commits.load(Relaxed),
            blocks: self.blocks.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            commit_us: self.commit_us.load(Relaxed),
            commit_us_max: self.commit_us_max.load(Relaxed),
            free_bytes: self.free_bytes.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            checkpoint_bytes: self.checkpoint_bytes.load(Relaxed),
            cleaned_bytes: self.cleaned_bytes.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_commit_counts_once_and_a_failed_one_is_not_under_way() {
        let state = Arc::new(State::default());
        let under_way = state.commits();
        state.committed(1, 1, Duration::from_secs(11));
        drop(under_way);
        assert_eq!(state.take_commit_ms(), 11_000);
        assert_eq!(state.take_commit_ms(), 0, "nothing more is committed, and nothing is late");
        // One that fails says nothing of how long it took.
        drop(state.commits());
        assert!(state.committing_since.lock().unwrap().is_none());
    }
}
