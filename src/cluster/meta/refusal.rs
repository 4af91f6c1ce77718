//! Why a command changes nothing.

use super::state::{IDS_MAX, MemberState, NAME_BYTES_MAX, NODES_MAX, REPLICAS_MAX};
use crate::cluster::{ClusterId, NodeId};

/// Why a command is refused. Every node refuses it alike, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetaRefusal {
    /// Nothing is decided before.
    #[error(
        "the cluster has not been founded: `tidewire admin cluster init` on its first node does that"
    )]
    NotFounded,
    /// Two cannot be the first.
    #[error(
        "the cluster is founded already (its epoch is {epoch}): a further node joins it, with an empty data_dir"
    )]
    FoundedAlready {
        /// Of the cluster that is there.
        epoch: u64,
    },
    /// Another cluster.
    #[error(
        "the command is for cluster {says}, and this is cluster {has}: use the certificates of one cluster"
    )]
    OtherCluster {
        /// This one.
        has: ClusterId,
        /// The command's.
        says: ClusterId,
    },
    /// No epoch.
    #[error(
        "the epoch of a cluster is greater than 0: take that of the first node's durable shards"
    )]
    Epoch,
    /// Its name cannot be shown.
    #[error(
        "the name of node {node} is not taken: it has 1 to {NAME_BYTES_MAX} bytes and no control characters; \
         change `node` in its configuration"
    )]
    Name {
        /// Whose.
        node: NodeId,
    },
    /// It was removed.
    #[error(
        "node {node} was removed and never comes back under its id: give it a new id: `tidewire admin cluster \
         ca issue --node N`, and an empty data_dir"
    )]
    Removed {
        /// Who.
        node: NodeId,
    },
    /// It is none.
    #[error(
        "node {node} does not belong to the cluster: `tidewire admin cluster status` lists those that do"
    )]
    Unknown {
        /// Who.
        node: NodeId,
    },
    /// Nobody would be left.
    #[error(
        "node {node} is the last active one, and is neither drained nor removed: let another one join first, or \
         stop to drain one"
    )]
    LastActive {
        /// Who.
        node: NodeId,
    },
    /// Copies would be lost.
    #[error(
        "node {node} is not removed: too many copies of {groups} of the groups are wanted on it and on nodes that \
         were removed before; drain it (`tidewire admin cluster drain {node}`) and wait until it holds nothing"
    )]
    HoldsTooMuch {
        /// Who.
        node: NodeId,
        /// How many.
        groups: usize,
    },
    /// The release of a node is too old.
    #[error(
        "node {node} knows feature level {level}, and the cluster has decided on {needed}: update that node first"
    )]
    NodeTooOld {
        /// Who.
        node: NodeId,
        /// What it knows.
        level: u32,
        /// What it has to know.
        needed: u32,
    },
    /// There is no way back.
    #[error(
        "feature level {level} is below that of the cluster, {has}: it never goes down, since the log may hold what \
         needs it"
    )]
    FeatureLevelDown {
        /// What was asked for.
        level: u32,
        /// What was decided.
        has: u32,
    },
    /// The command needs more than was decided.
    #[error(
        "this needs feature level {needed}, and the cluster has decided on {has}: raise it first"
    )]
    FeatureLevelNeeded {
        /// What it needs.
        needed: u32,
        /// What was decided.
        has: u32,
    },
    /// Somebody else has set them.
    #[error(
        "the policies have version {has} and not {expected}: somebody has set them since; look at the present \
         ones, and set yours again"
    )]
    PoliciesVersion {
        /// What the command has seen.
        expected: u64,
        /// What is there.
        has: u64,
    },
    /// Too many.
    #[error(
        "the cluster has {NODES_MAX} nodes, which is the limit: remove one that is not needed first"
    )]
    NodesMax,
    /// Too many, for ever.
    #[error(
        "the cluster has used {IDS_MAX} ids of nodes, which is the limit: it remembers those that were removed; \
         restore a backup into a new cluster"
    )]
    IdsMax,
    /// No number of copies.
    #[error(
        "{replicas} is no number of copies: it is odd and 1 to {REPLICAS_MAX}, since one more than an odd number \
         survives nothing more"
    )]
    Replicas {
        /// What was asked for.
        replicas: u16,
    },
    /// No shard.
    #[error("there is no shard {shard}: they are 0 to {last}")]
    Shard {
        /// What was asked for.
        shard: u16,
        /// The last one.
        last: u16,
    },
    /// Not as many as the rule wants.
    #[error(
        "shard {shard} has {needed} copies, and {named} different nodes were named: name {needed}"
    )]
    Copies {
        /// Which.
        shard: u16,
        /// How many it is.
        needed: u16,
        /// How many were named.
        named: usize,
    },
    /// It gets no copies.
    #[error("node {node} gets no copies, it is {}: name an active node", state_name(*state))]
    NotActive {
        /// Who.
        node: NodeId,
        /// What it is.
        state: MemberState,
    },
    /// Something was decided since.
    #[error(
        "the copies follow from revision {revision}, and the cluster is at {has}: work them out again"
    )]
    Stale {
        /// What they follow from.
        revision: u64,
        /// What is there.
        has: u64,
    },
    /// A node was removed since, or it was decided by somebody else.
    #[error(
        "what there is of removed nodes was found out as decision {number}, and {has} were made or another node \
         was removed since: find it out again"
    )]
    SealStale {
        /// Which decision it was to be.
        number: u64,
        /// How many there are.
        has: u64,
    },
    /// No placement that groups could have.
    #[error("the copies of group {group} are refused: {rule}; work them out again")]
    Placement {
        /// Which, or the number of groups for the meta group.
        group: usize,
        /// What is wrong.
        rule: &'static str,
    },
}

fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "active",
        MemberState::Draining => "draining",
        MemberState::Removed => "removed",
    }
}
