//! Founding a cluster's groups, and joining them.
//!
//! The node that founds them is the only member of each; others ask to join. Whoever leads a group takes
//! them in as learners, and makes them voters once they have caught up and three nodes are there: two
//! voters would be worse than one, since the loss of either stops both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ServerState;
use serde::{Deserialize, Serialize};
use tidewire_core::SHARDS;
use tidewire_core::fanout::ISSUERS;
use tokio::sync::mpsc;

use super::{Replication, Shared, begin};
use crate::cluster::links::Incoming;
use crate::cluster::raft::{Group, Node, NodeId};
use crate::cluster::{self, NodeState, frames, services};

/// Nodes that have to be there before a second one votes.
const VOTERS_MIN: usize = 3;
/// Entries that a learner may lack when it becomes a voter.
const LAG_MAX: u64 = 64;
/// How often it is looked who may become a voter.
const LOOK: Duration = Duration::from_millis(200);
/// How long joining may take.
const JOIN: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(200);

/// A node asks whoever leads groups to take it in.
#[derive(Debug, Serialize, Deserialize)]
struct Join {
    address: String,
    /// Tells its master key apart from others: voters are hashed with that on whichever node they vote.
    master_key: String,
}

/// Groups that have taken it in.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    groups: Vec<u16>,
    /// Why it is taken into none.
    refused: Option<String>,
}

/// Why a cluster is not founded or joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error(
        "this server is not part of a cluster: [cluster] in its configuration makes it a node of one"
    )]
    NoCluster,
    #[error("this node is a member already: its groups have {0} members")]
    Member(usize),
    #[error(
        "{0} holds names on disk that are no cluster's: a node joins with an empty data_dir, or `tidewire admin cluster init` makes it the first node of a cluster, which keeps them"
    )]
    OldData(String),
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Refused(String),
    #[error("no node of the cluster has taken this one in within {} s: is one of them founded (`tidewire admin cluster init`), and does a majority run? Missing: groups {missing:?}", JOIN.as_secs())]
    NotTaken { missing: Vec<u16> },
}

/// How a group is, for the operator.
#[derive(Debug, Serialize)]
pub(crate) struct GroupStatus {
    group: u16,
    leader: Option<NodeId>,
    term: u64,
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// Entries applied on this node.
    applied: u64,
}

/// The groups as this node sees them.
pub(crate) fn status(replication: &Replication) -> Vec<GroupStatus> {
    let of = |group: Group| {
        let metrics = group.raft.metrics().borrow().clone();
        let members = metrics.membership_config.membership();
        GroupStatus {
            group: group.number,
            leader: metrics.current_leader,
            term: metrics.current_term,
            voters: members.voter_ids().collect(),
            learners: members.learner_ids().collect(),
            applied: metrics.last_applied.map_or(0, |id| id.index + 1),
        }
    };
    replication.groups.all().into_iter().map(of).collect()
}

/// Makes this node the first of its cluster: the only member of each group.
///
/// # Errors
/// When it is a member already, or has data of its own.
pub(crate) async fn init(shared: &Shared) -> Result<usize, ControlError> {
    let (replication, cluster) = parts(shared)?;
    let groups = replication.groups.all();
    for group in &groups {
        let members = group.raft.metrics().borrow().membership_config.nodes().count();
        if members > 0 {
            return Err(ControlError::Member(members));
        }
    }
    for group in &groups {
        let node = Node::new(cluster.listen.to_string());
        let only = BTreeMap::from([(replication.node, node)]);
        let founded = begin::found(replication, group, only).await;
        founded.map_err(|error| ControlError::Engine(error.to_string()))?;
    }
    Ok(groups.len())
}

/// Asks the other nodes to take this one into all groups, until they have.
///
/// # Errors
/// When they do not.
pub(crate) async fn join(shared: &Shared) -> Result<usize, ControlError> {
    let (replication, cluster) = parts(shared)?;
    for group in replication.groups.all() {
        if !is_member(&group, replication.node) {
            check_empty(&group)?;
        }
    }
    let deadline = tokio::time::Instant::now() + JOIN;
    loop {
        let missing: Vec<u16> = replication
            .groups
            .all()
            .into_iter()
            .filter(|group| !is_member(group, replication.node))
            .map(|group| group.number)
            .collect();
        if missing.is_empty() {
            return Ok(replication.groups.all().len());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ControlError::NotTaken { missing });
        }
        for node in cluster.roster.nodes().iter() {
            if !node.is_self && node.state == NodeState::Alive {
                // Who cannot be asked is asked again.
                if let Ok(Some(refused)) = ask(shared, cluster, node.id).await {
                    return Err(ControlError::Refused(refused));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a group that this node is no member of holds here is no cluster's.
fn check_empty(group: &Group) -> Result<(), ControlError> {
    match begin::has_logged_alone(group) {
        true => Err(ControlError::OldData(format!("shard {}", SHARDS + group.number))),
        false => Ok(()),
    }
}

fn parts(shared: &Shared) -> Result<(&Replication, &cluster::Cluster), ControlError> {
    match (&shared.replication, &shared.cluster) {
        (Some(replication), Some(cluster)) => Ok((replication, cluster)),
        (None, _) | (_, None) => Err(ControlError::NoCluster),
    }
}

fn is_member(group: &Group, node: NodeId) -> bool {
    group.raft.metrics().borrow().membership_config.membership().get_node(&node).is_some()
}

async fn ask(
    shared: &Shared,
    cluster: &cluster::Cluster,
    node: cluster::NodeId,
) -> std::io::Result<Option<String>> {
    let opened = cluster.links.open(node, services::CONTROL).await;
    let (mut send, mut recv) = opened.map_err(|error| std::io::Error::other(error.to_string()))?;
    let (address, master_key) = (cluster.listen.to_string(), fingerprint(shared));
    frames::send(&mut send, &Join { address, master_key }).await?;
    let taken: Option<Taken> = frames::receive(&mut recv).await?;
    Ok(taken.and_then(|taken| taken.refused))
}

/// Takes nodes in that ask for it, until the links end.
pub(crate) async fn serve(shared: Shared, mut streams: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { node, mut send, mut recv }) = streams.recv().await {
        let shared = Shared::clone(&shared);
        drop(tokio::spawn(async move {
            let Some(replication) = &shared.replication else { return };
            if let Ok(Some(Join { address, master_key })) = frames::receive(&mut recv).await {
                let refused = refusal(&shared, replication, node.get(), &master_key);
                let groups = match &refused {
                    None => take_in(replication, node.get(), &address).await,
                    Some(_) => Vec::new(),
                };
                let taken = Taken { groups, refused };
                if frames::send(&mut send, &taken).await.is_ok() {
                    drop(send.finish());
                    drop(send.stopped().await);
                }
            }
        }));
    }
}

const OTHER_KEY: &str = "its master key is another one than the cluster's, so a voter could vote once on each \
                         node: start it with an empty data_dir and storage.master_key_file naming a copy \
                         of the cluster's (`tidewire admin cluster ca init` makes one)";

/// Why a node is not taken in.
fn refusal(
    shared: &Shared,
    replication: &Replication,
    node: NodeId,
    master_key: &str,
) -> Option<String> {
    if master_key != fingerprint(shared) {
        return Some(OTHER_KEY.to_owned());
    }
    let members: BTreeSet<NodeId> = replication
        .groups
        .all()
        .iter()
        .flat_map(|group| {
            let members = group.raft.metrics().borrow().membership_config.membership().clone();
            members.nodes().map(|(member, _)| *member).collect::<Vec<_>>()
        })
        .collect();
    let is_like = |member: &&NodeId| **member != node && **member % ISSUERS == node % ISSUERS;
    members.iter().find(is_like).map(|member| {
        format!(
            "node {node} would issue the same producer ids as node {member}, since their ids are the \
             same modulo {ISSUERS}: make it a certificate with another id"
        )
    })
}

/// What tells the node's master key apart from others, without showing it.
fn fingerprint(shared: &Shared) -> String {
    let tag = aws_lc_rs::hmac::sign(&shared.voter_key, b"tidewire cluster master key");
    tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

async fn take_in(replication: &Replication, node: NodeId, address: &str) -> Vec<u16> {
    let mut taken = Vec::new();
    for group in replication.groups.all() {
        let leads = group.raft.metrics().borrow().state == ServerState::Leader;
        if !leads || is_member(&group, node) {
            continue;
        }
        let learner = Node::new(address.to_owned());
        match group.raft.add_learner(node, learner, false).await {
            Ok(_) => taken.push(group.number),
            Err(error) => {
                tracing::warn!(group = group.number, node, %error, "a node is not taken in yet");
            }
        }
    }
    taken
}

/// Makes voters of those who have caught up, in the groups that this node leads.
pub(crate) async fn promote(shared: Shared) {
    let Some(replication) = &shared.replication else { return };
    loop {
        tokio::time::sleep(LOOK).await;
        for group in replication.groups.all() {
            let metrics = group.raft.metrics().borrow().clone();
            let members = metrics.membership_config.membership();
            let nodes: BTreeSet<NodeId> = members.nodes().map(|(node, _)| *node).collect();
            let is_due = metrics.state == ServerState::Leader
                && members.learner_ids().next().is_some()
                && members.get_joint_config().len() == 1
                && nodes.len() >= VOTERS_MIN;
            let last = metrics.last_log_index.unwrap_or(0);
            let has_caught_up = |node: &NodeId| {
                let matched = metrics.replication.as_ref().and_then(|all| all.get(node));
                let matched = matched.and_then(|id| id.as_ref()).map_or(0, |id| id.index + 1);
                *node == replication.node || matched + LAG_MAX > last
            };
            if is_due
                && nodes.iter().all(has_caught_up)
                && let Err(error) = group.raft.change_membership(nodes, false).await
            {
                tracing::warn!(group = group.number, %error, "voters are not changed yet");
            }
        }
    }
}
