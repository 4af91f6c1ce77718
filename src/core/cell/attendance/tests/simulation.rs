//! A seeded simulation: messages are lost, repeated and reordered, nodes are cut off and declared down,
//! come back, and start again without their connections.

use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::cell::replicated::LogLimits;

/// What a watcher holds of each set, and the version of it.
type Held = BTreeMap<Name, (u64, BTreeMap<String, Bytes>)>;

struct World {
    seed: u64,
    now_ms: u64,
    nodes: Vec<Attendance>,
    watchers: Vec<Held>,
    /// When it arrives, at whom, and from which life of whom.
    network: BTreeMap<(u64, u64), (usize, Actor, Delta<PresenceChange>)>,
    sent: u64,
    cut_off: BTreeSet<usize>,
    trace: Vec<StateHash>,
    downs: u64,
    refused: u64,
}

impl World {
    fn new(seed: u64, nodes: u64) -> Self {
        let nodes: Vec<_> = (1..=nodes).map(|id| Attendance::new(actor(id, 1), limits())).collect();
        Self {
            seed,
            now_ms: 0,
            watchers: nodes.iter().map(|_| Held::new()).collect(),
            nodes,
            network: BTreeMap::new(),
            sent: 0,
            cut_off: BTreeSet::new(),
            trace: Vec::new(),
            downs: 0,
            refused: 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.seed >> 33) % limit as u64) as usize
    }

    fn step(&mut self) {
        self.now_ms += 1 + self.below(3) as u64;
        let count = self.nodes.len();
        let (at, member, holder) = (self.below(count), self.below(6), self.below(4) as u64);
        let set = name(["room", "hall"][self.below(2)]);
        let member = std::format!("member.{member}");
        let data = Bytes::from(std::format!("{}", self.below(50)));
        match self.below(8) {
            0 | 1 => self.nodes[at].leave(&set, &member, (holder, 0)),
            2 => self.nodes[at].holder_ended((holder, 0)),
            _ => {
                let joined = self.nodes[at].join(&set, &member, (holder, 0), data, self.now_ms);
                joined.unwrap();
            }
        }
        match self.below(50) {
            0 => self.start_again(at),
            1 | 2 => self.cut_off_one(at),
            3..6 => self.connect(),
            _ => {}
        }
        let (from, to) = (self.below(count), self.below(count));
        self.tell(from, to, true);
        self.arrive();
        self.watch();
        self.trace.push(hash(&self.nodes[at]));
    }

    fn tell(&mut self, from: usize, to: usize, is_lossy: bool) {
        if from == to || self.cut_off.contains(&from) != self.cut_off.contains(&to) {
            return;
        }
        let sender = self.nodes[from].own();
        for delta in owed(&self.nodes[from], &self.nodes[to]) {
            for _ in 0..if is_lossy { [0, 1, 1, 1, 2][self.below(5)] } else { 1 } {
                self.sent += 1;
                let delay_ms = if is_lossy { self.below(30) as u64 } else { 0 };
                let key = (self.now_ms + delay_ms, self.sent);
                self.network.insert(key, (to, sender, delta.clone()));
            }
        }
    }

    fn arrive(&mut self) {
        while let Some(first) = self.network.first_entry() {
            if first.key().0 > self.now_ms {
                return;
            }
            let (to, sender, delta) = first.remove();
            // A connection ends with the life of the one who has opened it.
            if self.nodes.iter().any(|node| node.own() == sender) {
                let merged = self.nodes[to].merge(delta);
                self.refused += u64::from(merged == Merged::Superseded);
                assert!(!matches!(merged, Merged::OwnAhead { .. } | Merged::NoRoom), "{merged:?}");
            }
        }
    }

    fn start_again(&mut self, at: usize) {
        let Actor { node, incarnation } = self.nodes[at].own();
        self.nodes[at] = Attendance::new(actor(node, incarnation + 1), limits());
        self.watchers[at] = Held::new();
        if self.below(2) == 0 {
            self.declare_down(node, incarnation);
        }
    }

    fn declare_down(&mut self, node: u64, incarnation: u64) {
        for other in &mut self.nodes {
            other.drop_node(node, incarnation);
        }
        self.downs += 1;
    }

    /// Both sides declare each other down.
    fn cut_off_one(&mut self, at: usize) {
        if !self.cut_off.is_empty() {
            return;
        }
        self.cut_off.insert(at);
        let Actor { node, incarnation } = self.nodes[at].own();
        self.declare_down(node, incarnation);
        let others: Vec<Actor> = self.nodes.iter().map(Attendance::own).collect();
        for other in others {
            self.nodes[at].drop_node(other.node, other.incarnation);
        }
    }

    fn connect(&mut self) {
        self.cut_off.clear();
        let lives: Vec<Actor> = self.nodes.iter().map(Attendance::own).collect();
        for node in &mut self.nodes {
            for Actor { node: other, incarnation } in &lives {
                node.node_is_back(*other, *incarnation);
            }
        }
    }

    fn watch(&mut self) {
        for (node, held) in self.nodes.iter_mut().zip(&mut self.watchers) {
            for SetChanges { set, version, full, members } in node.take_changed() {
                let (held_version, held) = held.entry(set).or_default();
                assert!(version > *held_version, "versions grow");
                *held_version = version;
                if full {
                    held.clear();
                }
                for MemberChange { member, version: at, data } in members {
                    assert!(at <= version);
                    match data {
                        Some(data) => held.insert(member.as_ref().into(), data),
                        None => held.remove(member.as_ref()),
                    };
                }
            }
        }
    }

    fn heal(&mut self) {
        let lives: Vec<Actor> = self.nodes.iter().map(Attendance::own).collect();
        self.now_ms += 100;
        self.arrive();
        self.connect();
        for Actor { node, incarnation } in lives {
            self.declare_down(node, incarnation - 1);
        }
        for _ in 0..3 {
            for from in 0..self.nodes.len() {
                for to in 0..self.nodes.len() {
                    self.tell(from, to, false);
                    self.arrive();
                }
            }
        }
        self.watch();
    }

    /// Who is there by the connections themselves.
    fn expected(&self) -> BTreeMap<Name, BTreeMap<String, Bytes>> {
        let mut newest: BTreeMap<Place, (u64, u64, Bytes)> = BTreeMap::new();
        for node in &self.nodes {
            for place in node.holders.keys() {
                let entry = &node.replica().unwrap().state.entries[place];
                let own = (entry.joined_ms, node.own().node, entry.data.clone());
                let newest = newest.entry(place.clone()).or_insert_with(|| own.clone());
                if (own.0, own.1) > (newest.0, newest.1) {
                    *newest = own;
                }
            }
        }
        let mut sets: BTreeMap<Name, BTreeMap<String, Bytes>> = BTreeMap::new();
        for ((set, member), (.., data)) in newest {
            sets.entry(set).or_default().insert(member.as_ref().into(), data);
        }
        sets
    }
}

fn limits() -> AttendanceLimits {
    AttendanceLimits {
        log: LogLimits { changes_max: 5, bytes_max: 1_000 },
        ..AttendanceLimits::default()
    }
}

fn run(seed: u64, nodes: u64) -> World {
    let mut world = World::new(seed, nodes);
    (0..400).for_each(|_| world.step());
    world.heal();
    let hash = world.nodes[0].common_hash();
    let expected = world.expected();
    for (node, held) in world.nodes.iter().zip(&world.watchers) {
        assert_eq!(node.common_hash(), hash, "seed {seed}: all nodes know the same");
        let held = held.iter().map(|(set, (_, members))| (set.clone(), members.clone()));
        let held = held.filter(|(_, members)| !members.is_empty());
        assert_eq!(held.collect::<BTreeMap<_, _>>(), expected, "seed {seed}: and show it");
    }
    world
}

#[test]
fn when_all_is_well_every_watcher_sees_who_is_connected_and_nobody_else() {
    let (mut downs, mut refused) = (0, 0);
    for seed in 1..=40 {
        for nodes in [3, 5] {
            let world = run(seed, nodes);
            (downs, refused) = (downs + world.downs, refused + world.refused);
        }
    }
    assert!(downs > 500 && refused > 500, "{downs} {refused}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(7, 5).trace, run(7, 5).trace);
    assert_ne!(run(7, 5).trace, run(8, 5).trace);
}
