//! Who leads a group, and whether it may act as its leader.

use std::time::{Duration, Instant};

use openraft::ServerState;
use openraft::metrics::{RaftDataMetrics, RaftServerMetrics};

use crate::cluster::raft::{LEASE_MS, Node, NodeId};

/// What openraft says of itself.
pub(super) type Server = RaftServerMetrics<NodeId, Node>;
pub(super) type Data = RaftDataMetrics<NodeId>;

/// Epochs of shards in memory begin here: above those that come from a clock, and few enough bits for every client.
const EPOCHS: u64 = 1 << 48;

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

    /// The epoch of what is in memory while this node leads.
    pub(super) fn epoch(term: u64) -> u64 {
        EPOCHS + term
    }

    /// As openraft sees it. `applied_term`: that of the last entry that was applied here.
    pub(super) fn of(
        node: NodeId,
        server: &Server,
        data: &Data,
        applied_term: Option<u64>,
    ) -> Self {
        let term = server.vote.leader_id.term;
        let leads = server.state == ServerState::Leader && server.current_leader == Some(node);
        // The leader's first entry of its term is behind all that was committed before.
        let is_here = leads && applied_term == Some(term);
        let lease = Duration::from_millis(LEASE_MS);
        let is_alone = server.membership_config.membership().voter_ids().count() == 1;
        let acked = data.millis_since_quorum_ack.map(Duration::from_millis);
        let left =
            if is_alone { Some(lease) } else { acked.map(|acked| lease.saturating_sub(acked)) };
        let until = left.filter(|_| leads).map(|left| Instant::now() + left);
        Self { leader: server.current_leader, term, is_here, until }
    }
}
