//! What is behind a shard of a cluster on this node: the log of its group and the engine of that, or
//! nothing.

use std::io;

use tidewire_core::SHARDS;
use tokio::sync::{mpsc, watch};

use super::{Shared, leads};
use crate::cluster::raft::{Applied, Committed, Group, LogStorage, Machine};
use crate::journal::DiskRoom;

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
    committed: mpsc::Receiver<Committed>,
    pub(super) room: DiskRoom,
    /// Entries that the member's copy holds.
    pub(super) applied: u64,
    pub(super) applied_term: Option<u64>,
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

    pub(super) async fn start(kind: Kind, number: u16, shared: &Shared) -> io::Result<Self> {
        let (Kind::Durable(log), Some(replication)) = (kind, &shared.replication) else {
            return Ok(Self::Memory);
        };
        let Log { log, applied, room } = *log;
        let last = applied.0;
        let (machine, committed) = Machine::new(applied);
        let (node, network) = (replication.node, &replication.network);
        let group = Group::start(number - SHARDS, node, log, machine, network).await?;
        replication.groups.insert(group.clone());
        let (applied, applied_term) =
            (last.map_or(0, |id| id.index + 1), last.map(|id| id.leader_id.term));
        Ok(Self::Durable(Box::new(Durable { group, committed, room, applied, applied_term })))
    }
}

/// The next entry that is committed.
pub(super) async fn next_committed(behind: &mut Behind) -> Committed {
    if let Behind::Durable(durable) = behind
        && let Some(committed) = durable.committed.recv().await
    {
        return committed;
    }
    // There is no group, or it has ended with the server or its log.
    std::future::pending().await
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
