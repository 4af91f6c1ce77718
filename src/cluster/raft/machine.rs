//! What openraft applies committed entries to: the task of the group's shard, which takes them in order.

use std::io;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use tokio::sync::mpsc;

use super::entries::{Entry, to_id};
use super::snapshots::Applied;
use super::types::{EntryBody, GroupSnapshot, Groups, Node, NodeId};
use crate::journal::EntryId;

/// Entries that have been handed over, and not applied.
const ENTRIES: usize = 64;

/// A committed entry, for the task of the shard.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) id: EntryId,
    /// Nothing, if it says something of the group itself.
    pub(crate) body: Option<EntryBody>,
}

/// See the module's documentation.
pub(crate) struct Machine {
    applied: Applied,
    committed: mpsc::Sender<Committed>,
}

impl Machine {
    /// A machine whose shard has applied this much, and the entries that are committed from there on.
    pub(crate) fn new(applied: Applied) -> (Self, mpsc::Receiver<Committed>) {
        let (committed, entries) = mpsc::channel(ENTRIES);
        (Self { applied, committed }, entries)
    }
}

fn failed(error: &io::Error) -> StorageError<NodeId> {
    StorageIOError::apply(LogId::default(), AnyError::new(error)).into()
}

impl RaftStateMachine<Groups> for Machine {
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, Node>), StorageError<NodeId>> {
        Ok(self.applied.clone())
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<NodeId>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for Entry { log_id, payload } in entries {
            self.applied.0 = Some(log_id);
            let body = match payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(body) => Some(body),
                EntryPayload::Membership(members) => {
                    self.applied.1 = StoredMembership::new(Some(log_id), members);
                    None
                }
            };
            let committed = Committed { id: to_id(&log_id), body };
            let ended = |_ended| failed(&io::Error::other("the task of the shard has ended"));
            self.committed.send(committed).await.map_err(ended)?;
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<GroupSnapshot>, StorageError<NodeId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta<NodeId, Node>,
        _snapshot: Box<GroupSnapshot>,
    ) -> Result<(), StorageError<NodeId>> {
        Err(failed(&io::Error::other(NO_SNAPSHOTS)))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<Groups>>, StorageError<NodeId>> {
        Ok(None)
    }
}

const NO_SNAPSHOTS: &str = "states of shards are not sent from node to node yet";

/// Logs are kept as a whole, so nobody needs a state.
pub(crate) struct NoSnapshots;

impl RaftSnapshotBuilder<Groups> for NoSnapshots {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Groups>, StorageError<NodeId>> {
        Err(failed(&io::Error::other(NO_SNAPSHOTS)))
    }
}
