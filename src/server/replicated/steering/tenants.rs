//! Nodes tell each other what tenants have in the shards that each of them leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::messages::{Request, ask};
use super::{Shared, parts};
use crate::cluster::NodeId;
use crate::server::tenants::ShardNames;

/// How often it is looked whether there is something to tell.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is told that nothing has changed, to who may have started again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long another node may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// What a node was told last, and when.
type Told = (Arc<Vec<ShardNames>>, Instant);

/// Tells the others until the server ends.
pub(super) async fn run(shared: &Shared) {
    let Ok((replication, cluster)) = parts(shared) else { return };
    let mut told: BTreeMap<NodeId, Told> = BTreeMap::new();
    let (mut telling, mut busy) = (JoinSet::new(), BTreeSet::new());
    loop {
        tokio::time::sleep(LOOK).await;
        while let Some(done) = telling.try_join_next() {
            let Ok((node, has_heard)) = done else { continue };
            busy.remove(&node);
            if let Some(has_heard) = has_heard {
                told.insert(node, has_heard);
            }
        }
        let names = Arc::new(shared.tenants.led_here());
        let meta = replication.steering.decided.now();
        told.retain(|node, _| meta.nodes.get(node).is_some_and(|known| known.is_member()));
        if names.is_empty() {
            continue;
        }
        let others = meta.members().map(|(node, _)| node).filter(|node| *node != cluster.node);
        for node in others {
            let known = told.get(&node);
            let is_known = known.is_some_and(|(said, at)| *said == names && at.elapsed() < AGAIN);
            if !is_known && busy.insert(node) {
                telling.spawn(tell(Shared::clone(shared), node, Arc::clone(&names)));
            }
        }
    }
}

async fn tell(shared: Shared, node: NodeId, names: Arc<Vec<ShardNames>>) -> (NodeId, Option<Told>) {
    let Some(cluster) = &shared.cluster else { return (node, None) };
    let at = Instant::now();
    let asked = ask(&cluster.links, node, &Request::Tenants((*names).clone()), ANSWER).await;
    (node, asked.is_ok().then_some((names, at)))
}
