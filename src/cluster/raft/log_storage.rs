//! The logs of the groups, as openraft wants them, in the journal.
//!
//! openraft does nothing else for a group while it waits until entries are on the disk: so it is told that they
//! are as soon as the committer has them. Whatever says to anybody that they are waits itself: the answer to
//! a leader ([`super::group`]), what is applied ([`super::machine`]), and what a leader says is committed
//! ([`super::network`]).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{
    AnyError, LogId, Membership, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote,
};
use tokio::sync::watch;

use super::entries::{Entry, from_entry, from_id, from_vote, to_entry, to_id, to_members, to_vote};
use super::types::{Groups, Node, NodeId};
use crate::journal::{self, BlockKind, Done, EntryId, GroupEntry, GroupLog};

/// Bytes that a follower is sent at once, and one entry at least.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// The log of one group. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStorage {
    log: GroupLog,
    /// The node that starts with it.
    node: Option<NodeId>,
    installing: watch::Sender<Installing>,
}

/// Whether a state from elsewhere is about to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installing {
    Nothing,
    /// One may be.
    State,
    /// One is that goes beyond what is committed, up to here: what goes on behind it waits for that.
    Beyond(EntryId),
}

impl LogStorage {
    pub(crate) fn new(log: GroupLog) -> Self {
        Self { log, node: None, installing: watch::Sender::new(Installing::Nothing) }
    }

    /// A state is handed over to the group, which may let it count.
    pub(super) fn begin_installing(&self) {
        self.turn(Installing::Nothing, Installing::State);
    }

    /// The group has answered, and may have had no use for the state.
    pub(super) fn end_installing(&self) {
        self.turn(Installing::State, Installing::Nothing);
    }

    fn turn(&self, from: Installing, to: Installing) {
        self.installing.send_if_modified(|installing| {
            let is_it = *installing == from;
            if is_it {
                *installing = to;
            }
            is_it
        });
    }

    /// The state counts now, or does not come to. What it stands on is purged if it does.
    ///
    /// # Errors
    /// When nothing can be written any more.
    pub(super) fn installed(&self, does_count: bool) -> io::Result<()> {
        let before = *self.installing.borrow();
        let purged = match before {
            Installing::Beyond(upto) if does_count => self.log.purge(upto),
            Installing::Beyond(_) | Installing::State | Installing::Nothing => Ok(()),
        };
        self.installing.send_replace(Installing::Nothing);
        purged
    }

    /// A node that led the group when it ended does not lead it when it starts: what it held in memory is
    /// gone, so it has to lead in another term than before.
    pub(crate) fn started_by(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    /// The log as the journal has it.
    pub(crate) fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Makes a log the first of a cluster, whose members are these: before openraft is started with it,
    /// and in place of what that does, since the log of a server that was alone is not empty. Returns
    /// false if it is a group's already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn begin(&self, nodes: BTreeMap<NodeId, Node>) -> io::Result<bool> {
        let (remembered, last) = (self.log.remembered(), self.log.last());
        if remembered.vote.is_some() || last != remembered.purged {
            return Ok(false);
        }
        let members = Membership::new(vec![nodes.keys().copied().collect()], nodes);
        let bytes = to_members(&members)?.into();
        let id = EntryId { term: 0, index: last.map_or(0, |last| last.index + 1) };
        let kind = BlockKind::Membership;
        let entry = GroupEntry { id, kind, version: 0, time_ms: 0, entries: 0, bytes };
        let (sender, outcome) = tokio::sync::oneshot::channel();
        // Who does not wait any more has not begun anything.
        let done = Done::new(move |outcome| drop(sender.send(outcome)));
        self.log.append(vec![entry], done).await?;
        outcome.await.map_err(io::Error::other)??;
        Ok(true)
    }

    /// Waits until committed entries, which are to be applied, are on this node's disk: its engine counts it among
    /// those that have them.
    ///
    /// # Errors
    /// When they may not be.
    pub(super) async fn stored(&self, entries: &[Entry]) -> Result<(), Failure> {
        let Some(last) = entries.last() else { return Ok(()) };
        let stored = self.log.stored_upto(last.log_id.index).await;
        stored.map_err(|error| write_failure(&error))
    }

    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, Failure> {
        let entries = self.log.fetch(start..end, bytes_max).await;
        let entries = entries.and_then(|entries| entries.into_iter().map(from_entry).collect());
        entries.map_err(|error: io::Error| StorageIOError::read_logs(AnyError::new(&error)).into())
    }
}

/// What openraft is told when something fails. It ends the group then.
type Failure = StorageError<NodeId>;

fn write_failure(error: &io::Error) -> Failure {
    StorageIOError::write_logs(AnyError::new(error)).into()
}

impl RaftLogReader<Groups> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, Failure> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, Failure> {
        self.read(start, end, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<Groups> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Groups>, Failure> {
        let last_purged_log_id = self.log.remembered().purged.map(from_id);
        Ok(LogState { last_purged_log_id, last_log_id: self.log.last().map(from_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<NodeId>) -> Result<(), Failure> {
        let saved = self.log.save_vote(to_vote(vote)).await;
        saved.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<NodeId>>, Failure> {
        let vote = self.log.remembered().vote;
        let has_led = |vote: &journal::Vote| self.node.is_some() && self.node == vote.node;
        let forget = |vote: journal::Vote| match has_led(&vote) {
            true => journal::Vote { is_leader: false, ..vote },
            false => vote,
        };
        Ok(vote.map(forget).map(from_vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId<NodeId>>) -> Result<(), Failure> {
        let committed = committed.as_ref().map(to_id);
        self.log.save_committed(committed).map_err(|error| write_failure(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<NodeId>>, Failure> {
        // What was noted of it may have been written before its entries were.
        let (committed, last) = (self.log.remembered().committed, self.log.last());
        Ok(committed.min(last).map(from_id))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Groups>) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: io::Result<Vec<_>> = entries.into_iter().map(to_entry).collect();
        let entries = entries.map_err(|error| write_failure(&error))?;
        let goes_on = |installing: &Installing| !matches!(installing, Installing::Beyond(_));
        // There is always somebody who says so: this one.
        drop(self.installing.subscribe().wait_for(goes_on).await);
        self.log.append(entries, Done::new(drop)).await.map_err(|error| write_failure(&error))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<NodeId>) -> Result<(), Failure> {
        self.log.truncate(log_id.index).await.map_err(|error| write_failure(&error))
    }

    async fn purge(&mut self, log_id: LogId<NodeId>) -> Result<(), Failure> {
        let upto = to_id(&log_id);
        // What is purged beyond what is committed here is in a state that has to count first: a shard that
        // begins again before that would lack it.
        let waits = self.installing.send_if_modified(|installing| {
            let is_beyond = self.log.remembered().committed < Some(upto);
            let waits = is_beyond && *installing != Installing::Nothing;
            if waits {
                *installing = Installing::Beyond(upto);
            }
            waits
        });
        if waits {
            return Ok(());
        }
        self.log.purge(upto).map_err(|error| write_failure(&error))
    }
}
