//! The roster: what is known of all nodes, to be read by anybody at any time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::watch;

use super::gossip::{About, Activity, Gossip, Known, NODES_MAX, NodeLoad, NodeState};
use super::links::Links;
use super::{NodeAddress, NodeId};

/// A node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NodeInfo {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    /// Where the other nodes reach it.
    #[serde(serialize_with = "shown")]
    pub(crate) address: NodeAddress,
    /// Where clients reach it, if it tells.
    pub(crate) client_url: Option<String>,
    pub(crate) incarnation: u64,
    pub(crate) state: NodeState,
    pub(crate) since_ms: u64,
    /// What it is about to do; nothing before it has said so.
    pub(crate) activity: Option<Activity>,
    pub(crate) version: String,
    pub(crate) feature_level: u32,
    pub(crate) load: NodeLoad,
    /// While there is a link.
    pub(crate) round_trip_us: Option<u64>,
    /// Whether it was heard of late.
    pub(crate) is_reachable: bool,
    pub(crate) is_self: bool,
}

impl NodeInfo {
    /// Whether it is there for clients.
    pub(crate) fn serves(&self) -> bool {
        let is_there = match self.state {
            NodeState::Alive | NodeState::Suspect => true,
            NodeState::Down | NodeState::Left => false,
        };
        is_there && self.activity == Some(Activity::Active)
    }
}

/// All nodes, by their ids.
#[derive(Clone)]
pub(crate) struct Roster {
    nodes: Arc<ArcSwap<Vec<NodeInfo>>>,
    changes: watch::Sender<u64>,
}

impl Roster {
    pub(super) fn new(own: NodeInfo) -> Self {
        let nodes = Arc::new(ArcSwap::from_pointee(vec![own]));
        Self { nodes, changes: watch::Sender::new(0) }
    }

    /// The nodes as they are now.
    pub(crate) fn nodes(&self) -> Arc<Vec<NodeInfo>> {
        self.nodes.load_full()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<NodeInfo> {
        self.nodes.load().iter().find(|node| node.id == id).cloned()
    }

    /// Where clients of this node go when it is gone: other nodes that serve clients, at most so many.
    /// The first one is each time the one behind this node, so that a full list differs by node.
    pub(crate) fn client_urls(&self, at_most: usize) -> Vec<String> {
        urls_beside_own(&self.nodes.load(), at_most)
    }

    /// Counts the changes; each wakes who waits for one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts the nodes in, as gossip and links see them. Round trips alone wake nobody.
    pub(super) fn put(&self, gossip: &Gossip, links: &Links, own_since_ms: u64) {
        let mut nodes: Vec<NodeInfo> = gossip
            .known()
            .take(NODES_MAX - 1)
            .map(|known| other(known, gossip.said_by(known).unwrap_or_default(), links))
            .collect();
        nodes.push(own(gossip, own_since_ms));
        nodes.sort_by_key(|node| node.id);
        let before = self.nodes.swap(Arc::new(nodes));
        let has_changed = before.iter().map(essence).ne(self.nodes.load().iter().map(essence));
        if has_changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

fn other(known: &Known, about: About, links: &Links) -> NodeInfo {
    let Known { member, state, since_ms } = known;
    let round_trip = links.round_trip(member.node);
    let is_unsaid = about == About::default();
    NodeInfo {
        id: member.node,
        name: about.name,
        address: member.address.clone(),
        client_url: about.client_url,
        incarnation: member.incarnation,
        state: *state,
        since_ms: *since_ms,
        activity: (!is_unsaid).then_some(about.activity),
        version: about.version,
        feature_level: about.feature_level,
        load: about.load,
        round_trip_us: round_trip.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        is_reachable: links.is_reachable(member.node),
        is_self: false,
    }
}

/// This node, as it sees itself.
pub(super) fn own(gossip: &Gossip, since_ms: u64) -> NodeInfo {
    let (member, about) = (gossip.own().clone(), gossip.about().clone());
    let has_left = about.activity == Activity::Leaving;
    NodeInfo {
        id: member.node,
        name: about.name,
        address: member.address,
        client_url: about.client_url,
        incarnation: member.incarnation,
        state: if has_left { NodeState::Left } else { NodeState::Alive },
        since_ms,
        activity: Some(about.activity),
        version: about.version,
        feature_level: about.feature_level,
        load: about.load,
        round_trip_us: None,
        is_reachable: true,
        is_self: true,
    }
}

fn urls_beside_own(nodes: &[NodeInfo], at_most: usize) -> Vec<String> {
    let own = nodes.iter().position(|node| node.is_self).unwrap_or(0);
    let behind = nodes.iter().cycle().skip(own + 1).take(nodes.len().saturating_sub(1));
    behind
        .filter(|node| node.serves())
        .filter_map(|node| node.client_url.clone())
        .take(at_most)
        .collect()
}

/// What others wait for: all but how long packets take.
fn essence(node: &NodeInfo) -> NodeInfo {
    NodeInfo { round_trip_us: None, ..node.clone() }
}

fn shown<S: serde::Serializer>(address: &NodeAddress, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, state: NodeState, activity: Activity) -> NodeInfo {
        NodeInfo {
            id: NodeId::new(id).unwrap(),
            name: String::new(),
            address: NodeAddress::parse("a:1").unwrap(),
            client_url: Some(format!("ws://{id}")),
            incarnation: 1,
            state,
            since_ms: 0,
            activity: Some(activity),
            version: String::new(),
            feature_level: 1,
            load: NodeLoad::default(),
            round_trip_us: None,
            is_reachable: true,
            is_self: id == 3,
        }
    }

    #[test]
    fn clients_are_told_of_nodes_that_serve_them_beginning_behind_the_own_one() {
        let nodes = [
            node(1, NodeState::Alive, Activity::Active),
            node(2, NodeState::Down, Activity::Active),
            node(3, NodeState::Alive, Activity::Active),
            node(4, NodeState::Alive, Activity::Draining),
            node(5, NodeState::Suspect, Activity::Active),
            NodeInfo { client_url: None, ..node(6, NodeState::Alive, Activity::Active) },
        ];
        assert_eq!(urls_beside_own(&nodes, 16), ["ws://5", "ws://1"]);
        assert_eq!(urls_beside_own(&nodes, 1), ["ws://5"]);
        assert_eq!(urls_beside_own(&nodes[2..3], 16), [""; 0]);
    }
}
