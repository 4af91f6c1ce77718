//! What openraft applies the entries of the meta group to: the state that the cluster has decided upon.
//!
//! Every node has all of it in memory. It is small, so a saved state is the whole of it, in one piece.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use tokio::sync::watch;

use super::entries::Entry;
use super::log_storage::LogStorage;
use super::types::{EntryBody, GroupSnapshot, Groups, Node, NodeId};
use crate::cluster::ClusterId;
use crate::cluster::meta::{Meta, MetaCommand, MetaRefusal, Outcome};

/// Outcomes of commands that are remembered for whoever has proposed them.
const OUTCOMES_MAX: usize = 256;

/// A state as it was saved, and what it stands on.
type Saved = (SnapshotMeta<NodeId, Node>, GroupSnapshot);
type Failure = StorageError<NodeId>;
/// The index of a command's entry, and what has become of it.
type Applied = (u64, Result<Outcome, MetaRefusal>);

/// What the cluster has decided, for all who want to see it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Decided {
    meta: watch::Sender<Arc<Meta>>,
    outcomes: Arc<Mutex<VecDeque<Applied>>>,
}

impl Decided {
    /// Nothing is decided.
    pub(crate) fn new(cluster: ClusterId) -> Self {
        let meta = watch::Sender::new(Arc::new(Meta::new(cluster)));
        Self { meta, outcomes: Arc::default() }
    }

    /// All of it, as far as it is known here.
    pub(crate) fn now(&self) -> Arc<Meta> {
        Arc::clone(&self.meta.borrow())
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Meta>> {
        self.meta.subscribe()
    }

    /// What has become of the command in this entry; nothing if it was applied too long ago.
    pub(crate) fn outcome(&self, index: u64) -> Option<Result<Outcome, MetaRefusal>> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.iter().rev().find(|(of, _)| *of == index).map(|(_, outcome)| outcome.clone())
    }

    fn put(&self, meta: &Meta) {
        self.meta.send_if_modified(|known| {
            let is_news = **known != *meta;
            if is_news {
                *known = Arc::new(meta.clone());
            }
            is_news
        });
    }

    fn remember(&self, index: u64, outcome: Result<Outcome, MetaRefusal>) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() == OUTCOMES_MAX {
            outcomes.pop_front();
        }
        outcomes.push_back((index, outcome));
    }
}

/// See the module's documentation. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MetaMachine {
    log: LogStorage,
    decided: Decided,
    state: Arc<Mutex<State>>,
}

struct State {
    meta: Meta,
    last: Option<LogId<NodeId>>,
    members: StoredMembership<NodeId, Node>,
    saved: Option<Saved>,
}

impl MetaMachine {
    /// The machine of the group with this log, as its state was saved last.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) fn new(
        log: LogStorage,
        saved: Option<Saved>,
        decided: &Decided,
    ) -> io::Result<Self> {
        let nothing = (*decided.now()).clone();
        let (meta, last, members) = match &saved {
            None => (nothing, None, StoredMembership::default()),
            Some((of, snapshot)) => (read(snapshot)?, of.last_log_id, of.last_membership.clone()),
        };
        decided.put(&meta);
        let state = Arc::new(Mutex::new(State { meta, last, members, saved }));
        Ok(Self { log, decided: decided.clone(), state })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply_one(&self, entry: Entry) -> io::Result<()> {
        let Entry { log_id, payload } = entry;
        self.with(|state| {
            match payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(members) => {
                    state.members = StoredMembership::new(Some(log_id), members);
                }
                EntryPayload::Normal(EntryBody { bytes, .. }) => {
                    // What a newer release has decided ends the group here, and loses nothing.
                    let command = MetaCommand::decode(&bytes).map_err(io::Error::other)?;
                    self.decided.remember(log_id.index, state.meta.apply(&command));
                    self.decided.put(&state.meta);
                }
            }
            state.last = Some(log_id);
            Ok(())
        })
    }

    async fn save(&self, saved: Saved) -> io::Result<()> {
        self.log.save_snapshot(&saved.0, &saved.1).await?;
        self.with(|state| state.saved = Some(saved));
        Ok(())
    }
}

fn read(snapshot: &GroupSnapshot) -> io::Result<Meta> {
    match snapshot {
        GroupSnapshot::Bytes(bytes) => Meta::read_saved(bytes).map_err(io::Error::other),
        GroupSnapshot::Given(_) | GroupSnapshot::Taken(_) => {
            Err(io::Error::other("a shard's state is none of the meta group"))
        }
    }
}

fn failed(error: &io::Error) -> Failure {
    tracing::error!(%error, "what the cluster decides is not applied here any more");
    StorageIOError::write_state_machine(AnyError::new(error)).into()
}

impl RaftStateMachine<Groups> for MetaMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, Node>), Failure> {
        Ok(self.with(|state| (state.last, state.members.clone())))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failure>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.log.stored(&entries).await?;
        let applied = entries.into_iter().map(|entry| self.apply_one(entry));
        applied.collect::<io::Result<Vec<()>>>().map_err(|error| failed(&error))
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<GroupSnapshot>, Failure> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, Node>,
        snapshot: Box<GroupSnapshot>,
    ) -> Result<(), Failure> {
        let decided = read(&snapshot).map_err(|error| failed(&error))?;
        let outcome = self.save((meta.clone(), *snapshot)).await;
        let purged = self.log.installed(outcome.is_ok());
        outcome.and(purged).map_err(|error| failed(&error))?;
        self.with(|state| {
            (state.last, state.members) = (meta.last_log_id, meta.last_membership.clone());
            state.meta = decided;
            self.decided.put(&state.meta);
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Groups>>, Failure> {
        let saved = self.with(|state| state.saved.clone());
        Ok(saved.map(|(meta, snapshot)| Snapshot { meta, snapshot: Box::new(snapshot) }))
    }
}

impl RaftSnapshotBuilder<Groups> for MetaMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Groups>, Failure> {
        let (bytes, last_log_id, last_membership) =
            self.with(|state| (state.meta.save(), state.last, state.members.clone()));
        let bytes = bytes.map_err(|error| failed(&io::Error::other(error)))?;
        let snapshot_id = format!("{}", last_log_id.map_or(0, |id| id.index));
        let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id };
        let snapshot = GroupSnapshot::Bytes(Bytes::from(bytes));
        let saved = self.save((meta.clone(), snapshot.clone())).await;
        saved.map_err(|error| failed(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(snapshot) })
    }
}

impl EntryBody {
    /// The entry for a command of the meta group.
    ///
    /// # Errors
    /// When it is longer than an entry may be.
    pub(crate) fn of_command(command: &MetaCommand, time_ms: u64) -> io::Result<Self> {
        let bytes = command.encode().map_err(io::Error::other)?.into();
        Ok(Self { version: 0, time_ms, entries: 1, bytes })
    }
}
