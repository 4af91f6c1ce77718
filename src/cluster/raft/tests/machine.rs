//! A state machine in memory: it keeps what it is told.

use std::sync::{Arc, Mutex};

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{
    EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, SnapshotMeta, StorageError,
    StoredMembership,
};

use crate::cluster::raft::{Applied, EntryBody, GroupSnapshot, Groups, Node, NodeId};

type Failure = StorageError<NodeId>;

#[derive(Clone, Default)]
pub(super) struct Machine(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    applied: Option<LogId<NodeId>>,
    members: StoredMembership<NodeId, Node>,
    bodies: Vec<EntryBody>,
    snapshot: Option<(SnapshotMeta<NodeId, Node>, GroupSnapshot)>,
}

impl Machine {
    pub(super) fn at((applied, members): Applied) -> Self {
        Self(Arc::new(Mutex::new(State { applied, members, ..State::default() })))
    }

    pub(super) fn bodies(&self) -> Vec<EntryBody> {
        self.0.lock().unwrap().bodies.clone()
    }
}

impl RaftSnapshotBuilder<Groups> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Groups>, Failure> {
        let mut state = self.0.lock().unwrap();
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.members.clone(),
            snapshot_id: format!("{:?}", state.applied),
        };
        let snapshot = GroupSnapshot::default();
        state.snapshot = Some((meta.clone(), snapshot.clone()));
        Ok(Snapshot { meta, snapshot: Box::new(snapshot) })
    }
}

impl RaftStateMachine<Groups> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<Applied, Failure> {
        let state = self.0.lock().unwrap();
        Ok((state.applied, state.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failure>
    where
        I: IntoIterator<Item = openraft::Entry<Groups>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.0.lock().unwrap();
        let apply = |entry: openraft::Entry<Groups>| {
            state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(body) => state.bodies.push(body),
                EntryPayload::Membership(members) => {
                    state.members = StoredMembership::new(Some(entry.log_id), members);
                }
            }
        };
        Ok(entries.into_iter().map(apply).collect())
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
        let mut state = self.0.lock().unwrap();
        (state.applied, state.members) = (meta.last_log_id, meta.last_membership.clone());
        state.snapshot = Some((meta.clone(), *snapshot));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Groups>>, Failure> {
        let state = self.0.lock().unwrap();
        let snapshot = state.snapshot.clone();
        Ok(snapshot.map(|(meta, snapshot)| Snapshot { meta, snapshot: Box::new(snapshot) }))
    }
}
