//! What other nodes ask of this one.

use openraft::ServerState;
use tokio::sync::mpsc;

use super::messages::{Answer, Request};
use super::{Shared, deciding, joining, parts, points, whereabouts};
use crate::cluster::links::Incoming;
use crate::cluster::meta::{MetaCommand, MetaNode};
use crate::cluster::{NodeId, frames};

/// Answers until the links end.
pub(super) async fn serve(shared: Shared, mut streams: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { node, mut send, mut recv }) = streams.recv().await {
        let shared = Shared::clone(&shared);
        drop(tokio::spawn(async move {
            if let Ok(Some(request)) = frames::receive::<Request>(&mut recv).await {
                let answer = answer(&shared, node, request).await;
                if frames::send(&mut send, &answer).await.is_ok() {
                    // Who asks takes it, or is gone.
                    drop(send.finish());
                    drop(send.stopped().await);
                }
            }
        }));
    }
}

/// What a node is answered; this one asks itself in the same way.
pub(super) async fn answer(shared: &Shared, from: NodeId, request: Request) -> Answer {
    match request {
        Request::Join(joining) => joining::take_in(shared, from, joining).await,
        Request::IsFounded => Answer::IsFounded(is_founded(shared)),
        Request::Led => Answer::Led(whereabouts::led_here(shared)),
        // Who does not lead the meta group may not know yet who belongs to the cluster.
        Request::Decide(_) if !leads_meta(shared) => deciding::elsewhere(shared),
        Request::Decide(_)
        | Request::Lead { .. }
        | Request::Spread
        | Request::Tenants(_)
        | Request::Entries { .. }
            if !belongs(shared, from) =>
        {
            Answer::Refused(format!(
                "node {from} does not belong to the cluster: `tidewire admin cluster join` on it has it taken in"
            ))
        }
        Request::Decide(command) => match MetaCommand::decode(&command) {
            Ok(command) => deciding::decide_here(shared, &command).await,
            Err(error) => Answer::Refused(error.to_string()),
        },
        Request::Lead { group, term } => lead(shared, group, term).await,
        Request::Tenants(names) => {
            shared.tenants.heard(names);
            Answer::Done
        }
        Request::Entries { group } => points::entries(shared, group).await,
        Request::Spread => {
            if let Ok((replication, _)) = parts(shared) {
                replication.steering.spread_from(shared.clock.now_ms());
            }
            Answer::Done
        }
    }
}

/// Whether this node leads the meta group.
pub(crate) fn leads_meta(shared: &Shared) -> bool {
    let group = parts(shared).ok().and_then(|(replication, _)| replication.groups.meta());
    group.is_some_and(|group| group.raft.metrics().borrow().state == ServerState::Leader)
}

fn is_founded(shared: &Shared) -> bool {
    parts(shared).is_ok_and(|(replication, _)| replication.steering.decided.now().is_founded())
}

fn belongs(shared: &Shared, node: NodeId) -> bool {
    parts(shared).is_ok_and(|(replication, cluster)| {
        let meta = replication.steering.decided.now();
        node == cluster.node || meta.nodes.get(&node).is_some_and(MetaNode::is_member)
    })
}

/// Stands for election at once: the leader has stopped.
async fn lead(shared: &Shared, group: u16, term: u64) -> Answer {
    let found = parts(shared).ok().and_then(|(replication, _)| replication.groups.find(group));
    let Some(group) = found else {
        return Answer::Refused("the group has not started here".to_owned());
    };
    let may = {
        let metrics = group.raft.metrics().borrow().clone();
        metrics.current_term == term && metrics.state == ServerState::Follower
    };
    if !may {
        return Answer::Refused("it is another term, or this node does not vote".to_owned());
    }
    match group.raft.trigger().elect().await {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Refused(error.to_string()),
    }
}
