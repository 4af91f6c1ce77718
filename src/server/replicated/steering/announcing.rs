//! What this node says of itself: the cluster knows its name, its address and what its release can do.

use std::time::Duration;

use super::deciding::decide;
use super::joining::address_of;
use super::{Shared, parts};
use crate::cluster::meta::{MetaCommand, PolicyText, difference};
use crate::cluster::{FEATURE_LEVEL, NodeAddress};

/// When it is said again that could not be decided.
const AGAIN: Duration = Duration::from_secs(5);

/// Says it whenever the cluster knows something else, until the server ends.
pub(super) async fn run(shared: &Shared) {
    let Ok((replication, cluster)) = parts(shared) else { return };
    let Ok(address) = address_of(shared, cluster) else { return };
    let mut decided = replication.steering.decided.changes();
    let mut warned_of = None;
    loop {
        let (news, policies) = {
            let meta = decided.borrow_and_update();
            let known = meta.nodes.get(&cluster.node).filter(|node| node.is_member());
            let is_news = known.is_some_and(|known| {
                (&known.name, &known.address, known.feature_level)
                    != (&shared.config.node, &address, FEATURE_LEVEL)
            });
            (is_news, known.is_some().then(|| meta.policies.clone()))
        };
        if let Some(policies) = policies.filter(|set| warned_of != Some(set.version)) {
            warned_of = Some(policies.version);
            if let Some(what) = others(shared, &policies.text) {
                tracing::error!("this node has other policies than its cluster: {what}");
            }
        }
        if news {
            say(shared, &address).await;
        }
        let changed = tokio::time::timeout(AGAIN, decided.changed());
        match (news, changed.await) {
            (_, Ok(Err(_ended))) => return,
            (_, Ok(Ok(())) | Err(_)) => {}
        }
    }
}

async fn say(shared: &Shared, address: &NodeAddress) {
    let Some(cluster) = &shared.cluster else { return };
    let command = MetaCommand::Join {
        node: cluster.node,
        name: shared.config.node.clone(),
        address: address.clone(),
        feature_level: FEATURE_LEVEL,
    };
    if let Err(error) = decide(shared, &command).await {
        tracing::warn!(%error, "the cluster does not know yet how this node is now");
    }
}

/// How this node's policies differ from these.
pub(super) fn others(shared: &Shared, policies: &PolicyText) -> Option<String> {
    let own = PolicyText::of(&shared.config.policy);
    match own.and_then(|own| difference(&own, policies)) {
        Ok(difference) => difference,
        Err(error) => Some(error.to_string()),
    }
}
