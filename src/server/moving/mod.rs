//! Connections that are asked to go to other nodes: all of them when the node is drained, and some when it
//! has many more than the others.
//!
//! Once a second it is looked at what the nodes have (`cluster::balance` decides), and each core asks its part.
//! A connection is asked, never ended: who knows no other node stays and is served. Whoever has come, or was
//! asked, less than `cluster.move_rest_ms` ago is left alone.

mod asking;

pub(super) use asking::{Candidates, Errand, Wanted};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewire_protocol::options::NODES_MAX;
use tokio::sync::mpsc;

use super::Shared;
use super::connections::Ask;
use crate::cluster::balance::{Balance, Other, Rules};
use crate::cluster::meta::MemberState;
use crate::cluster::{Cluster, NodeId};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long the cores may take to say what they have.
const COUNT: Duration = Duration::from_secs(5);

/// Why connections are asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The node is drained.
    Drained,
    /// It has many more of them than the others.
    Overfull,
}

/// Connections that were asked to go, by reason.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    drained: AtomicU64,
    overfull: AtomicU64,
}

impl Moves {
    fn of(&self, reason: Reason) -> &AtomicU64 {
        match reason {
            Reason::Drained => &self.drained,
            Reason::Overfull => &self.overfull,
        }
    }

    fn count(&self, reason: Reason) {
        self.of(reason).fetch_add(1, Ordering::Relaxed);
    }

    /// With their names in metrics.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 2] {
        [("drained", Reason::Drained), ("overfull", Reason::Overfull)]
            .map(|(name, reason)| (name, self.of(reason).load(Ordering::Relaxed)))
    }
}

/// Looks until the server ends; not at all without a cluster.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(cluster) = &shared.cluster else { return };
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut mover = Mover { shared: &shared, balance: Balance::default(), drained_at_ms: None };
    loop {
        looks.tick().await;
        mover.turn(cluster).await;
    }
}

struct Mover<'a> {
    shared: &'a Shared,
    balance: Balance,
    /// Since when the node is drained, as far as it knows.
    drained_at_ms: Option<u64>,
}

impl Mover<'_> {
    async fn turn(&mut self, cluster: &Cluster) {
        let is_drained = is_drained(self.shared, cluster);
        cluster.set_drained(is_drained);
        if self.shared.draining.load(Ordering::Relaxed) {
            // Everybody was told.
            return;
        }
        let (seats, others) = others(cluster);
        if !is_drained {
            self.drained_at_ms = None;
            return self.serve(&seats, &others).await;
        }
        let now_ms = self.shared.clock.now_ms();
        let since_ms = *self.drained_at_ms.get_or_insert(now_ms);
        let wanted = Wanted::All { here_before_ms: since_ms };
        let candidates = self.count(wanted).await;
        let left = candidates.iter().map(|of| of.there).sum();
        let to = self.balance.drained(rules(self.shared), left, &others);
        self.ask(Reason::Drained, wanted, &candidates, to, (&seats, &others));
    }

    /// The node serves clients, and may have too many of them.
    async fn serve(&mut self, seats: &BTreeMap<NodeId, Option<String>>, others: &[Other]) {
        let rules = rules(self.shared);
        // Nobody can be sent where clients are not told how to get to.
        let known = |other: &&Other| seats.get(&other.node).is_some_and(Option::is_some);
        let others: Vec<Other> = others.iter().filter(known).copied().collect();
        let own = self.shared.figures.connections();
        let candidates = match self.balance.is_due(rules, own, &others) {
            true => self.count(Wanted::WhoMoves).await,
            false => Vec::new(),
        };
        let going: u64 = candidates.iter().map(|of| of.going).sum();
        let to = self.balance.serving(rules, own.saturating_sub(going), &others);
        self.ask(Reason::Overfull, Wanted::WhoMoves, &candidates, to, (seats, &others));
    }

    /// What each core has of those who may be asked.
    async fn count(&self, wanted: Wanted) -> Vec<Candidates> {
        let cores = self.shared.dispatchers.len();
        let (sender, mut receiver) = mpsc::channel(cores);
        // Fails only when the cores have stopped.
        drop(self.shared.asks.send(Ask::Count(wanted, sender)));
        let mut all = Vec::new();
        let counted = async {
            while let Some(of) = receiver.recv().await {
                all.push(of);
            }
        };
        // Who does not answer is asked again in a second.
        drop(tokio::time::timeout(COUNT, counted).await);
        all
    }

    fn ask(
        &self,
        reason: Reason,
        wanted: Wanted,
        candidates: &[Candidates],
        mut to: Vec<NodeId>,
        (seats, others): (&BTreeMap<NodeId, Option<String>>, &[Other]),
    ) {
        let by_level = self.balance.by_level(others);
        let urls = urls(seats, &by_level);
        let there: Vec<u64> = candidates.iter().map(|of| of.there).collect();
        let mut nodes = BTreeMap::new();
        for (of, part) in candidates.iter().zip(parts(&there, to.len())) {
            let mine = to.split_off(to.len().saturating_sub(part));
            let places = mine.iter().filter_map(|node| urls.get(node).cloned());
            nodes.insert(of.core, places.collect());
        }
        if there.iter().any(|there| *there > 0) {
            let errand = Errand { reason, wanted, nodes };
            drop(self.shared.asks.send(Ask::Move(Arc::new(errand))));
        }
    }
}

/// How many of so many connections each core asks: as large a part as it has of those who may be asked.
fn parts(there: &[u64], count: usize) -> Vec<usize> {
    let mut of_all: u64 = there.iter().sum();
    let mut left = count as u64;
    let part = |there: &u64| {
        let part = (there * left).div_ceil(of_all.max(1)).min(*there).min(left);
        (of_all, left) = (of_all - there, left - part);
        usize::try_from(part).unwrap_or(usize::MAX)
    };
    there.iter().map(part).collect()
}

fn rules(shared: &Shared) -> Rules {
    let config = &shared.config.cluster;
    Rules {
        percent: config.balance_percent.into(),
        least: config.balance_connections_min,
        per_turn: config.moves_per_second,
    }
}

/// Whether an operator wants the node to be without clients.
fn is_drained(shared: &Shared, cluster: &Cluster) -> bool {
    let Some(replication) = &shared.replication else { return false };
    let meta = replication.steering.decided.now();
    let state = meta.nodes.get(&cluster.node).map(|node| node.state);
    state == Some(MemberState::Draining)
}

/// Other nodes that serve clients: where clients reach them, and what they have.
fn others(cluster: &Cluster) -> (BTreeMap<NodeId, Option<String>>, Vec<Other>) {
    let nodes = cluster.roster.nodes();
    let serving = nodes.iter().filter(|node| !node.is_self && node.is_reachable && node.serves());
    serving
        .map(|node| {
            let other = Other { node: node.id, connections: node.load.connections };
            ((node.id, node.client_url.clone()), other)
        })
        .unzip()
}

/// For each node, the URLs that somebody is told who is to go there: its own, and behind it those of the
/// others, for when it is not reached.
fn urls(
    seats: &BTreeMap<NodeId, Option<String>>,
    by_level: &[NodeId],
) -> BTreeMap<NodeId, Arc<[String]>> {
    let url = |node: &NodeId| seats.get(node).cloned().flatten();
    let list = |first: &NodeId| {
        let behind = by_level.iter().filter(|node| *node != first);
        std::iter::once(first).chain(behind).filter_map(url).take(NODES_MAX).collect()
    };
    by_level.iter().map(|first| (*first, list(first))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_asks_its_part_and_all_together_as_many_as_there_are_to_be() {
        assert_eq!(parts(&[10, 10, 10], 6), [2, 2, 2]);
        assert_eq!(parts(&[10, 0, 30], 8), [2, 0, 6]);
        assert_eq!(parts(&[1, 1, 1], 2).iter().sum::<usize>(), 2);
        assert_eq!(parts(&[2, 0, 3], 100), [2, 0, 3], "not more than there are");
        assert_eq!(parts(&[0, 0], 5), [0, 0]);
        assert!(parts(&[], 5).is_empty());
    }

    #[test]
    fn who_is_sent_to_a_node_is_told_of_the_others_too() {
        let id = |id| NodeId::new(id).unwrap();
        let seats = [(1, Some("ws://1")), (2, None), (3, Some("ws://3"))];
        let seats = seats.map(|(node, url)| (id(node), url.map(str::to_owned))).into();
        let urls = urls(&seats, &[id(3), id(2), id(1)]);
        let told = |node| urls[&id(node)].to_vec();
        assert_eq!(told(1), ["ws://1", "ws://3"]);
        assert_eq!(told(2), ["ws://3", "ws://1"]);
        assert_eq!(told(3), ["ws://3", "ws://1"]);
    }
}
