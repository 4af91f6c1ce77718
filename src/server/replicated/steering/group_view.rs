//! A group that this node leads, as its next step follows from it.

use std::collections::BTreeSet;

use openraft::ServerState;

use crate::cluster::NodeId;
use crate::cluster::meta::GroupView;
use crate::cluster::raft::{self, Group};

/// Entries that a member may lack when it is to vote, or to lead.
const LAG_MAX: u64 = 64;

/// Its members, and how far they are.
pub(super) struct Led {
    pub(super) term: u64,
    pub(super) voters: BTreeSet<NodeId>,
    voters_before: Option<BTreeSet<NodeId>>,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) caught_up: BTreeSet<NodeId>,
    /// Its members are being changed.
    is_changing: bool,
}

/// What the cluster has decided about it, and who is there.
pub(super) struct Wanted<'a> {
    pub(super) own: NodeId,
    pub(super) copies: &'a BTreeSet<NodeId>,
    pub(super) leader: Option<NodeId>,
    pub(super) reachable: &'a BTreeSet<NodeId>,
    pub(super) removed: &'a BTreeSet<NodeId>,
    pub(super) others_under_way: usize,
}

fn ids(of: impl IntoIterator<Item = raft::NodeId>) -> BTreeSet<NodeId> {
    of.into_iter().filter_map(NodeId::new).collect()
}

impl Led {
    /// The group as its engine sees it; nothing if this node does not lead it.
    pub(super) fn of(group: &Group, is_busy: bool) -> Option<Self> {
        let metrics = group.raft.metrics().borrow().clone();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let mut sets = membership.get_joint_config().iter().rev();
        let voters = ids(sets.next().into_iter().flatten().copied());
        let voters_before = sets.next().map(|set| ids(set.iter().copied()));
        let last = metrics.last_log_index.map_or(0, |last| last + 1);
        let has_caught_up = |node: &raft::NodeId| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(node));
            let matched = matched.and_then(Option::as_ref).map_or(0, |id| id.index + 1);
            *node == metrics.id || (matched > 0 && matched + LAG_MAX > last)
        };
        let nodes = membership.nodes().map(|(node, _)| *node);
        Some(Self {
            term: metrics.current_term,
            voters,
            voters_before,
            learners: ids(membership.learner_ids()),
            caught_up: ids(nodes.filter(has_caught_up)),
            is_changing: is_busy || *stored.log_id() > metrics.last_applied,
        })
    }

    /// The group as the rules look at it.
    pub(super) fn view<'a>(&'a self, wanted: &Wanted<'a>) -> GroupView<'a> {
        GroupView {
            own: wanted.own,
            leader: Some(wanted.own),
            wanted: wanted.copies,
            preferred: wanted.leader,
            voters: &self.voters,
            voters_before: self.voters_before.as_ref(),
            learners: &self.learners,
            is_changing: self.is_changing,
            reachable: wanted.reachable,
            caught_up: &self.caught_up,
            removed: wanted.removed,
            others_under_way: wanted.others_under_way,
        }
    }
}
