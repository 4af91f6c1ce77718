//! What an operator wants of the cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deciding::decide;
use super::messages::{Request, ask};
use super::status::{GroupStatus, groups};
use super::{Shared, SteeringError, parts};
use crate::cluster::NodeId;
use crate::cluster::meta::{MetaCommand, PolicyText};

/// How long another node may take to be told.
const TELL: Duration = Duration::from_secs(2);

/// A decision that an operator asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// A node gives its copies away, or takes some again.
    Drain { node: NodeId, on: bool },
    /// A node never comes back.
    Remove { node: NodeId },
    /// Each shard has so many copies.
    Copies { copies: u16 },
    /// All nodes can do this.
    FeatureLevel { level: u32 },
    /// The policies of the node that is asked are the cluster's.
    Policies,
}

/// Has it decided.
///
/// # Errors
/// When a rule forbids it, or nobody decides.
pub(crate) async fn operate(shared: &Shared, order: Order) -> Result<u64, SteeringError> {
    let (replication, _) = parts(shared)?;
    let meta = replication.steering.decided.now();
    let command = match order {
        Order::Drain { node, on } => MetaCommand::Drain { node, on },
        Order::Remove { node } => MetaCommand::Remove { node },
        Order::Copies { copies } => MetaCommand::SetReplicas { replicas: copies },
        Order::FeatureLevel { level } => MetaCommand::SetFeatureLevel { level },
        Order::Policies => {
            let text = PolicyText::of(&shared.config.policy);
            let policies = text.map_err(|error| SteeringError::Refused(error.to_string()))?;
            MetaCommand::SetPolicies { expected_version: meta.policies.version, policies }
        }
    };
    decide(shared, &command).await?;
    Ok(replication.steering.decided.now().revision)
}

/// A group that another node is to lead.
#[derive(Debug, Serialize)]
pub(crate) struct Shift {
    group: u16,
    from: Option<u64>,
    to: NodeId,
}

/// Spreads leadership over the nodes, whatever is in memory; copies are spread anyway.
///
/// # Errors
/// When there is no cluster.
pub(crate) async fn spread(shared: &Shared) -> Result<Vec<Shift>, SteeringError> {
    let (replication, cluster) = parts(shared)?;
    let meta = replication.steering.decided.now();
    let (groups, _) = groups(shared).await.unwrap_or_default();
    let shifts = groups.into_iter().filter_map(|group| {
        let to = group.wanted_leader.filter(|to| group.leader != Some(to.get()))?;
        Some(Shift { group: group.group, from: group.leader, to })
    });
    let shifts: Vec<Shift> = shifts.collect();
    replication.steering.spread_from(shared.clock.now_ms());
    let others = meta.members().map(|(node, _)| node).filter(|node| *node != cluster.node);
    let told = others.map(|node| ask(&cluster.links, node, &Request::Spread, TELL));
    // Who is not reached leads nothing.
    drop(futures_util::future::join_all(told).await);
    Ok(shifts)
}

/// Whether a node can be stopped and updated now.
#[derive(Debug, Serialize)]
pub(crate) struct UpgradeCheck {
    is_safe: bool,
    /// What has to be waited for first.
    reasons: Vec<String>,
    feature_level: u32,
    feature_level_max: u32,
    versions: Vec<NodeVersion>,
}

#[derive(Debug, Serialize)]
struct NodeVersion {
    id: NodeId,
    version: Option<String>,
    feature_level: u32,
}

/// Looks whether any one node may be stopped without a group losing its majority.
///
/// # Errors
/// When there is no cluster, or it is not founded.
pub(crate) async fn upgrade_check(shared: &Shared) -> Result<UpgradeCheck, SteeringError> {
    let (replication, cluster) = parts(shared)?;
    let meta = replication.steering.decided.now();
    if !meta.is_founded() {
        return Err(SteeringError::NotTaken);
    }
    let (shards, of_meta) = groups(shared).await.unwrap_or_default();
    let mut reasons = Vec::new();
    let nodes = cluster.roster.nodes();
    for (id, node) in meta.members() {
        let is_there = id == cluster.node || cluster.links.is_reachable(id);
        if !is_there {
            reasons.push(format!("node {id} ({}) is not reached: start it first", node.name));
        }
    }
    for group in shards.iter().chain(&of_meta) {
        reasons.extend(group_reason(group));
    }
    let version = |id: NodeId| {
        let known = nodes.iter().find(|node| node.id == id);
        known.map(|node| node.version.clone()).filter(|version| !version.is_empty())
    };
    let versions = meta.members().map(|(id, node)| NodeVersion {
        id,
        version: version(id),
        feature_level: node.feature_level,
    });
    Ok(UpgradeCheck {
        is_safe: reasons.is_empty(),
        feature_level: meta.feature_level,
        feature_level_max: meta.feature_level_max(),
        versions: versions.collect(),
        reasons,
    })
}

fn group_reason(group: &GroupStatus) -> Option<String> {
    let number = group.group;
    if group.leader.is_none() {
        return Some(format!("group {number} has no leader"));
    }
    if group.voters.len() < 3 {
        let voters = group.voters.len();
        return Some(format!("group {number} has {voters} voters, and stands still without one"));
    }
    let behind = group.voters.difference(&group.current).next();
    behind.map(|node| format!("group {number} waits for node {node}, which lacks entries of it"))
}
