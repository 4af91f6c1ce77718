//! A cluster begins with its first node.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewire_core::CLUSTER_EPOCH;

use super::deciding::decide;
use super::joining::address_of;
use super::messages::{Answer, Request, ask};
use super::{Shared, SteeringError, begin, started_parts};
use crate::cluster::meta::{MetaCommand, PolicyText};
use crate::cluster::raft::{Node, NodeId};
use crate::cluster::{Cluster, FEATURE_LEVEL, NodeState};

/// How long another node may take to say whether it belongs to a cluster.
const ANSWER: Duration = Duration::from_secs(2);
/// How long the groups may take to be led.
const LED: Duration = Duration::from_secs(20);

/// Makes this node the first of its cluster.
///
/// # Errors
/// When it is a member already, or a node that it reaches belongs to a cluster.
pub(crate) async fn found(shared: &Shared) -> Result<(), SteeringError> {
    let (replication, cluster) = started_parts(shared).await?;
    if replication.steering.decided.now().is_founded() {
        return Err(SteeringError::Member);
    }
    let group = replication.groups.meta().ok_or(SteeringError::NotStarted)?;
    // One that was founded elsewhere, or whose founding was broken off.
    let members = group.raft.metrics().borrow().membership_config.nodes().count();
    if members == 0 {
        check_others(cluster).await?;
        let founded = begin::found(replication, &group, only(cluster)).await;
        founded.map_err(|error| SteeringError::Engine(error.to_string()))?;
    }
    let text = PolicyText::of(&shared.config.policy);
    let policies = text.map_err(|error| SteeringError::Refused(error.to_string()))?;
    let command = MetaCommand::Found {
        cluster: cluster.id,
        epoch: CLUSTER_EPOCH,
        feature_level: FEATURE_LEVEL,
        replicas: MetaCommand::REPLICAS_DEFAULT,
        node: cluster.node,
        name: shared.config.node.clone(),
        address: address_of(shared, cluster)?,
        policies,
    };
    decide(shared, &command).await?;
    // The groups of the shards follow from it.
    let led = replication.leads.iter().map(|lead| async {
        drop(lead.subscribe().wait_for(|lead| lead.is_here).await);
    });
    let late = || SteeringError::Engine("the groups of the shards are not led yet".to_owned());
    let all = tokio::time::timeout(LED, futures_util::future::join_all(led)).await;
    all.map(drop).map_err(|_late| late())
}

/// Two clusters could never be joined.
async fn check_others(cluster: &Cluster) -> Result<(), SteeringError> {
    let nodes = cluster.roster.nodes();
    let others = nodes.iter().filter(|node| !node.is_self && node.state != NodeState::Left);
    let asked = others.map(|node| async {
        let asked = ask(&cluster.links, node.id, &Request::IsFounded, ANSWER).await;
        matches!(asked, Ok(Answer::IsFounded(true))).then_some(node.id)
    });
    let founded = futures_util::future::join_all(asked).await.into_iter().flatten().next();
    founded.map_or(Ok(()), |node| Err(SteeringError::FoundedElsewhere(node.get())))
}

/// The members of a group whose only one is this node.
pub(super) fn only(cluster: &Cluster) -> BTreeMap<NodeId, Node> {
    BTreeMap::from([(cluster.node.get(), Node::new(cluster.listen.to_string()))])
}
