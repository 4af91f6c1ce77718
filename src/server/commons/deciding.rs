//! What the cluster has decided about its nodes, and the end of those that were removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidewire_core::cell::eventual::Seal;
use tidewire_core::commons::Decided;

use crate::cluster::meta::{Meta, MetaSeal};
use crate::cluster::raft::NodeId;
use crate::server::Shared;
use crate::server::replicated::steering;

/// A pause before it is tried again to have something decided.
const RETRY: Duration = Duration::from_millis(250);

/// The other nodes that belong to the cluster; none if this one does not.
pub(super) fn members(shared: &Shared) -> BTreeSet<NodeId> {
    let Some(replication) = &shared.replication else { return BTreeSet::new() };
    others(&replication.steering.decided.now(), replication.node)
}

fn others(meta: &Meta, own: NodeId) -> BTreeSet<NodeId> {
    let mut members: BTreeSet<NodeId> = meta.members().map(|(node, _)| node.get()).collect();
    match members.remove(&own) {
        true => members,
        false => BTreeSet::new(),
    }
}

/// What this node's commons are to know of it.
pub(super) fn decided(shared: &Arc<Shared>) -> Decided {
    let Some(replication) = &shared.replication else { return Decided::default() };
    let meta = replication.steering.decided.now();
    let seal = meta.seal.as_ref().map(|MetaSeal { number, nodes, digest }| Seal {
        number: *number,
        nodes: nodes.iter().map(|node| node.get()).collect(),
        digest: *digest,
    });
    Decided {
        members: others(&meta, replication.node),
        removed: meta.removed().into_iter().map(|node| node.get()).collect(),
        seal,
        collects: steering::leads_meta(shared),
    }
}

/// Waits until this node or the other one does not belong to the cluster any more.
pub(super) async fn until_apart(shared: &Shared, node: NodeId) {
    let Some(replication) = &shared.replication else { return };
    let mut changes = replication.steering.decided.changes();
    // Fails only when the server is stopping.
    drop(changes.wait_for(|meta| !others(meta, replication.node).contains(&node)).await);
}

/// Has the cluster decide what all members know alike of removed nodes, for as long as the server runs. The
/// node that leads the meta group has collected it.
pub(crate) async fn seal(shared: Arc<Shared>) {
    let mut agreed = shared.commons.agreed.subscribe();
    loop {
        if agreed.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let seal = agreed.borrow_and_update().clone();
        if let Some(seal) = seal {
            steering::seal(&shared, &seal).await;
            tokio::time::sleep(RETRY).await;
        }
    }
}
