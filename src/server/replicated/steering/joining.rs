//! A node is taken into the cluster.

use std::time::Duration;

use tidewire_core::SHARDS;
use tidewire_core::fanout::ISSUERS;

use super::deciding::{ask_leader, decide_here};
use super::messages::{Answer, Holds, Joining, Request};
use super::{Replication, Shared, SteeringError, begin, parts, started_parts};
use crate::cluster::meta::{
    Admission, Comer, DataDirectory, Meta, MetaNode, PolicyText, admit, difference,
};
use crate::cluster::raft::LogStorage;
use crate::cluster::{Cluster, FEATURE_LEVEL, NodeAddress, NodeId};

/// How long joining may take.
pub(super) const JOIN: Duration = Duration::from_secs(45);

/// Asks the cluster to take this node in, until it has.
///
/// # Errors
/// When it does not.
pub(crate) async fn join(shared: &Shared) -> Result<(), SteeringError> {
    let (replication, cluster) = started_parts(shared).await?;
    if let (Holds::OfItself, what) = holds(replication) {
        return Err(SteeringError::OldData(what));
    }
    let policies = PolicyText::of(&shared.config.policy);
    let policies = policies.map_err(|error| SteeringError::Refused(error.to_string()))?;
    let mut joining = Joining {
        name: shared.config.node.clone(),
        address: address_of(shared, cluster)?.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: FEATURE_LEVEL,
        master_key: fingerprint(shared),
        policies: policies.as_str().to_owned(),
        holds: holds(replication).0,
    };
    let request = |joining: &Joining| Request::Join(joining.clone());
    let asked = ask_leader(shared, &request(&joining), JOIN, SteeringError::NotTaken).await;
    let holds_now = holds(replication).0;
    if asked.is_err() && std::mem::replace(&mut joining.holds, holds_now) != holds_now {
        // It was taken in, and the answer was lost.
        ask_leader(shared, &request(&joining), JOIN, SteeringError::NotTaken).await?;
    } else {
        asked?;
    }
    let is_in = |meta: &Meta| meta.nodes.get(&cluster.node).is_some_and(MetaNode::is_member);
    let mut decided = replication.steering.decided.changes();
    let told = tokio::time::timeout(JOIN, decided.wait_for(|meta| is_in(meta))).await;
    told.map(drop).map_err(|_late| SteeringError::NotTaken)
}

/// Takes a node in, if this one leads the meta group.
pub(super) async fn take_in(shared: &Shared, node: NodeId, joining: Joining) -> Answer {
    let Ok((replication, _)) = parts(shared) else { return Answer::Elsewhere(None) };
    let Some(group) = replication.groups.meta() else { return Answer::Elsewhere(None) };
    let metrics = group.raft.metrics().borrow().clone();
    if metrics.current_leader != Some(replication.node) {
        return Answer::Elsewhere(group.leader());
    }
    let meta = replication.steering.decided.now();
    // Who was never a member of any group has promised nothing, and may ask a second time.
    let members = metrics.membership_config.membership();
    let has_begun = members.get_node(&node.get()).is_some();
    match admission(shared, &meta, node, &joining, has_begun) {
        Err(refused) => Answer::Refused(refused),
        Ok(Admission::New(command) | Admission::Returns(Some(command))) => {
            decide_here(shared, &command).await
        }
        Ok(Admission::Returns(None)) => Answer::Done,
    }
}

const OTHER_KEY: &str = "its master key is another one than the cluster's, so a voter could vote once on each \
                         node: start it with an empty data_dir and storage.master_key_file naming a copy \
                         of the cluster's (`tidewire admin cluster ca init` makes one)";

fn admission(
    shared: &Shared,
    meta: &Meta,
    node: NodeId,
    joining: &Joining,
    has_begun: bool,
) -> Result<Admission, String> {
    let Joining { name, address, version, feature_level, master_key, policies, holds } = joining;
    let data = match holds {
        Holds::OfItself => DataDirectory::OfItself,
        Holds::Nothing if meta.nodes.contains_key(&node) && !has_begun => {
            DataDirectory::OfCluster(meta.cluster)
        }
        Holds::Nothing => DataDirectory::Empty,
        Holds::OfCluster => DataDirectory::OfCluster(meta.cluster),
    };
    let comer = Comer {
        node,
        name: name.clone(),
        address: address.clone(),
        version: version.clone(),
        feature_level: *feature_level,
    };
    let admitted = admit(meta, &comer, data).map_err(|refusal| refusal.to_string())?;
    if *master_key != fingerprint(shared) {
        return Err(OTHER_KEY.to_owned());
    }
    let is_like =
        |member: &NodeId| *member != node && member.get() % ISSUERS == node.get() % ISSUERS;
    if let Some((member, _)) = meta.members().find(|(member, _)| is_like(member)) {
        return Err(format!(
            "node {node} would issue the same producer ids as node {member}, since their ids are the \
             same modulo {ISSUERS}: make it a certificate with another id"
        ));
    }
    let differs = PolicyText::parse(policies)
        .and_then(|theirs| difference(&theirs, &meta.policies.text))
        .map_err(|error| error.to_string())?;
    match differs {
        Some(what) => Err(format!(
            "node {node} has other policies than the cluster: {what}; give it those of the other nodes, \
             and start it again"
        )),
        None => Ok(admitted),
    }
}

/// What lies in the data directory, and where something lies that is no cluster's.
pub(super) fn holds(replication: &Replication) -> (Holds, String) {
    let has_voted = |log: &LogStorage| log.log().remembered().vote.is_some();
    let meta = replication.groups.meta();
    let all = || replication.groups.all().into_iter().chain(meta.clone());
    if all().any(|group| has_voted(&group.log)) {
        return (Holds::OfCluster, String::new());
    }
    match all().find(begin::has_logged_alone) {
        Some(group) => (Holds::OfItself, format!("shard {}", SHARDS + group.number)),
        None => (Holds::Nothing, String::new()),
    }
}

/// Where the other nodes reach this one.
pub(super) fn address_of(shared: &Shared, cluster: &Cluster) -> Result<NodeAddress, SteeringError> {
    let advertised = shared.config.cluster.advertise.clone();
    let address = advertised.unwrap_or_else(|| cluster.listen.to_string());
    NodeAddress::parse(&address).map_err(SteeringError::Refused)
}

/// What tells the node's master key apart from others, without showing it.
fn fingerprint(shared: &Shared) -> String {
    let tag = aws_lc_rs::hmac::sign(&shared.voter_key, b"tidewire cluster master key");
    tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
