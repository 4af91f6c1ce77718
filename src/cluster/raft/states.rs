//! States of groups that come from other nodes.

use openraft::Vote;
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use tokio::sync::mpsc;

use super::group::{Group, GroupTable};
use super::types::{Groups, NodeId};
use crate::cluster::links::Incoming;
use crate::cluster::transfer::States;

/// Takes what other nodes give, until the links end. How many at the same time is a matter of `states`.
pub(crate) async fn take_states(
    mut streams: mpsc::Receiver<Incoming>,
    states: States,
    groups: GroupTable,
) {
    while let Some(incoming) = streams.recv().await {
        let (states, groups, from) = (states.clone(), groups.clone(), incoming.node);
        drop(tokio::spawn(async move {
            let find = |shard: u16, _vote: &Vote<NodeId>| {
                let group = groups.of_shard(shard).map(|group| group.log.log().clone());
                group.ok_or_else(|| format!("the group of shard {shard} has not started here"))
            };
            let install = async |shard, vote, snapshot| match groups.of_shard(shard) {
                Some(group) => install(&group, vote, snapshot).await,
                None => Err(format!("the group of shard {shard} is not here any more")),
            };
            if let Err(error) = states.take(incoming, find, install).await {
                tracing::warn!(node = from.get(), %error, "a state is not taken from another node");
            }
        }));
    }
}

async fn install(
    group: &Group,
    vote: Vote<NodeId>,
    snapshot: Snapshot<Groups>,
) -> Result<SnapshotResponse<NodeId>, String> {
    group.log.begin_installing();
    group.hear();
    let outcome = group.raft.install_full_snapshot(vote, snapshot).await;
    group.log.end_installing();
    outcome.map_err(|error| error.to_string())
}
