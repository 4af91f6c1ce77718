//! What openraft applies committed entries to: the task of the group's shard, which takes them in order.
//!
//! The task saves the shard's state, too, when that is due. So to build a snapshot is to look which checkpoint
//! counts, and a snapshot is that checkpoint: nothing of it is read before somebody takes it.

use std::io;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, RaftSnapshotBuilder,
    Snapshot, SnapshotMeta, StorageError, StorageIOError, StoredMembership,
};
use tokio::sync::{mpsc, oneshot};

use super::entries::{Entry, to_id, to_members};
use super::log_storage::LogStorage;
use super::snapshots::{Applied, base_of_meta, meta_of};
use super::types::{EntryBody, GroupSnapshot, Groups, Node, NodeId};
use crate::cluster::transfer::{Source, Taken};
use crate::journal::{Base, EntryId, GroupLog, Membership};

/// Entries that have been handed over, and not applied.
const ENTRIES: usize = 64;

/// What the task of the shard is handed, in the order of the log.
#[derive(Debug)]
pub(crate) enum Handed {
    /// The next entry, which is committed.
    Entry(Committed),
    /// A state in place of all entries up to the one that it stands on.
    State(Box<NewState>),
}

/// A committed entry.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) id: EntryId,
    pub(crate) says: Says,
}

/// What an entry says.
#[derive(Debug)]
pub(crate) enum Says {
    /// That somebody leads.
    Nothing,
    /// What a round has changed.
    Changes(EntryBody),
    /// Who the members of the group are from here on.
    Members(Membership),
}

/// A state that a leader has given.
#[derive(Debug)]
pub(crate) struct NewState {
    pub(crate) taken: Taken,
    pub(crate) base: Base,
    /// To be told when the shard is as it says; dropped if it is not.
    pub(crate) installed: oneshot::Sender<()>,
}

/// See the module's documentation.
pub(crate) struct Machine {
    applied: Applied,
    handed: mpsc::Sender<Handed>,
    log: LogStorage,
}

impl Machine {
    /// A machine whose shard has applied this much, and what is to be applied from there on.
    pub(crate) fn new(applied: Applied, log: LogStorage) -> (Self, mpsc::Receiver<Handed>) {
        let (handed, entries) = mpsc::channel(ENTRIES);
        (Self { applied, handed, log }, entries)
    }

    async fn install(
        &mut self,
        meta: &SnapshotMeta<NodeId, Node>,
        snapshot: GroupSnapshot,
    ) -> io::Result<()> {
        let taken = match snapshot {
            GroupSnapshot::Taken(taken) => taken.take(),
            GroupSnapshot::Bytes(_) | GroupSnapshot::Given(_) => None,
        };
        let taken = taken.ok_or_else(|| io::Error::other("it was not taken from another node"))?;
        let (base, (installed, outcome)) = (base_of_meta(meta)?, oneshot::channel());
        let state = Handed::State(Box::new(NewState { taken, base, installed }));
        self.handed.send(state).await.map_err(|_ended| ended())?;
        outcome.await.map_err(|_not| io::Error::other("it has not come to count"))?;
        self.applied = (meta.last_log_id, meta.last_membership.clone());
        Ok(())
    }
}

fn ended() -> io::Error {
    io::Error::other("the task of the shard has ended")
}

fn failed(verb: ErrorVerb, error: &io::Error) -> StorageError<NodeId> {
    StorageIOError::new(ErrorSubject::StateMachine, verb, AnyError::new(error)).into()
}

/// Looks at the checkpoint of a log that counts, beside what else the core does.
async fn look<T: Send + 'static>(
    log: &GroupLog,
    look: impl FnOnce(GroupLog) -> io::Result<T> + Send + 'static,
) -> Result<T, StorageError<NodeId>> {
    let log = log.clone();
    let looked = tokio::task::spawn_blocking(move || look(log)).await;
    let looked = looked.map_err(io::Error::other).and_then(|looked| looked);
    looked.map_err(|error| failed(ErrorVerb::Read, &error))
}

impl RaftStateMachine<Groups> for Machine {
    type SnapshotBuilder = Saved;

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
        let bad = |error: &io::Error| failed(ErrorVerb::Write, error);
        let mut answers = Vec::new();
        let entries: Vec<_> = entries.into_iter().collect();
        self.log.stored(&entries).await?;
        for Entry { log_id, payload } in entries {
            let id = to_id(&log_id);
            self.applied.0 = Some(log_id);
            let says = match payload {
                EntryPayload::Blank => Says::Nothing,
                EntryPayload::Normal(body) => Says::Changes(body),
                EntryPayload::Membership(members) => {
                    let bytes = to_members(&members).map_err(|error| bad(&error))?;
                    self.applied.1 = StoredMembership::new(Some(log_id), members);
                    Says::Members(Membership { id, bytes })
                }
            };
            let entry = Handed::Entry(Committed { id, says });
            self.handed.send(entry).await.map_err(|_ended| bad(&ended()))?;
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Saved {
        Saved(self.log.log().clone())
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<GroupSnapshot>, StorageError<NodeId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, Node>,
        snapshot: Box<GroupSnapshot>,
    ) -> Result<(), StorageError<NodeId>> {
        let outcome = self.install(meta, *snapshot).await;
        let purged = self.log.installed(outcome.is_ok());
        outcome.and(purged).map_err(|error| {
            tracing::error!(%error, "a state that was taken from another node does not count");
            failed(ErrorVerb::Write, &error)
        })
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<Groups>>, StorageError<NodeId>> {
        look(self.log.log(), |log| {
            let Some(checkpoint) = log.checkpoint()? else { return Ok(None) };
            let meta = meta_of(checkpoint.base())?;
            let given = GroupSnapshot::Given(Arc::new(Source::of(checkpoint)));
            Ok(Some(Snapshot { meta, snapshot: Box::new(given) }))
        })
        .await
    }
}

/// Says which checkpoint counts.
pub(crate) struct Saved(GroupLog);

impl RaftSnapshotBuilder<Groups> for Saved {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Groups>, StorageError<NodeId>> {
        let meta = look(&self.0, |log| log.base()?.as_ref().map(meta_of).transpose()).await?;
        // Only what it says of itself is looked at.
        Ok(Snapshot { meta: meta.unwrap_or_default(), snapshot: Box::default() })
    }
}
