//! The log of one Raft group, and what is remembered of it, in the journal.
//!
//! Whoever leads the group appends to it; entries can be read as soon as they are handed over, and
//! whether they are on the disk is told later. All groups and the rounds of other shards share the
//! committer, so they share its flushes. Nothing here decides anything, and nothing knows of elections.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::group_reads::Read;
use super::group_state::{EntryId, GroupState, Vote, behind};
use super::group_stored::{self, Stored};
use super::message::{Change, Done, GroupEntry, GroupWrite, Message};
use super::reads::Reads;
use super::state::State;
use super::store::Parts;
use super::tail::Tail;

/// Writes of a group under way, counted by [`PLACE_BYTES`]; beyond them it waits.
const PLACES: u32 = 128;
/// Bytes of a write for each place that it takes.
const PLACE_BYTES: usize = 64 * 1024;
/// Messages of a group that the committer's queue has room for: its writes, a note, its snapshot, and one of
/// a state that is being taken.
pub(super) const MESSAGES: usize = PLACES as usize + 3;
/// Entries of one append, so that the blocks of a commit can be numbered.
pub(crate) const APPEND_ENTRIES_MAX: usize = 16 * 1024;
/// Bytes of the state of a group without a shard: sled writes more of it into a file that it does not
/// sync.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024;

/// The log of a group. Clones are the same log.
#[derive(Clone)]
pub(crate) struct GroupLog {
    pub(super) shard: u16,
    queue: SyncSender<Message>,
    pub(super) reads: Reads,
    /// Parts of states that are taken from other nodes.
    pub(super) parts: Parts,
    /// To the thread that reads entries.
    pub(super) reader: SyncSender<Option<Read>>,
    pub(super) state: Arc<State>,
    places: Arc<Semaphore>,
    /// One at a time.
    snapshots: Arc<Semaphore>,
    pub(super) log: Arc<Mutex<Log>>,
    /// How much of it is on the disk; changed under the lock.
    pub(super) stored: watch::Sender<Stored>,
}

/// How a log is, for everybody who has it.
#[derive(Debug)]
pub(super) struct Log {
    remembered: GroupState,
    /// Index of the first entry that is there, and behind the last one.
    pub(super) indices: Range<u64>,
    /// The last entry; the last one that was purged if there is none.
    last: Option<EntryId>,
    pub(super) tail: Tail,
    /// Since when something is on its way to the disk, and nothing of it has reached it.
    pub(super) waits_since: Option<Instant>,
    /// The committer has a note that it has not taken.
    is_noted: bool,
}

/// A log as it was found at the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FoundLog {
    pub(super) remembered: GroupState,
    /// Behind its last entry.
    pub(super) next: u64,
    pub(super) last: Option<EntryId>,
}

impl GroupLog {
    pub(super) fn new(
        shard: u16,
        found: FoundLog,
        queue: SyncSender<Message>,
        (reads, parts, reader): (Reads, Parts, SyncSender<Option<Read>>),
        state: Arc<State>,
    ) -> Self {
        let FoundLog { remembered, next, last } = found;
        let first = remembered.wanted_from();
        let log = Log {
            remembered,
            indices: first..next.max(first),
            last,
            tail: Tail::at(next),
            waits_since: None,
            is_noted: false,
        };
        let places = Arc::new(Semaphore::new(PLACES as usize));
        let (snapshots, log) = (Arc::new(Semaphore::new(1)), Arc::new(Mutex::new(log)));
        let stored = group_stored::begin(last);
        Self { shard, queue, reads, parts, reader, state, places, snapshots, log, stored }
    }

    /// The shard whose log it is, or [`super::META`].
    pub(crate) fn shard(&self) -> u16 {
        self.shard
    }

    /// What is remembered of the group.
    pub(crate) fn remembered(&self) -> GroupState {
        self.lock().remembered
    }

    /// The last entry; the last one that was purged if there is none.
    pub(crate) fn last(&self) -> Option<EntryId> {
        self.lock().last
    }

    /// Appends entries, which can be read when this returns; `done` is told when they are on the disk.
    /// Entries that were purged are left out: whatever they hold is in a state that counts.
    ///
    /// # Errors
    /// When they do not go on where the log ends, or nothing can be written any more.
    pub(crate) async fn append(&self, mut entries: Vec<GroupEntry>, done: Done) -> io::Result<()> {
        if entries.len() > APPEND_ENTRIES_MAX {
            let what = format!("{} entries are appended at once", entries.len());
            return Err(self.refusal(&format!("{what}, and {APPEND_ENTRIES_MAX} may be")));
        }
        let weight = entries.iter().map(GroupEntry::weight).sum();
        let place = self.place(weight).await?;
        let mut log = self.lock();
        let wanted_from = log.remembered.wanted_from();
        entries.retain(|entry| entry.id.index >= wanted_from);
        let Some(last) = log.check(&entries).map_err(|what| self.refusal(&what))? else {
            drop((log, place));
            done.tell(Ok(()));
            return Ok(());
        };
        if log.indices.is_empty() {
            log.indices.start = entries.first().map_or(last.index, |first| first.id.index);
        }
        entries.iter().cloned().for_each(|entry| log.tail.push(entry));
        log.indices.end = behind(Some(last));
        log.last = Some(last);
        log.waits_since = log.waits_since.or_else(|| Some(Instant::now()));
        let (next, generation) = (log.indices.end, log.tail.generation());
        let (known, stored) = (Arc::clone(&self.log), self.stored.clone());
        let stored = Done::new(move |outcome: io::Result<()>| {
            drop(place);
            {
                let mut log = known.lock().unwrap_or_else(PoisonError::into_inner);
                match &outcome {
                    Ok(()) => {
                        log.tail.stored(next, generation);
                        stored.send_modify(|stored| stored.reach(last, generation));
                        log.look_at_disk(&stored);
                    }
                    Err(_) => stored.send_modify(|stored| stored.has_failed = true),
                }
            }
            done.tell(outcome);
        });
        // Under the lock, so that what is remembered goes in the order in which it changes.
        self.write(&log, Change::Append(entries), weight, Some(stored))
    }

    /// Remembers a vote; it is on the disk when this returns.
    ///
    /// # Errors
    /// When it may not be.
    pub(crate) async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.change(|log| {
            log.remembered.vote = Some(vote);
            Change::State
        })
        .await
    }

    /// Takes back the entries from this index on; they are gone from the disk when this returns.
    ///
    /// # Errors
    /// When they may not be, or some of them are committed or purged.
    pub(crate) async fn truncate(&self, from: u64) -> io::Result<()> {
        let before = match from.checked_sub(1) {
            Some(index) => self.id_of(index)?,
            None => None,
        };
        {
            let log = self.lock();
            let kept = log.remembered.committed.max(log.remembered.purged);
            if from < behind(kept) {
                let what =
                    format!("entries from {from} on are taken back, and {kept:?} is committed");
                return Err(self.refusal(&what));
            }
        }
        let mut kept = None;
        self.change(|log| {
            if from < log.indices.end {
                log.tail.truncate(from);
                log.indices.end = from.max(log.indices.start);
                log.last = before.max(log.remembered.purged);
                let (last, generation) = (log.last, log.tail.generation());
                self.stored.send_modify(|stored| stored.shorten(last, generation));
                kept = Some((log.indices.end, last, generation));
            }
            Change::Truncate(from)
        })
        .await?;
        // What was under way before that is there, too, and has not counted.
        if let Some((next, Some(last), generation)) = kept {
            let mut log = self.lock();
            log.tail.stored(next, generation);
            self.stored.send_modify(|stored| stored.reach(last, generation));
            log.look_at_disk(&self.stored);
        }
        Ok(())
    }

    /// Remembers how far the log is committed: on the disk it is with what is written next.
    ///
    /// # Errors
    /// When nothing can be written any more.
    pub(crate) fn save_committed(&self, committed: Option<EntryId>) -> io::Result<()> {
        self.note(|log| log.remembered.committed = committed)
    }

    /// Entries up to this one are not asked for any more. Their blocks go when a checkpoint that counts
    /// covers them, and no record that is kept lies in them.
    ///
    /// # Errors
    /// When nothing can be written any more.
    pub(crate) fn purge(&self, upto: EntryId) -> io::Result<()> {
        self.note(|log| {
            if log.remembered.purged >= Some(upto) {
                return;
            }
            log.remembered.purged = Some(upto);
            let first = behind(Some(upto));
            log.tail.forget_before(first);
            log.indices.start = log.indices.start.max(first);
            if log.indices.end <= first {
                // What was taken over from elsewhere is further on.
                log.tail.truncate(first);
                log.tail.stored(first, log.tail.generation());
                log.indices.end = first;
                log.last = Some(upto);
            }
            let generation = log.tail.generation();
            self.stored.send_modify(|stored| {
                stored.generation = generation;
                stored.reach(upto, generation);
            });
        })
    }

    /// Saves the state of a group without a shard; it is on the disk when this returns.
    ///
    /// # Errors
    /// When it may not be, or is too large.
    pub(crate) async fn save_snapshot(&self, bytes: Vec<u8>) -> io::Result<()> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            let what = format!("its state has {} bytes", bytes.len());
            return Err(self.refusal(&format!("{what}, and {SNAPSHOT_BYTES_MAX} may be")));
        }
        let one = Arc::clone(&self.snapshots).acquire_owned().await;
        let one = one.map_err(|_closed| self.refusal("it is closed"))?;
        let (sender, outcome) = oneshot::channel();
        let done = Done::new(move |outcome| {
            drop(one);
            drop(sender.send(outcome));
        });
        self.send(Message::Snapshot { shard: self.shard, bytes, done })?;
        outcome.await.map_err(|_gone| self.refusal("the journal has ended"))?
    }

    /// Changes the log, and waits until that is on the disk.
    async fn change(&self, change: impl FnOnce(&mut Log) -> Change) -> io::Result<()> {
        let place = self.place(0).await?;
        let (sender, outcome) = oneshot::channel();
        {
            let mut log = self.lock();
            let change = change(&mut log);
            let done = Done::new(move |outcome| {
                drop(place);
                // Nobody waits any more if the group was stopped meanwhile.
                drop(sender.send(outcome));
            });
            self.write(&log, change, 0, Some(done))?;
        }
        outcome.await.map_err(|_gone| self.refusal("the journal has ended"))?
    }

    /// Changes what is remembered, to be written with what comes next.
    fn note(&self, change: impl FnOnce(&mut Log)) -> io::Result<()> {
        let mut log = self.lock();
        change(&mut log);
        self.send_note(&mut log)
    }

    /// Notes what is remembered, unless a note is under way: then there is another one when the
    /// committer has taken it, should what is remembered have changed since.
    fn send_note(&self, log: &mut Log) -> io::Result<()> {
        if log.is_noted {
            return Ok(());
        }
        log.is_noted = true;
        let (group, noted) = (self.clone(), log.remembered);
        let taken = Done::new(move |_taken| {
            let mut log = group.lock();
            log.is_noted = false;
            if log.remembered != noted {
                // An error of it has poisoned the journal, which everybody is told who asks.
                drop(group.send_note(&mut log));
            }
        });
        self.write(log, Change::Note, 0, Some(taken))
    }

    pub(super) fn write(
        &self,
        log: &Log,
        change: Change,
        weight: usize,
        done: Option<Done>,
    ) -> io::Result<()> {
        let (shard, state) = (self.shard, log.remembered);
        self.send(Message::Group(GroupWrite { shard, change, state, weight, done }))
    }

    pub(super) fn send(&self, message: Message) -> io::Result<()> {
        if let Some(failure) = self.state.failure() {
            return Err(io::Error::other(failure.to_owned()));
        }
        // The queue has a place for everything that may be under way, so it is never full.
        self.queue.try_send(message).map_err(|refused| {
            let what = match refused {
                TrySendError::Full(_) => "the journal's queue is full",
                TrySendError::Disconnected(_) => "the journal has ended",
            };
            let error = self.refusal(what);
            self.state.fail(&error);
            error
        })
    }

    /// A place for a write of so many bytes.
    async fn place(&self, bytes: usize) -> io::Result<OwnedSemaphorePermit> {
        let places = u32::try_from(1 + bytes / PLACE_BYTES).unwrap_or(PLACES).min(PLACES);
        let place = Arc::clone(&self.places).acquire_many_owned(places).await;
        place.map_err(|_closed| self.refusal("it is closed"))
    }

    pub(super) fn refusal(&self, what: &str) -> io::Error {
        io::Error::other(format!("the log of the group of shard {}: {what}", self.shard))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    pub(super) fn last(&self) -> Option<EntryId> {
        self.last
    }

    /// The last of these entries, if they go on where the log ends. An empty log may begin further on.
    fn check(&self, entries: &[GroupEntry]) -> Result<Option<EntryId>, String> {
        let Some(first) = entries.first() else { return Ok(None) };
        let end = self.indices.end;
        let goes_on =
            if self.indices.is_empty() { first.id.index >= end } else { first.id.index == end };
        let mut last = self.last;
        for (entry, index) in entries.iter().zip(first.id.index..) {
            let is_next = entry.id.index == index;
            if !goes_on || !is_next || last.is_some_and(|last| entry.id.term < last.term) {
                return Err(format!("{:?} does not go on behind {last:?}", entry.id));
            }
            last = Some(entry.id);
        }
        Ok(last)
    }
}
