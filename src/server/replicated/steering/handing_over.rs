//! A group is handed over to another node.
//!
//! openraft 0.9 has no such thing. The leader takes nothing on any more and lets what is under way be
//! committed; then nobody hears from it, and as soon as the voters may vote again it asks the other node to
//! stand for election, before anybody does so by itself. Requests wait for the new leader meanwhile.

use std::time::Duration;

use super::group_view::Led;
use super::messages::{Answer, Request, ask};
use super::{Shared, parts};
use crate::cluster::NodeId;
use crate::cluster::raft::{Group, VOTERS_LEASE_MS};
use crate::journal::META;

/// How long what is under way may take.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// Beyond the time in which voters vote for nobody else.
const LEASE: Duration = Duration::from_millis(VOTERS_LEASE_MS + 30);
/// How long the other node may take to be asked, and to be elected.
const ELECTION: Duration = Duration::from_secs(3);

/// Lets another node lead a group that this one leads in this term.
///
/// # Errors
/// Why it does not. Some node leads the group again in any case, if a majority of it is there.
pub(super) async fn hand_over(
    shared: &Shared,
    group: &Group,
    term: u64,
    to: NodeId,
) -> Result<(), String> {
    let (replication, cluster) = parts(shared).map_err(|error| error.to_string())?;
    if group.number == META {
        group.silence(true);
    } else {
        let guidance = replication.steering.guidance_of(group.number);
        let leads = replication.lead_of(group.number);
        let (Some(guidance), Some(leads)) = (guidance, leads) else { return Ok(()) };
        guidance.send_modify(|guidance| guidance.resigns = Some(term));
        let mut leads = leads.subscribe();
        let stopped = leads.wait_for(|lead| !lead.is_here || lead.term != term);
        let has_stopped = tokio::time::timeout(UNDER_WAY, stopped).await.is_ok();
        if !has_stopped {
            guidance.send_modify(|guidance| guidance.resigns = None);
            return Err("what is under way is not committed".to_owned());
        }
    }
    // Nobody may vote before.
    tokio::time::sleep(LEASE).await;
    let request = Request::Lead { group: group.number, term };
    let asked = ask(&cluster.links, to, &request, ELECTION).await;
    let mut metrics = group.raft.metrics();
    let elected = metrics.wait_for(|metrics| metrics.current_term > term);
    let has_elected = tokio::time::timeout(ELECTION, elected).await.is_ok();
    if group.number == META {
        group.silence(false);
    }
    match (asked, has_elected) {
        (_, true) => Ok(()),
        (Ok(Answer::Refused(why)), false) => Err(why),
        (Err(error), false) => Err(error.to_string()),
        (Ok(_), false) => Err("nobody was elected".to_owned()),
    }
}

/// Hands over all groups that this node leads, at once, before it stops. What cannot be handed over is led by
/// somebody else a little later.
pub(crate) async fn resign(shared: &Shared) {
    let Ok((replication, cluster)) = parts(shared) else { return };
    let groups = replication.groups.all().into_iter().chain(replication.groups.meta());
    let heirs = groups.filter_map(|group| {
        let led = Led::of(&group, false)?;
        let may_lead = |node: &&NodeId| {
            **node != cluster.node
                && led.caught_up.contains(node)
                && cluster.links.is_reachable(**node)
        };
        let heirs: Vec<NodeId> = led.voters.iter().filter(may_lead).copied().collect();
        // Not one of them gets all.
        let turn = usize::from(group.number).checked_rem(heirs.len())?;
        heirs.get(turn).map(|heir| (group, led.term, *heir))
    });
    let handed_over = heirs.map(|(group, term, heir)| async move {
        if let Err(failure) = hand_over(shared, &group, term, heir).await {
            tracing::warn!(group = group.number, failure, "a group is not handed over");
        }
    });
    drop(futures_util::future::join_all(handed_over).await);
}
