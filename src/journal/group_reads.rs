//! Reading entries that left memory, on a thread of its own: whoever leads groups must not wait for a
//! disk, and nor must what else its core does.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::group_log::GroupLog;
use super::message::GroupEntry;

/// Reads that may wait. Beyond them whoever wants one reads itself.
pub(super) const READS_MAX: usize = 256;

/// Entries that somebody waits for.
pub(super) struct Read {
    pub(super) log: GroupLog,
    pub(super) indices: Range<u64>,
    pub(super) bytes_max: usize,
    pub(super) answer: oneshot::Sender<io::Result<Vec<GroupEntry>>>,
}

/// Reads what is asked for, until it is told to stop.
pub(super) fn read_all(reads: &Receiver<Option<Read>>) {
    while let Ok(Some(Read { log, indices, bytes_max, answer })) = reads.recv() {
        // sled may panic at what is damaged.
        let read = AssertUnwindSafe(|| log.read(indices, bytes_max));
        let damaged = |_panic| Err(io::Error::other("the database is damaged"));
        // Nobody waits any more if the group was stopped meanwhile.
        drop(answer.send(catch_unwind(read).unwrap_or_else(damaged)));
    }
}
