//! As of what a group's state is read: entries that are committed when somebody asks, and who has copies.

use std::time::Duration;

use openraft::error::{CheckIsLeaderError, RaftError};
use tidewire_core::SHARDS;
use tokio::time::Instant;

use super::answering::answer;
use super::messages::{Answer, Led, Request, ask};
use super::whereabouts::ask_all;
use super::{Shared, SteeringError, parts};
use crate::cluster::NodeId;

/// How long a leader may take to hear from a majority that it still leads.
const CONFIRM: Duration = Duration::from_secs(2);
/// How long it is tried to learn of all groups: longer than an election takes.
const POINTS: Duration = Duration::from_secs(10);
/// A pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// As of what the state of a group is to be.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Entries that were committed when it was asked for: everything that was acknowledged before is in them.
    pub(crate) entries: u64,
    /// Who has a copy, in the order in which they are to be asked.
    pub(crate) nodes: Vec<NodeId>,
}

/// A point of each group that is later than everything which was acknowledged before this is called.
///
/// # Errors
/// When a group has no leader that a majority follows.
pub(crate) async fn points(shared: &Shared) -> Result<Vec<Point>, SteeringError> {
    let (replication, cluster) = parts(shared)?;
    if !replication.steering.decided.now().is_founded() {
        let what = "this node belongs to no founded cluster, so nobody knows what of its logs counts: `tidewire admin \
                    cluster init` or `join` first, or start it without [cluster]";
        return Err(SteeringError::Refused(what.to_owned()));
    }
    let deadline = Instant::now() + POINTS;
    let mut points: Vec<Option<Point>> = vec![None; usize::from(SHARDS)];
    loop {
        let led = ask_all(replication, cluster).await;
        for (group, point) in (0..SHARDS).zip(&mut points).filter(|(_, point)| point.is_none()) {
            let newest = led.iter().filter(|(_, led)| led.group == group);
            if let Some((leader, led)) = newest.max_by_key(|(_, led)| led.term) {
                let entries = entries_of(shared, *leader, group).await;
                *point =
                    entries.map(|entries| Point { entries, nodes: order(shared, *leader, led) });
            }
        }
        let missing = points.iter().position(Option::is_none);
        let Some(missing) = missing else { return Ok(points.into_iter().flatten().collect()) };
        if Instant::now() >= deadline {
            return Err(SteeringError::Refused(format!(
                "group {missing} (of shards {missing} and {}) has no leader that a majority of its nodes follows, so \
                 what was acknowledged cannot be known: `tidewire admin cluster status` shows its nodes; try it \
                 again when a majority of them runs",
                usize::from(SHARDS) + missing
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn entries_of(shared: &Shared, leader: NodeId, group: u16) -> Option<u64> {
    let (_, cluster) = parts(shared).ok()?;
    let request = Request::Entries { group };
    let answered = match leader == cluster.node {
        true => answer(shared, leader, request).await,
        false => ask(&cluster.links, leader, &request, 2 * CONFIRM).await.ok()?,
    };
    match answered {
        Answer::Entries(entries) => Some(entries),
        Answer::Done
        | Answer::IsFounded(_)
        | Answer::Led(_)
        | Answer::Elsewhere(_)
        | Answer::Late
        | Answer::Refused(_) => None,
    }
}

/// Who is asked for a copy: this node, then those that follow and have all, then the leader, which takes no commands while
/// it makes one, then others.
fn order(shared: &Shared, leader: NodeId, led: &Led) -> Vec<NodeId> {
    let Ok((_, cluster)) = parts(shared) else { return Vec::new() };
    let rank = |node: &NodeId| match node.get() {
        own if own == cluster.node.get() => 0,
        _ if *node == leader => 2,
        other if led.current.contains(&other) => 1,
        _ => 3,
    };
    let mut nodes: Vec<NodeId> = led.voters.iter().filter_map(|node| NodeId::new(*node)).collect();
    nodes.retain(|node| *node == cluster.node || cluster.links.is_reachable(*node));
    nodes.sort_by_key(rank);
    nodes
}

/// Entries of a group that are committed now, if this node leads it and a majority says so.
pub(super) async fn entries(shared: &Shared, group: u16) -> Answer {
    let found = parts(shared).ok().and_then(|(replication, _)| replication.groups.find(group));
    let Some(group) = found else { return Answer::Elsewhere(None) };
    match tokio::time::timeout(CONFIRM, group.raft.get_read_log_id()).await {
        Ok(Ok((last, _))) => Answer::Entries(last.map_or(0, |last| last.index + 1)),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => {
            Answer::Elsewhere(to.leader_id)
        }
        Ok(Err(_)) | Err(_) => Answer::Late,
    }
}
