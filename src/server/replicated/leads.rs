//! Who leads a group, and whether it may act as its leader.

use std::time::{Duration, Instant};

use openraft::ServerState;
use openraft::metrics::{RaftDataMetrics, RaftServerMetrics};
use tidewire_core::CLUSTER_EPOCH;

use crate::cluster::raft::{LEASE_MS, Node, NodeId};

/// What openraft says of itself.
pub(super) type Server = RaftServerMetrics<NodeId, Node>;
pub(super) type Data = RaftDataMetrics<NodeId>;

/// How a group is led, as a node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lead {
    /// Who leads it, if that is known.
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: u64,
    /// This node does, and has applied everything that was committed before.
    pub(crate) is_here: bool,
    /// Until when it may act as the leader, as far as is known.
    pub(crate) until: Option<Instant>,
    /// Epoch of the group's shard on disk, if that is known; what is in memory has epochs from there on.
    pub(super) epoch: u64,
}

impl Lead {
    /// Another node that leads it.
    pub(super) fn elsewhere(&self, node: NodeId) -> Option<NodeId> {
        self.leader.filter(|leader| *leader != node)
    }

    /// Whether this node may act as the leader.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.is_here && self.until.is_some_and(|until| now < until)
    }

    /// The epoch of what is in memory while this node leads in this term: above those before the cluster was restored,
    /// as the shard on disk has it.
    pub(super) fn memory_epoch(&self) -> u64 {
        self.epoch.max(CLUSTER_EPOCH) + self.term
    }

    /// As openraft sees it. `applied_term`: that of the last entry that was applied here. `acked`: when a
    /// majority is known to have heard this node as the leader.
    pub(super) fn of(
        node: NodeId,
        server: &Server,
        applied_term: Option<u64>,
        acked: Option<Instant>,
    ) -> Self {
        let term = server.vote.leader_id.term;
        let leads = server.state == ServerState::Leader && server.current_leader == Some(node);
        // The leader's first entry of its term is behind all that was committed before.
        let is_here = leads && applied_term == Some(term);
        let until = acked.filter(|_| leads).map(|acked| acked + Duration::from_millis(LEASE_MS));
        Self { leader: server.current_leader, term, is_here, until, epoch: 0 }
    }
}

/// When a majority has heard this node as the leader, at the earliest. What it says was said after it was
/// looked at before: a process that stood still must not take it for news.
pub(super) fn acked(server: &Server, data: &Data, looked_before: Instant) -> Option<Instant> {
    if server.membership_config.membership().voter_ids().count() == 1 {
        return Some(Instant::now());
    }
    looked_before.checked_sub(Duration::from_millis(data.millis_since_quorum_ack?))
}
