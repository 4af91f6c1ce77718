//! The first node of a cluster: a server that was alone founds its groups on the logs that it has.

use std::collections::BTreeMap;
use std::io;

use tidewire_core::SHARDS;
use tokio::sync::oneshot;

use super::Replication;
use super::behind::Behind;
use super::peers::PeerEvent;
use super::task::Task;
use crate::cluster::raft::{Group, Node, NodeId};

/// Whether the shard of a group has logged something that no group knows of.
pub(super) fn has_logged_alone(group: &Group) -> bool {
    let log = group.log.log();
    log.last().is_some() && log.remembered().vote.is_none()
}

/// Founds a group with these members, of whom this node is one. What its shard has logged as one of a
/// single server's stays, and others get it as a state.
///
/// # Errors
/// When it was founded already, or cannot be.
pub(super) async fn found(
    replication: &Replication,
    group: &Group,
    nodes: BTreeMap<NodeId, Node>,
) -> io::Result<()> {
    if !has_logged_alone(group) {
        return group.raft.initialize(nodes).await.map_err(io::Error::other);
    }
    let ended = || io::Error::other("the task of the shard has ended");
    let task = replication.peers.get(usize::from(SHARDS + group.number)).ok_or_else(ended)?;
    let (begun, outcome) = oneshot::channel();
    task.send(PeerEvent::Begin { nodes, begun }).await.map_err(|_ended| ended())?;
    match outcome.await.map_err(|_ended| ended())?? {
        true => Ok(()),
        false => Err(io::Error::other("the group has been founded already")),
    }
}

impl Task {
    /// See [`PeerEvent::Begin`].
    ///
    /// # Errors
    /// When it cannot be written, or the group does not start again.
    pub(super) async fn begin(&mut self, nodes: BTreeMap<NodeId, Node>) -> io::Result<bool> {
        match &mut self.behind {
            Behind::Durable(durable) => durable.begin(nodes, &self.shared).await,
            Behind::Memory => Err(io::Error::other("a shard in memory has no group of its own")),
        }
    }
}
