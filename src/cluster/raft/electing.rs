//! This node stands for election in the groups that nobody leads.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::group::{Group, GroupTable};
use super::network::Network;
use super::standing::Last;
use super::types::NodeId;

/// How long the others may take to say whether they would vote.
const ANSWER: Duration = Duration::from_millis(400);
/// How long its own vote may take to be on its disk.
const VOTED: Duration = Duration::from_secs(5);
/// Groups that are due within so long are looked at together.
const TOGETHER_MS: u64 = 10;
/// How often it is looked at least.
const PAUSE_MS_MAX: u64 = 500;

/// Stands in each group whenever it is due, until the server ends.
pub(crate) async fn elect(groups: GroupTable, network: Network) {
    let mut changes = groups.changes();
    loop {
        let mut pause_ms = PAUSE_MS_MAX;
        for group in groups.all_with_meta() {
            let due_in_ms = group.standing().due_ms().saturating_sub(group.now_ms());
            if due_in_ms > 0 {
                pause_ms = pause_ms.min(due_in_ms);
            } else if let Some(voters) = stands(&group) {
                drop(tokio::spawn(stand(group, voters, network.clone())));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause_ms.max(TOGETHER_MS))) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The voters of a group, in each of its configurations, if the others are to be asked now.
fn stands(group: &Group) -> Option<Vec<BTreeSet<NodeId>>> {
    let voters = {
        let metrics = group.raft.server_metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_joint_config().clone()
    };
    let stays = group.stays();
    let (now_ms, chance) = (group.now_ms(), rand::random());
    let mut standing = group.standing();
    let votes = voters.iter().any(|voters| voters.contains(&group.node));
    if !votes || stays {
        standing.rest(now_ms);
        return None;
    }
    let is_alone = voters.iter().all(|voters| voters.len() == 1);
    standing.ask(is_alone, now_ms, chance).then_some(voters)
}

/// Asks the others whether they would vote for this node, and stands if a majority would.
async fn stand(group: Group, voters: Vec<BTreeSet<NodeId>>, network: Network) {
    let last = last_of(&group);
    let others: BTreeSet<NodeId> = voters.iter().flatten().copied().collect();
    let others = others.into_iter().filter(|node| *node != group.node);
    let mut answers: FuturesUnordered<_> = others
        .map(|node| {
            let network = network.clone();
            async move {
                let asked = network.would_vote(node, group.number, group.node, last);
                (node, tokio::time::timeout(ANSWER, asked).await == Ok(true))
            }
        })
        .collect();
    let mut willing = BTreeSet::from([group.node]);
    while !is_majority(&willing, &voters)
        && let Some((node, would)) = answers.next().await
    {
        willing.extend(would.then_some(node));
    }
    if is_majority(&willing, &voters) && group.standing().asks() {
        tracing::debug!(group = group.number, "this node stands for election");
        let mut metrics = group.raft.server_metrics();
        let term = metrics.borrow().vote.leader_id.term;
        drop(group.raft.trigger().elect().await);
        // A slow disk holds up the vote for itself.
        let voted = metrics.wait_for(|metrics| metrics.vote.leader_id.term > term);
        drop(tokio::time::timeout(VOTED, voted).await);
        let elected = metrics.wait_for(|metrics| metrics.current_leader.is_some());
        drop(tokio::time::timeout(ANSWER, elected).await);
    }
    group.standing().asked(group.now_ms(), rand::random());
}

fn is_majority(willing: &BTreeSet<NodeId>, voters: &[BTreeSet<NodeId>]) -> bool {
    voters.iter().all(|voters| willing.intersection(voters).count() * 2 > voters.len())
}

/// The last entry of the group's log here.
pub(super) fn last_of(group: &Group) -> Last {
    let last = group.raft.data_metrics().borrow().last_log;
    last.map(|id| (id.leader_id.term, id.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_voters_change_both_sets_have_to_agree() {
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        let voters = [set(&[1, 2, 3]), set(&[1, 4, 5])];
        assert!(!is_majority(&set(&[1, 2]), &voters));
        assert!(is_majority(&set(&[1, 2, 4]), &voters));
        assert!(!is_majority(&set(&[1, 2, 3, 6]), &voters));
        assert!(is_majority(&set(&[1]), &[set(&[1])]));
    }
}
