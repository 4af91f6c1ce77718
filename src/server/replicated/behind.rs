//! What is behind a shard of a cluster on this node: the log of its group and the engine of that, or
//! nothing.

use std::collections::BTreeMap;
use std::io;

use tidewire_core::SHARDS;
use tidewire_core::member::Member;
use tokio::sync::{mpsc, watch};

use super::saving::Saving;
use super::{Shared, leads};
use crate::cluster::raft::{
    Applied, Group, Handed, LogStorage, Machine, Node, NodeId, Says, applied_of_base,
    base_of_applied,
};
use crate::journal::{Base, DiskRoom, EntryId};

/// What is behind the shard.
pub(crate) enum Kind {
    /// The log of its group.
    Durable(Box<Log>),
    /// Nothing: whoever leads the group holds it.
    Memory,
}

/// The log of a shard's group, whose engine is to be started.
pub(crate) struct Log {
    pub(crate) log: LogStorage,
    pub(crate) applied: Applied,
    pub(crate) room: DiskRoom,
}

/// What is behind a shard that plays its part.
pub(super) enum Behind {
    Durable(Box<Durable>),
    Memory,
}

/// The log of a shard's group, and its engine.
pub(super) struct Durable {
    pub(super) group: Group,
    handed: mpsc::Receiver<Handed>,
    pub(super) room: DiskRoom,
    /// The last entry that the member's copy holds, and the group's members as of it.
    pub(super) base: Option<Base>,
    pub(super) saving: Saving,
}

impl Durable {
    /// Entries that the member's copy holds.
    pub(super) fn applied(&self) -> u64 {
        self.base.as_ref().map_or(0, Base::covers)
    }

    pub(super) fn applied_term(&self) -> Option<u64> {
        self.base.as_ref().map(|base| base.last.term)
    }

    /// The member's copy holds this entry, too.
    pub(super) fn has_applied(&mut self, id: EntryId, says: Says) {
        let base = self.base.take();
        let before = base.and_then(|base| base.membership);
        let (membership, bytes) = match says {
            Says::Nothing => (before, 0),
            Says::Changes(body) => (before, body.bytes.len()),
            Says::Members(members) => {
                let bytes = members.bytes.len();
                (Some(members), bytes)
            }
        };
        self.base = Some(Base { last: id, membership, is_taken_over: false });
        self.room.logged(bytes as u64);
    }

    /// Makes what was logged here before there was a group the beginning of one with these members.
    /// Returns false if it is a group's already.
    ///
    /// # Errors
    /// When it cannot be written, or the engine does not start again.
    pub(super) async fn begin(
        &mut self,
        nodes: BTreeMap<NodeId, Node>,
        shared: &Shared,
    ) -> io::Result<bool> {
        let log = self.group.log.clone();
        // Its engine has taken the log for one that is the beginning of nothing.
        self.group.raft.shutdown().await.map_err(io::Error::other)?;
        let has_begun = log.begin(nodes).await;
        let applied = applied_of_base(self.base.as_ref())?;
        (self.group, self.handed) = start(self.group.number, log, applied, shared).await?;
        has_begun
    }
}

impl Behind {
    pub(super) fn metrics(&self) -> Option<Metrics> {
        match self {
            Self::Durable(durable) => {
                let raft = &durable.group.raft;
                Some((raft.server_metrics(), raft.data_metrics()))
            }
            Self::Memory => None,
        }
    }

    pub(super) async fn start(kind: Kind, member: &Member, shared: &Shared) -> io::Result<Self> {
        let Kind::Durable(log) = kind else { return Ok(Self::Memory) };
        let Log { log, applied, mut room } = *log;
        let base = base_of_applied(&applied)?;
        let saving = Saving::begin(log.log(), &mut room, base.as_ref(), member).await?;
        let number = log.log().shard() - SHARDS;
        let (group, handed) = start(number, log, applied, shared).await?;
        Ok(Self::Durable(Box::new(Durable { group, handed, room, base, saving })))
    }
}

async fn start(
    number: u16,
    log: LogStorage,
    applied: Applied,
    shared: &Shared,
) -> io::Result<(Group, mpsc::Receiver<Handed>)> {
    let no_cluster = || io::Error::other("there is no cluster");
    let replication = shared.replication.as_ref().ok_or_else(no_cluster)?;
    let (machine, handed) = Machine::new(applied, log.clone());
    let (node, network) = (replication.node, &replication.network);
    let group = Group::start(number, node, log, machine, network).await?;
    replication.groups.insert(group.clone());
    Ok((group, handed))
}

/// What comes from behind a shard.
pub(super) enum News {
    /// The next entry that is committed, or a state.
    Handed(Handed),
    /// The state that was to be saved is, and counts; or does not.
    Saved(bool),
}

/// The next of it. Entries and states stay where they are unless `takes_entries`.
pub(super) async fn next(behind: &mut Behind, takes_entries: bool) -> News {
    // There may be no group, or it has ended with the server or its log.
    let Behind::Durable(durable) = behind else { return std::future::pending().await };
    let Durable { handed, room, .. } = durable.as_mut();
    tokio::select! {
        biased;
        Some(handed) = handed.recv(), if takes_entries => News::Handed(handed),
        counts = room.saved() => News::Saved(counts),
    }
}

/// What the engine says of itself.
pub(super) type Metrics = (watch::Receiver<leads::Server>, watch::Receiver<leads::Data>);

/// Waits until it says something else. Returns whether that is about the log, or a majority.
pub(super) async fn changed(metrics: &mut Option<Metrics>) -> bool {
    let Some((server, data)) = metrics else { return std::future::pending().await };
    let (changed, is_data) = tokio::select! {
        changed = data.changed() => (changed, true),
        changed = server.changed() => (changed, false),
    };
    if changed.is_err() {
        // The group has ended with the server, or with its log.
        std::future::pending::<()>().await;
    }
    is_data
}
