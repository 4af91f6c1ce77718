//! Reading entries that left memory, on a thread of its own: whoever leads groups must not wait for a
//! disk, and nor must what else its core does.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::block;
use super::group_log::GroupLog;
use super::group_state::{EntryId, behind};
use super::message::GroupEntry;

/// Reads that may wait. Beyond them whoever wants one reads itself.
pub(super) const READS_MAX: usize = 256;

/// Reads again when something is missing: it may have been taken back or removed meanwhile.
const TRIES: usize = 3;

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

impl GroupLog {
    /// The entries with these indices, as far as they are there; up to so many bytes, but one at least.
    ///
    /// # Errors
    /// When one that is there cannot be read.
    pub(crate) async fn fetch(
        &self,
        indices: Range<u64>,
        bytes_max: usize,
    ) -> io::Result<Vec<GroupEntry>> {
        let is_in_memory = {
            let log = self.lock();
            let tail = log.tail.first().unwrap_or(log.indices.end);
            indices.start.max(log.indices.start) >= tail
        };
        if is_in_memory {
            return self.read(indices, bytes_max);
        }
        let (answer, answered) = oneshot::channel();
        let read = Read { log: self.clone(), indices: indices.clone(), bytes_max, answer };
        match self.reader.try_send(Some(read)) {
            Ok(()) => answered.await.map_err(|_gone| self.refusal("the journal has ended"))?,
            // Many wait already, or the journal ends.
            Err(_) => self.read(indices, bytes_max),
        }
    }

    /// As [`Self::fetch`]. Blocks, if they are not in memory.
    ///
    /// # Errors
    /// When one that is there cannot be read.
    pub(crate) fn read(
        &self,
        indices: Range<u64>,
        bytes_max: usize,
    ) -> io::Result<Vec<GroupEntry>> {
        let mut failure = None;
        for _ in 0..TRIES {
            let (stored, in_memory, generation) = {
                let log = self.lock();
                let start = indices.start.max(log.indices.start);
                let end = indices.end.min(log.indices.end);
                let tail = log.tail.first().unwrap_or(log.indices.end);
                (
                    start..end.min(tail),
                    log.tail.read(&(start..end), bytes_max),
                    log.tail.generation(),
                )
            };
            if stored.is_empty() {
                return Ok(in_memory);
            }
            let mut left = bytes_max;
            let mut entries = match self.read_stored(stored.clone(), &mut left) {
                Ok(entries) => entries,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            if self.lock().tail.generation() != generation {
                continue;
            }
            let is_whole = entries.last().is_some_and(|last| behind(Some(last.id)) == stored.end);
            let fits = |entry: &GroupEntry| match left.checked_sub(entry.weight()) {
                Some(rest) => {
                    left = rest;
                    true
                }
                None => false,
            };
            if is_whole {
                entries.extend(in_memory.into_iter().take_while(fits));
            }
            return Ok(entries);
        }
        Err(failure.unwrap_or_else(|| self.refusal("entries are taken back while they are read")))
    }

    fn read_stored(&self, indices: Range<u64>, left: &mut usize) -> io::Result<Vec<GroupEntry>> {
        let mut entries: Vec<GroupEntry> = Vec::new();
        let mut next = indices.start;
        for block in self.reads.scan(self.shard, indices.clone()) {
            let (key, bytes) = block?;
            let bad = |what: &str| self.refusal(&format!("block {}: {what}", key.index));
            if key.index != next {
                return Err(bad(&format!("block {next} before it is missing")));
            }
            let (head, body) = block::open(&bytes).map_err(|error| bad(&error.to_string()))?;
            let entry = GroupEntry::of(&head, Bytes::copy_from_slice(body));
            if !entries.is_empty() && entry.weight() > *left {
                return Ok(entries);
            }
            *left = left.saturating_sub(entry.weight());
            entries.push(entry);
            next += 1;
        }
        if next < indices.end {
            return Err(self.refusal(&format!("block {next} is missing")));
        }
        Ok(entries)
    }

    /// The id of an entry that is there, or was the last one that was purged.
    pub(super) fn id_of(&self, index: u64) -> io::Result<Option<EntryId>> {
        let purged = self.remembered().purged.filter(|id| id.index == index);
        match purged {
            Some(purged) => Ok(Some(purged)),
            None => Ok(self.read(index..index.saturating_add(1), 0)?.first().map(|entry| entry.id)),
        }
    }
}
