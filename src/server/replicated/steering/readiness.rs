//! Why a node of a cluster does not want connections yet.

use super::{Shared, announcing};
use crate::cluster::FEATURE_LEVEL;
use crate::cluster::meta::MemberState;

/// Nothing if it does, or is none.
pub(crate) fn not_ready(shared: &Shared) -> Option<String> {
    let (replication, cluster) = (shared.replication.as_ref()?, shared.cluster.as_ref()?);
    let meta = replication.steering.decided.now();
    match meta.nodes.get(&cluster.node).map(|node| node.state) {
        None => {
            return Some(
                "it does not belong to its cluster yet: `tidewire admin cluster init` founds one, \
                 `tidewire admin cluster join` has it taken in"
                    .to_owned(),
            );
        }
        Some(MemberState::Removed) => {
            return Some(format!(
                "node {} was removed from its cluster: stop it; it comes back under a new id only",
                cluster.node
            ));
        }
        Some(MemberState::Draining) => {
            return Some(format!(
                "draining: its clients are asked to go to other nodes; \
                 `tidewire admin cluster drain {} --undo` has it serve again",
                cluster.node
            ));
        }
        Some(MemberState::Active) => {}
    }
    if let Some(why) = too_old(meta.feature_level, FEATURE_LEVEL) {
        return Some(why);
    }
    if let Some(what) = announcing::others(shared, &meta.policies.text) {
        return Some(format!(
            "it has other policies than its cluster: {what}; give it those of the other nodes and start it \
             again, or, once all nodes have these, `tidewire admin cluster policies`"
        ));
    }
    let without = (0..tidewire_core::SHARDS).filter(|group| !has_leader(replication, *group));
    let without: Vec<String> = without.map(|group| group.to_string()).collect();
    (!without.is_empty()).then(|| {
        format!(
            "no leader is known of groups {}: a majority of the nodes that have copies has to run",
            without.join(", ")
        )
    })
}

/// Why a release that knows so much is not enough for what the cluster has decided on.
fn too_old(decided: u32, known: u32) -> Option<String> {
    (decided > known).then(|| {
        format!(
            "it knows feature level {known}, and its cluster has decided on {decided}: it stops at the first entry \
             that needs more; update it"
        )
    })
}

fn has_leader(replication: &super::Replication, group: u16) -> bool {
    let led = replication.lead_of(group).is_some_and(|lead| lead.borrow().leader.is_some());
    let guidance = replication.steering.guidance_of(group).map(|guidance| *guidance.borrow());
    led || guidance.is_some_and(|guidance| guidance.leader.is_some())
}

#[cfg(test)]
mod tests {
    use super::too_old;

    #[test]
    fn a_release_of_before_is_not_ready_in_a_cluster_that_was_raised() {
        assert_eq!((too_old(1, 1), too_old(1, 2)), (None, None));
        assert!(too_old(2, 1).unwrap().contains("update it"));
    }
}
