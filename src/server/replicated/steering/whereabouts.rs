//! Who leads the groups that this node is no member of: it asks those that lead some.

use std::time::Duration;

use tidewire_core::SHARDS;

use super::group_view::Led as LedHere;
use super::messages::{Answer, Led, Request, ask};
use super::{Guidance, Replication, Shared, parts};
use crate::cluster::{Cluster, NodeId};
use crate::journal::META;

/// How often others are asked, while this node is not a member of all groups.
const LOOK: Duration = Duration::from_millis(300);
/// How long another node may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Asks until the server ends.
pub(super) async fn run(shared: &Shared) {
    let Ok((replication, cluster)) = parts(shared) else { return };
    loop {
        let wanted: Vec<u16> =
            (0..SHARDS).filter(|group| !is_inside(replication, *group)).collect();
        let led = match wanted.is_empty() {
            true => Vec::new(),
            false => ask_all(replication, cluster).await,
        };
        for group in 0..SHARDS {
            let newest = led.iter().filter(|(_, led)| led.group == group);
            let newest = newest.max_by_key(|(_, led)| led.term);
            let is_wanted = wanted.contains(&group);
            guide(replication, group, newest.filter(|_| is_wanted), is_wanted);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the engine of the group hears from its leader: it is a member, and is to be one.
fn is_inside(replication: &Replication, group: u16) -> bool {
    let meta = replication.steering.decided.now();
    let own = replication.node;
    let placed = meta.placement.groups.get(usize::from(group));
    let is_placed = placed.is_some_and(|placed| placed.copies.iter().any(|node| node.get() == own));
    let Some(group) = replication.groups.find(group) else { return false };
    let metrics = group.raft.metrics();
    let metrics = metrics.borrow();
    is_placed && metrics.membership_config.membership().get_node(&own).is_some()
}

fn guide(replication: &Replication, group: u16, newest: Option<&(NodeId, Led)>, is_wanted: bool) {
    let Some(guidance) = replication.steering.guidance_of(group) else { return };
    let own = replication.node;
    guidance.send_if_modified(|known| {
        let next = match newest {
            Some((leader, led)) => {
                let is_member = led.voters.contains(&own) || led.learners.contains(&own);
                let leader = Some(leader.get()).filter(|leader| *leader != own);
                Guidance { leader, is_outside: !is_member, ..*known }
            }
            // Nobody says anything else.
            None if is_wanted => *known,
            None => Guidance { leader: None, is_outside: false, ..*known },
        };
        std::mem::replace(known, next) != next
    });
}

/// What all members lead, this one among them.
pub(super) async fn ask_all(replication: &Replication, cluster: &Cluster) -> Vec<(NodeId, Led)> {
    let meta = replication.steering.decided.now();
    let others = meta.members().map(|(node, _)| node);
    let others = others.filter(|node| *node != cluster.node && cluster.links.is_reachable(*node));
    let asked = others.map(|node| async move {
        match ask(&cluster.links, node, &Request::Led, ANSWER).await {
            Ok(Answer::Led(led)) => led.into_iter().map(|led| (node, led)).collect(),
            // Who cannot be asked leads nothing that others hear of.
            Ok(_) | Err(_) => Vec::new(),
        }
    });
    let mut led: Vec<(NodeId, Led)> =
        futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    led.extend(own(replication).into_iter().map(|led| (cluster.node, led)));
    led
}

/// The groups that this node leads.
pub(super) fn led_here(shared: &Shared) -> Vec<Led> {
    parts(shared).map_or_else(|_none| Vec::new(), |(replication, _)| own(replication))
}

fn own(replication: &Replication) -> Vec<Led> {
    let groups = replication.groups.all().into_iter().chain(replication.groups.meta());
    let led = groups.filter_map(|group| {
        let led = LedHere::of(&group, false)?;
        // A leader that has stopped is one no more.
        let lead = replication.lead_of(group.number).map(|lead| *lead.borrow());
        if group.number != META && lead.is_none_or(|lead| !lead.is_here) {
            return None;
        }
        let ids = |nodes: &std::collections::BTreeSet<NodeId>| {
            nodes.iter().map(|node| node.get()).collect()
        };
        Some(Led {
            group: group.number,
            term: led.term,
            voters: ids(&led.voters),
            learners: ids(&led.learners),
            current: ids(&led.caught_up),
            waits: replication.steering.wait_of(group.number),
        })
    });
    led.collect()
}
