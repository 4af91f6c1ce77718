//! How much of a group's log is on the disk. Whoever leads the group hands entries over and goes on; what
//! depends on them waits here.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::group_log::{GroupLog, Log};
use super::group_state::{EntryId, behind};

/// How far a log is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// The last entry of which it is known.
    pub(super) last: Option<EntryId>,
    /// How often entries were taken back.
    pub(super) generation: u64,
    /// A write has failed, so nothing comes any more.
    pub(super) has_failed: bool,
}

impl Stored {
    /// Entries up to this one are, if none were taken back since they were handed over.
    pub(super) fn reach(&mut self, last: EntryId, generation: u64) {
        if generation == self.generation {
            self.last = self.last.max(Some(last));
        }
    }

    /// Entries behind this one are taken back.
    pub(super) fn shorten(&mut self, last: Option<EntryId>, generation: u64) {
        self.last = self.last.min(last);
        self.generation = generation;
    }
}

impl Log {
    /// Something has reached the disk.
    pub(super) fn look_at_disk(&mut self, stored: &watch::Sender<Stored>) {
        let is_behind = behind(stored.borrow().last) < behind(self.last());
        self.waits_since = is_behind.then(Instant::now);
    }
}

impl GroupLog {
    /// For how long something is on its way to the disk, and nothing of it has reached it.
    pub(crate) fn waits_for(&self) -> Duration {
        self.lock().waits_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The last entry that is on the disk, as far as is known.
    pub(crate) fn stored(&self) -> Option<EntryId> {
        self.stored.borrow().last
    }

    /// Waits until all entries that are in the log now are on the disk.
    ///
    /// # Errors
    /// When they may not be: a write has failed, or some of them were taken back.
    pub(crate) async fn all_stored(&self) -> io::Result<()> {
        let (end, generation) = {
            let log = self.lock();
            (behind(log.last()), log.tail.generation())
        };
        self.wait(|stored| stored.generation != generation || behind(stored.last) >= end).await?;
        if self.stored.borrow().generation != generation {
            return Err(self.refusal("entries were taken back on their way to the disk"));
        }
        Ok(())
    }

    /// Waits until an entry is on the disk that is never taken back, since it is committed.
    ///
    /// # Errors
    /// When a write has failed.
    pub(crate) async fn stored_upto(&self, index: u64) -> io::Result<()> {
        self.wait(|stored| behind(stored.last) > index).await
    }

    async fn wait(&self, is_there: impl Fn(&Stored) -> bool) -> io::Result<()> {
        let mut changes = self.stored.subscribe();
        let waited = changes.wait_for(|stored| stored.has_failed || is_there(stored)).await;
        // The sender is in this log.
        match waited.is_ok_and(|stored| is_there(&stored)) {
            true => Ok(()),
            false => Err(self.refusal("what was handed over may not be on the disk")),
        }
    }
}

/// To be told of everything that reaches the disk.
pub(super) fn begin(last: Option<EntryId>) -> watch::Sender<Stored> {
    watch::Sender::new(Stored { last, ..Stored::default() })
}
