//! A network of nodes that gossip, in one thread, by a seed.

mod hundred;
mod small;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::settings::PACKET_BYTES_MAX;
use super::*;
use crate::cluster::NodeAddress;

/// One that can be cut: whether what the first sends reaches the second.
type Way = fn(u64, u64) -> bool;

/// The nodes, and what is under way between them.
struct Network {
    now_ms: u64,
    random: SmallRng,
    seed: u64,
    nodes: BTreeMap<u64, Gossip>,
    timeouts: BTreeMap<u64, u64>,
    wire: BTreeMap<(u64, u64), (u64, Bytes)>,
    sent: u64,
    bytes: u64,
    way: Way,
    /// In thousandths of all packets.
    lost: u32,
    doubled: u32,
    delay_ms_max: u64,
    trace: Vec<u8>,
    /// Who has been taken for what by whom, and when.
    changes: Vec<(u64, u64, u64, NodeState)>,
}

impl Network {
    fn new(seed: u64) -> Self {
        Self {
            now_ms: 1_000_000,
            random: SmallRng::seed_from_u64(seed),
            seed,
            nodes: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            wire: BTreeMap::new(),
            sent: 0,
            bytes: 0,
            way: |_, _| true,
            lost: 0,
            doubled: 0,
            delay_ms_max: 2,
            trace: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// A network of so many nodes that have just found each other through the first.
    fn of(nodes: u64, seed: u64) -> Self {
        let mut network = Self::new(seed);
        for node in 1..=nodes {
            network.start(node, 1);
        }
        // Within a round of probes everybody has met everybody.
        network.run(10_000 + nodes * 500);
        network.assert_all_alive();
        network
    }

    fn member(node: u64, incarnation: u64) -> Member {
        let address = NodeAddress::parse(&format!("10.0.0.{node}:7172")).unwrap();
        Member { node: NodeId::new(node).unwrap(), incarnation, address }
    }

    fn start(&mut self, node: u64, incarnation: u64) {
        let about = About {
            name: format!("node-{node}"),
            version: "0.1.0".to_owned(),
            client_url: Some(format!("wss://node-{node}.example:7171")),
            activity: Activity::Active,
            ..About::default()
        };
        let own = Self::member(node, incarnation);
        let seed = self.seed ^ (node << 32) ^ incarnation;
        let mut gossip = Gossip::new(own, about, seed, self.now_ms);
        if let Some(first) = self.nodes.keys().find(|one| **one != node) {
            gossip.join(self.now_ms, Self::member(*first, 0));
        }
        self.nodes.insert(node, gossip);
        self.take(node);
    }

    fn run(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        loop {
            let timeout = self.timeouts.iter().map(|(node, at_ms)| (*at_ms, *node)).min();
            let timeout_ms = timeout.map_or(u64::MAX, |(at_ms, _)| at_ms.max(self.now_ms));
            let arrival = self.wire.first_key_value().map(|(key, _)| *key);
            let arrival_ms = arrival.map_or(u64::MAX, |(at_ms, _)| at_ms);
            if timeout_ms.min(arrival_ms) > until_ms {
                break;
            }
            let node = match arrival.filter(|_| arrival_ms <= timeout_ms) {
                Some(key) => {
                    self.now_ms = arrival_ms;
                    let (node, packet) = self.wire.remove(&key).unwrap();
                    let Some(gossip) = self.nodes.get_mut(&node) else { continue };
                    gossip.handle_datagram(self.now_ms, &packet);
                    node
                }
                None => {
                    self.now_ms = timeout_ms;
                    let (_, node) = timeout.unwrap();
                    self.nodes.get_mut(&node).unwrap().handle_timeout(self.now_ms);
                    node
                }
            };
            self.take(node);
        }
        self.now_ms = until_ms;
    }

    /// Puts on the wire what a node sends.
    fn take(&mut self, from: u64) {
        let gossip = self.nodes.get_mut(&from).unwrap();
        self.timeouts.insert(from, gossip.next_timeout_ms());
        for output in gossip.take_outputs() {
            match output {
                Output::Send { to, packet } => self.send(from, to.node.get(), packet),
                Output::Changed { node, state, incarnation } => {
                    self.changes.push((self.now_ms, from, node.get(), state));
                    self.note(&[from, node.get(), state as u64, incarnation]);
                }
                Output::Said { node } => self.note(&[from, node.get()]),
                Output::Forgotten { node } => self.note(&[from, node.get(), 99]),
                Output::Renewed { incarnation } => self.note(&[from, incarnation]),
            }
        }
    }

    fn send(&mut self, from: u64, to: u64, packet: Bytes) {
        assert!(packet.len() <= PACKET_BYTES_MAX);
        self.sent += 1;
        self.bytes += packet.len() as u64;
        let mut hasher = DefaultHasher::new();
        packet.hash(&mut hasher);
        self.note(&[from, to, hasher.finish()]);
        let times = 1 + usize::from(self.random.random_range(0..1000) < self.doubled);
        for _ in 0..times {
            let is_lost = self.random.random_range(0..1000) < self.lost;
            let delay_ms = 1 + self.random.random_range(0..self.delay_ms_max);
            if !is_lost && (self.way)(from, to) {
                let key = (self.now_ms + delay_ms, self.wire.len() as u64 + (self.sent << 20));
                self.wire.insert(key, (to, packet.clone()));
            }
        }
    }

    fn note(&mut self, what: &[u64]) {
        self.trace.extend(self.now_ms.to_le_bytes());
        self.trace.extend(what.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn crash(&mut self, node: u64) {
        self.nodes.remove(&node).unwrap();
        self.timeouts.remove(&node);
    }

    fn state(&self, of: u64, seen_by: u64) -> Option<NodeState> {
        self.known(of, seen_by).map(|known| known.state)
    }

    fn known(&self, of: u64, seen_by: u64) -> Option<&Known> {
        self.nodes[&seen_by].known().find(|known| known.member.node.get() == of)
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        let nodes = self.nodes.keys();
        nodes.flat_map(|a| self.nodes.keys().filter(move |b| a != *b).map(move |b| (*a, *b)))
    }

    fn assert_all_alive(&self) {
        for (of, by) in self.pairs() {
            assert_eq!(self.state(of, by), Some(NodeState::Alive), "{of} seen by {by}");
        }
    }

    /// How often somebody who is there was taken for dead.
    fn false_deaths(&self) -> usize {
        let is_death = |(_, _, of, state): &&(u64, u64, u64, NodeState)| {
            *state == NodeState::Down && self.nodes.contains_key(of)
        };
        self.changes.iter().filter(is_death).count()
    }
}
