//! Nodes, the network between them, and what the operator does.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::*;
use super::clients::{Client, Counted};
use super::figures::{Chance, Figures};
use super::network::Message;
use crate::cell::eventual::SavedEventualCounters;
use crate::state_hash::StateHasher;

/// So few sessions that some are forgotten while they are repeated.
pub(super) fn limits() -> EventualLimits {
    EventualLimits { sessions_max: 4, session_idle_ms: 600, ..small() }
}

/// Of each node its incarnations, with their versions.
type Lives = BTreeMap<u64, Vec<(u64, u64)>>;

/// A decision of the cluster.
pub(super) enum Decision {
    /// A node never comes back.
    Remove(u64),
    /// What there is of those that were removed.
    Seal(Seal),
}

pub(super) struct Node {
    pub(super) counters: Option<EventualCounters>,
    pub(super) incarnation: u64,
    /// What is on its disk, if it has one: the state at the end of its last round, and what it knows of
    /// every node's lives.
    pub(super) disk: Option<(SavedEventualCounters, Lives)>,
    pub(super) has_disk: bool,
    /// Decisions of the cluster that it has heard of.
    pub(super) decisions: usize,
    pub(super) is_removed: bool,
}

pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) now_ms: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
    /// When it arrives, and on which connection.
    pub(super) network: BTreeMap<(u64, u64), (u64, u64, Message)>,
    pub(super) sent: u64,
    pub(super) cut_off: BTreeSet<(u64, u64)>,
    pub(super) is_healing: bool,
    /// What the cluster has decided.
    pub(super) decisions: Vec<Decision>,
    pub(super) clients: Vec<Client>,
    pub(super) sessions: u64,
    /// Every increment that was counted, and where.
    pub(super) counted: Vec<Counted>,
    pub(super) figures: Figures,
}

impl World {
    pub(super) fn new(seed: u64, nodes: u64) -> Self {
        let mut chance = Chance(seed);
        let nodes = (1..=nodes).map(|id| {
            let node = Node {
                counters: Some(EventualCounters::new(actor(id, 1), limits(), id)),
                incarnation: 1,
                disk: None,
                has_disk: chance.one_in(2),
                decisions: 0,
                is_removed: false,
            };
            (id, node)
        });
        let nodes = nodes.collect();
        Self {
            chance,
            now_ms: 1,
            nodes,
            network: BTreeMap::new(),
            sent: 0,
            cut_off: BTreeSet::new(),
            is_healing: false,
            decisions: Vec::new(),
            clients: (0..6).map(|_| Client::default()).collect(),
            sessions: 0,
            counted: Vec::new(),
            figures: Figures::default(),
        }
    }

    pub(super) fn step(&mut self) {
        self.now_ms += 10;
        for client in 0..self.clients.len() {
            self.client_acts(client);
        }
        self.requests_arrive();
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in &ids {
            self.round_ends(*id);
            if self.chance.one_in(3) {
                let peer = ids[self.chance.below(ids.len() as u64) as usize];
                self.ask(*id, peer);
            }
        }
        self.messages_arrive();
        match self.chance.below(60) {
            0 => self.crash(),
            1 | 2 => self.start_one(),
            3 => self.cut_one_off(),
            4 | 5 => self.cut_off.clear(),
            6 | 7 => self.take_over_where_possible(),
            8 if self.chance.one_in(8) => self.remove_one(),
            9 | 10 => self.seal_where_possible(),
            _ => self.hear_of_decisions(),
        }
        self.trace();
    }

    fn round_ends(&mut self, id: u64) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(counters) = &mut node.counters else { return };
        if self.chance.one_in(3) {
            return;
        }
        let version = counters.end_round();
        if node.has_disk {
            let lives = ids.iter().map(|id| (*id, counters.lives(*id)));
            node.disk = Some((counters.save(), lives.collect()));
        }
        counters.release(version);
        self.answer(id);
    }

    fn trace(&mut self) {
        let mut hasher = StateHasher::new();
        hasher.number(self.figures.trace);
        for node in self.nodes.values() {
            hasher.option(node.counters.as_ref(), |hasher, counters| counters.hash_into(hasher));
        }
        let hash = std::format!("{}", hasher.finish());
        self.figures.trace = u64::from_str_radix(&hash[..16], 16).unwrap();
    }

    /// Everything works, until nobody has anything new to tell.
    pub(super) fn heal(&mut self) {
        self.is_healing = true;
        self.cut_off.clear();
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for _ in 0..30 {
            for id in &ids {
                if self.nodes[id].counters.is_none() && !self.nodes[id].is_removed {
                    self.start(*id);
                }
                self.round_ends(*id);
            }
            self.hear_of_decisions();
            for id in &ids {
                for peer in &ids {
                    self.ask(*id, *peer);
                    self.now_ms += 80;
                    self.messages_arrive();
                    self.messages_arrive();
                }
            }
            self.take_over_where_possible();
            self.seal_where_possible();
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &EventualCounters> {
        let members = self.nodes.values().filter(|node| !node.is_removed);
        members.filter_map(|node| node.counters.as_ref())
    }
}
