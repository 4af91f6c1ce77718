//! Commands on their way into the log of the meta group.

use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use tokio::time::Instant;

use super::answering::answer;
use super::messages::{Answer, Request, ask};
use super::{Shared, SteeringError, parts};
use crate::cluster::meta::MetaCommand;
use crate::cluster::raft::EntryBody;
use crate::cluster::{Cluster, NodeId, NodeState};

/// How long an entry may take to be committed.
const COMMIT: Duration = Duration::from_secs(5);
/// How long it is tried to have something decided.
const DECIDE: Duration = Duration::from_secs(20);
/// A pause before another node is asked, or the same one again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a node that is asked may take.
const ANSWER: Duration = Duration::from_secs(6);

/// Has the cluster decide this, whichever node leads its meta group.
///
/// # Errors
/// When a rule forbids it, or nobody decides.
pub(crate) async fn decide(shared: &Shared, command: &MetaCommand) -> Result<(), SteeringError> {
    let bytes = command.encode().map_err(|error| SteeringError::Refused(error.to_string()))?;
    let request = Request::Decide(bytes.into());
    ask_leader(shared, &request, DECIDE, SteeringError::Late(DECIDE.as_secs())).await
}

/// Asks whoever leads the meta group, and looks for it if need be. What is asked for may be done twice.
///
/// # Errors
/// When it is refused; `late` if nobody has said anything in time.
pub(super) async fn ask_leader(
    shared: &Shared,
    request: &Request,
    wait: Duration,
    late: SteeringError,
) -> Result<(), SteeringError> {
    let (replication, cluster) = parts(shared)?;
    let deadline = Instant::now() + wait;
    let (mut named, mut turn) = (None, 0);
    loop {
        let group = replication.groups.meta();
        let known = group.and_then(|group| group.leader());
        let target = named.take().or(known).and_then(NodeId::new);
        let answered = match target.or_else(|| other_node(cluster, turn)) {
            None => Answer::Elsewhere(None),
            Some(node) if node == cluster.node => answer(shared, node, request.clone()).await,
            Some(node) => {
                let asked = ask(&cluster.links, node, request, ANSWER).await;
                // Who cannot be asked is asked again.
                asked.unwrap_or(Answer::Elsewhere(None))
            }
        };
        match answered {
            Answer::Done => return Ok(()),
            Answer::Refused(why) => return Err(SteeringError::Refused(why)),
            Answer::Elsewhere(leader) => named = leader,
            Answer::Late | Answer::IsFounded(_) | Answer::Led(_) | Answer::Entries(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(late);
        }
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Another node that is there; each has its turn.
fn other_node(cluster: &Cluster, turn: usize) -> Option<NodeId> {
    let nodes = cluster.roster.nodes();
    let others = nodes.iter().filter(|node| !node.is_self && node.state == NodeState::Alive);
    let others: Vec<NodeId> = others.map(|node| node.id).collect();
    others.get(turn.checked_rem(others.len())?).copied()
}

/// Another node leads the meta group, or nobody does.
pub(super) fn elsewhere(shared: &Shared) -> Answer {
    let group = parts(shared).ok().and_then(|(replication, _)| replication.groups.meta());
    Answer::Elsewhere(group.and_then(|group| group.leader()))
}

/// Decides this, if this node leads the meta group.
pub(super) async fn decide_here(shared: &Shared, command: &MetaCommand) -> Answer {
    let Ok((replication, _)) = parts(shared) else { return Answer::Elsewhere(None) };
    let Some(group) = replication.groups.meta() else { return Answer::Elsewhere(None) };
    if let Err(refusal) = replication.steering.decided.now().check_level(command) {
        return Answer::Refused(refusal.to_string());
    }
    let body = match EntryBody::of_command(command, shared.clock.now_ms()) {
        Ok(body) => body,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    let written = match tokio::time::timeout(COMMIT, group.raft.client_write(body)).await {
        Ok(Ok(written)) => written,
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
            return Answer::Elsewhere(to.leader_id);
        }
        Ok(Err(error)) => return Answer::Refused(error.to_string()),
        Err(_late) => return Answer::Late,
    };
    match replication.steering.decided.outcome(written.log_id.index) {
        Some(Ok(_outcome)) => Answer::Done,
        Some(Err(refusal)) => Answer::Refused(refusal.to_string()),
        None => Answer::Late,
    }
}
