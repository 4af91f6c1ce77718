//! How the cluster is, for the operator.

use std::collections::BTreeSet;

use serde::Serialize;

use super::messages::Led;
use super::whereabouts::ask_all;
use super::{Replication, Shared, parts};
use crate::cluster::NodeId;
use crate::cluster::meta::{MemberState, Meta};
use crate::cluster::raft::Group;
use crate::journal::META;

/// A group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupStatus {
    pub(super) group: u16,
    pub(super) leader: Option<u64>,
    term: u64,
    pub(super) voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    /// Entries applied on this node.
    applied: u64,
    /// Who is to have copies.
    pub(super) wanted: BTreeSet<NodeId>,
    /// Who is to lead, if that matters.
    pub(super) wanted_leader: Option<NodeId>,
    /// Members that have (nearly) all that the leader has; none is known without one.
    pub(super) current: BTreeSet<u64>,
    /// What its leader is about to do, or waits for; nothing if all is as it should be.
    pub(super) waits: Option<String>,
}

/// What the cluster has decided.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterDecisions {
    revision: u64,
    feature_level: u32,
    /// The highest one that all members know.
    feature_level_max: u32,
    /// Wanted of each shard.
    copies: u16,
    policies_version: u64,
    members: Vec<MemberStatus>,
    meta: Option<GroupStatus>,
}

/// A node, as the cluster has decided about it.
#[derive(Debug, Serialize)]
struct MemberStatus {
    id: NodeId,
    name: String,
    address: String,
    state: MemberState,
    feature_level: u32,
    /// Groups in which it is to have a copy, has one that votes, and leads.
    copies_wanted: usize,
    copies: usize,
    leads: usize,
}

/// The groups of the shards, as their leaders see them, and what was decided.
pub(crate) async fn groups(shared: &Shared) -> Option<(Vec<GroupStatus>, Option<GroupStatus>)> {
    let (replication, cluster) = parts(shared).ok()?;
    let meta = replication.steering.decided.now();
    let led = ask_all(replication, cluster).await;
    let of = |group: Group| status(&group, &meta, &led);
    let groups = replication.groups.all().into_iter().map(of).collect();
    Some((groups, replication.groups.meta().map(of)))
}

/// What was decided; nothing before the cluster is founded.
pub(crate) fn decisions(
    replication: &Replication,
    groups: &[GroupStatus],
    of_meta: Option<GroupStatus>,
) -> Option<ClusterDecisions> {
    let meta = replication.steering.decided.now();
    if !meta.is_founded() {
        return None;
    }
    let members = meta.nodes.iter().map(|(id, node)| {
        let count = |is_so: &dyn Fn(&GroupStatus) -> bool| {
            groups.iter().filter(|group| is_so(group)).count()
        };
        MemberStatus {
            id: *id,
            name: node.name.clone(),
            address: node.address.as_str().to_owned(),
            state: node.state,
            feature_level: node.feature_level,
            copies_wanted: count(&|group| group.wanted.contains(id)),
            copies: count(&|group| group.voters.contains(&id.get())),
            leads: count(&|group| group.leader == Some(id.get())),
        }
    });
    Some(ClusterDecisions {
        revision: meta.revision,
        feature_level: meta.feature_level,
        feature_level_max: meta.feature_level_max(),
        copies: meta.replicas,
        policies_version: meta.policies.version,
        members: members.collect(),
        meta: of_meta,
    })
}

fn status(group: &Group, meta: &Meta, led: &[(NodeId, Led)]) -> GroupStatus {
    let metrics = group.raft.metrics().borrow().clone();
    let members = metrics.membership_config.membership();
    let newest = led.iter().filter(|(_, led)| led.group == group.number);
    let newest = newest.max_by_key(|(_, led)| led.term);
    let newest = newest.filter(|(_, led)| led.term >= metrics.current_term);
    let placed = meta.placement.groups.get(usize::from(group.number));
    let wanted = match group.number {
        META => meta.placement.meta.clone(),
        _ => placed.map(|placed| placed.copies.clone()).unwrap_or_default(),
    };
    let (wanted_leader, applied) =
        (placed.map(|placed| placed.leader), metrics.last_applied.map_or(0, |id| id.index + 1));
    match newest {
        Some((leader, led)) => GroupStatus {
            group: group.number,
            leader: Some(leader.get()),
            term: led.term,
            voters: led.voters.clone(),
            learners: led.learners.clone(),
            applied,
            wanted,
            wanted_leader,
            current: led.current.clone(),
            waits: led.waits.clone(),
        },
        None => GroupStatus {
            group: group.number,
            leader: group.leader(),
            term: metrics.current_term,
            voters: members.voter_ids().collect(),
            learners: members.learner_ids().collect(),
            applied,
            wanted,
            wanted_leader,
            current: BTreeSet::new(),
            waits: None,
        },
    }
}
