//! The state of the meta group.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidewire_core::SHARDS;

use super::command::MetaCommand;
use super::placement::{Placement, place};
use super::policies::Policies;
use crate::cluster::{ClusterId, NodeAddress, NodeId};

/// Groups that hold copies of shards: group g has durable shard 16 + g, and its leader sequences shard g.
pub(super) const GROUPS: u16 = SHARDS;
/// Nodes that belong to a cluster at one time.
pub(super) const NODES_MAX: usize = 64;
/// Ids that a cluster uses in its life: it knows those that it has removed for ever.
pub(super) const IDS_MAX: usize = 1_024;
/// Copies of a shard.
pub(super) const REPLICAS_MAX: u16 = 7;
/// Copies of a shard where nobody has said anything else.
pub(super) const REPLICAS_DEFAULT: u16 = 3;
/// Longest name of a node.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// What the cluster has decided. These bounds and rules decide how entries of the log apply, on every node alike: to
/// change one of them takes a new feature level.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    pub(crate) cluster: ClusterId,
    /// Of all durable shards of the cluster; 0 before it is founded.
    pub(crate) epoch: u64,
    /// What all nodes can do.
    pub(crate) feature_level: u32,
    /// Copies of each shard, if there are nodes for them.
    pub(crate) replicas: u16,
    /// All that ever joined.
    pub(crate) nodes: BTreeMap<NodeId, MetaNode>,
    /// Groups whose copies an operator has chosen. One that names a node at most once for each group is bounded by
    /// the number of groups.
    pub(crate) exceptions: BTreeMap<u16, Vec<NodeId>>,
    pub(crate) policies: Policies,
    /// What was decided last of the eventual counters of removed nodes.
    #[serde(default)]
    pub(crate) seal: Option<MetaSeal>,
    /// The copies that are wanted.
    pub(crate) placement: Placement,
    /// Counts the changes.
    pub(crate) revision: u64,
}

/// A node, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetaNode {
    pub(crate) name: String,
    /// Where it was when it started last. Gossip knows better ones.
    pub(crate) address: NodeAddress,
    pub(crate) state: MemberState,
    pub(crate) joined_revision: u64,
    /// What its release can do.
    pub(crate) feature_level: u32,
}

/// What there is of the eventual counters of nodes that were removed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetaSeal {
    /// Counts these decisions.
    pub(crate) number: u64,
    /// Those that had been removed by then.
    pub(crate) nodes: BTreeSet<NodeId>,
    /// Of what all members knew alike.
    pub(crate) digest: u64,
}

/// Whether a node gets copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MemberState {
    /// It holds copies, and leads.
    Active,
    /// It gives its copies away, and leads nothing.
    Draining,
    /// It belongs to the cluster no more, and never will again.
    Removed,
}

impl MetaNode {
    /// Whether it belongs to the cluster.
    pub(crate) fn is_member(&self) -> bool {
        match self.state {
            MemberState::Active | MemberState::Draining => true,
            MemberState::Removed => false,
        }
    }
}

impl Meta {
    /// A cluster that has decided nothing yet.
    pub(crate) fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            epoch: 0,
            feature_level: 0,
            replicas: REPLICAS_DEFAULT,
            nodes: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            policies: Policies::default(),
            seal: None,
            placement: Placement::default(),
            revision: 0,
        }
    }

    pub(crate) fn is_founded(&self) -> bool {
        self.epoch > 0
    }

    /// Those that belong to the cluster.
    pub(crate) fn members(&self) -> impl Iterator<Item = (NodeId, &MetaNode)> {
        self.nodes.iter().filter(|(_, node)| node.is_member()).map(|(id, node)| (*id, node))
    }

    /// Those that get copies.
    pub(crate) fn active(&self) -> BTreeSet<NodeId> {
        let is_active = |node: &MetaNode| node.state == MemberState::Active;
        self.nodes.iter().filter(|(_, node)| is_active(node)).map(|(id, _)| *id).collect()
    }

    /// Those that no longer belong to it.
    pub(crate) fn removed(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, node)| !node.is_member()).map(|(id, _)| *id).collect()
    }

    /// The highest feature level that every member knows. One that drains counts too: it still applies entries.
    pub(crate) fn feature_level_max(&self) -> u32 {
        self.members().map(|(_, node)| node.feature_level).min().unwrap_or(self.feature_level)
    }

    /// The copies that follow from what was decided; nothing if they are decided already. Who leads the meta group
    /// proposes it, after each change. The log holds what came out and not how, so a later release may place in
    /// another way.
    pub(crate) fn placement_due(&self) -> Option<MetaCommand> {
        if !self.is_founded() {
            return None;
        }
        let placement = place(&self.active(), self.replicas, &self.exceptions, &self.placement);
        let is_due = placement != self.placement;
        is_due.then_some(MetaCommand::Place { revision: self.revision, placement })
    }
}
