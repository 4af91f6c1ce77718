//! Nodes, the network between them, and what the operator does.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::*;
use super::clients::{Client, Counted};
use crate::cell::eventual::SavedEventualCounters;
use crate::state_hash::StateHasher;

/// SplitMix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// So few sessions that some are forgotten while they are repeated.
fn limits() -> EventualLimits {
    EventualLimits { sessions_max: 4, session_idle_ms: 600, ..small() }
}

pub(super) struct Node {
    pub(super) counters: Option<EventualCounters>,
    incarnation: u64,
    /// What is on its disk, if it has one: the state at the end of its last round, and what it knows of
    /// every node's lives.
    disk: Option<(SavedEventualCounters, BTreeMap<u64, Vec<(u64, u64)>>)>,
    has_disk: bool,
    /// Decisions of the cluster that it has heard of.
    decisions: usize,
    pub(super) is_removed: bool,
}

enum Message {
    /// How far the sender knows everybody.
    Known(Versions),
    Delta(Delta<Change>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) counted: u64,
    pub(super) duplicates: u64,
    pub(super) unknown: u64,
    /// Retries of which it was certain that the earlier attempt had not been counted.
    pub(super) decided: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) crashes: u64,
    pub(super) taken_over: u64,
    pub(super) removed: u64,
    pub(super) snapshots: u64,
    pub(super) holes: u64,
    pub(super) trace: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Self) {
        self.counted += other.counted;
        self.duplicates += other.duplicates;
        self.unknown += other.unknown;
        self.decided += other.decided;
        self.refused += other.refused;
        self.lost += other.lost;
        self.crashes += other.crashes;
        self.taken_over += other.taken_over;
        self.removed += other.removed;
        self.snapshots += other.snapshots;
        self.holes += other.holes;
    }
}

pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) now_ms: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
    /// When it arrives, and on which connection.
    network: BTreeMap<(u64, u64), (u64, u64, Message)>,
    sent: u64,
    cut_off: BTreeSet<(u64, u64)>,
    is_healing: bool,
    /// Nodes that were removed, and the last versions of their lives.
    decisions: Vec<(u64, Vec<(u64, u64)>)>,
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
            8 if self.chance.one_in(20) => self.remove_one(),
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

    /// Sends `known` to a peer, which answers with what is lacking.
    fn ask(&mut self, id: u64, peer: u64) {
        let Some(counters) = &self.nodes[&id].counters else { return };
        let known = counters.known();
        self.send(id, peer, Message::Known(known));
    }

    fn send(&mut self, from: u64, to: u64, message: Message) {
        let is_removed = self.nodes[&from].is_removed || self.nodes[&to].is_removed;
        if from == to || self.cut_off.contains(&(from, to)) || is_removed {
            return;
        }
        if !self.is_healing && self.chance.one_in(10) {
            return;
        }
        let message = if !self.is_healing && self.chance.one_in(10) {
            let (first, second) = match message {
                Message::Known(known) => (Message::Known(known.clone()), Message::Known(known)),
                Message::Delta(delta) => (Message::Delta(delta.clone()), Message::Delta(delta)),
            };
            self.put(from, to, first);
            second
        } else {
            message
        };
        self.put(from, to, message);
    }

    fn put(&mut self, from: u64, to: u64, message: Message) {
        // While it heals, messages come in order, or a snapshot in many pieces might never.
        let delay_ms = if self.is_healing { 1 } else { 1 + self.chance.below(60) };
        self.sent += 1;
        self.network.insert((self.now_ms + delay_ms, self.sent), (from, to, message));
    }

    fn messages_arrive(&mut self) {
        while let Some(first) = self.network.first_entry() {
            if first.key().0 > self.now_ms {
                return;
            }
            let (from, to, message) = first.remove();
            let Some(counters) = &mut self.nodes.get_mut(&to).unwrap().counters else { continue };
            match message {
                Message::Delta(delta) => match counters.merge(delta) {
                    Merged::Hole { .. } | Merged::PieceMissing { .. } => self.figures.holes += 1,
                    Merged::OwnAhead { .. } => panic!("an incarnation was used twice"),
                    Merged::Contradiction => panic!("an heir contradicts a seal"),
                    Merged::NoRoom => panic!("there is room"),
                    Merged::Applied { .. }
                    | Merged::Known
                    | Merged::Staged { .. }
                    | Merged::BeyondFinal { .. }
                    | Merged::Superseded => {}
                },
                Message::Known(known) => {
                    let owed = counters.changes_since(&known, 300);
                    let snapshots =
                        owed.snapshots.iter().filter_map(|actor| counters.snapshot(*actor, 400));
                    let pieces: Vec<_> = snapshots.flatten().collect();
                    self.figures.snapshots += owed.snapshots.len() as u64;
                    for delta in owed.deltas.into_iter().chain(pieces) {
                        // An actor that counts here is told no further than it was released.
                        self.send(to, from, Message::Delta(delta));
                    }
                }
            }
        }
    }

    fn crash(&mut self) {
        let id = 1 + self.chance.below(self.nodes.len() as u64);
        let lives = self.nodes.values().filter(|node| node.counters.is_some()).count();
        if lives < 2 || self.nodes[&id].counters.is_none() {
            return;
        }
        self.figures.crashes += 1;
        self.nodes.get_mut(&id).unwrap().counters = None;
        self.end_connections(id);
        self.forget_unanswered(id);
    }

    /// What is on its way over them is gone.
    fn end_connections(&mut self, id: u64) {
        self.network.retain(|_, (from, to, _)| *from != id && *to != id);
    }

    fn start_one(&mut self) {
        let down =
            self.nodes.iter().filter(|(_, node)| node.counters.is_none() && !node.is_removed);
        let down: Vec<u64> = down.map(|(id, _)| *id).collect();
        if !down.is_empty() {
            let id = down[self.chance.below(down.len() as u64) as usize];
            self.start(id);
        }
    }

    fn start(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let node = self.nodes.get_mut(&id).unwrap();
        node.incarnation += 1;
        node.decisions = 0;
        let incarnation = node.incarnation;
        let counters = match &node.disk {
            Some((saved, _)) => {
                let saved = EventualCounters::restore(saved.clone(), id).unwrap();
                let (own, version) = (saved.own(), saved.known().of(saved.own()));
                let mut counters = saved.begin(incarnation).unwrap();
                // It has kept all that it ever told in its last life: the first case of the rule. It
                // has taken over those before, or waits for it.
                if counters.earlier_lives().all(|(earlier, _)| earlier == own)
                    && counters.take_over(&[(own.incarnation, version)], now_ms).is_ok()
                {
                    self.figures.taken_over += 1;
                }
                counters
            }
            None => EventualCounters::new(actor(id, incarnation), limits(), id),
        };
        node.counters = Some(counters);
        self.nothing_is_given_up();
        self.hear_of_decisions();
    }

    /// The second case of the rule: all members are there and say how far they know the earlier lives.
    pub(super) fn take_over_where_possible(&mut self) {
        let members = || self.nodes.values().filter(|node| !node.is_removed);
        if members().any(|node| node.counters.is_none()) {
            return;
        }
        let last: BTreeMap<u64, Vec<(u64, u64)>> = self
            .nodes
            .keys()
            .map(|id| {
                let answers = members().filter_map(|node| node.counters.as_ref());
                (*id, last_versions(answers.map(|counters| counters.lives(*id))))
            })
            .collect();
        for (id, node) in self.nodes.iter_mut().filter(|(_, node)| !node.is_removed) {
            let Some(counters) = &mut node.counters else { continue };
            let has_earlier = counters.earlier_lives().count() > 0;
            if has_earlier && counters.take_over(&last[id], self.now_ms).is_ok() {
                self.figures.taken_over += 1;
            }
        }
        self.nothing_is_given_up();
    }

    /// No member that has not lost its memory knows more of an earlier life than was taken over.
    fn nothing_is_given_up(&self) {
        let members: Vec<_> = self.nodes.iter().filter(|(_, node)| !node.is_removed).collect();
        for (id, heir) in &members {
            let Some(heir) = &heir.counters else { continue };
            for (incarnation, version) in heir.lives(**id) {
                for (_, other) in &members {
                    let live = other.counters.as_ref().map(|counters| counters.lives(**id));
                    let lives = live.or(other.disk.as_ref().map(|(_, lives)| lives[id].clone()));
                    let lives = lives.unwrap_or_default().into_iter();
                    let mut life = lives.filter(|(other, _)| *other == incarnation);
                    let knows = life.next().map_or(0, |(_, version)| version);
                    let is_apart = heir.known().of(actor(**id, incarnation)) > 0;
                    assert!(is_apart || knows <= version, "{id}.{incarnation}: {knows}");
                }
            }
        }
    }

    fn cut_one_off(&mut self) {
        let id = 1 + self.chance.below(self.nodes.len() as u64);
        let is_one_way = self.chance.one_in(3);
        for peer in self.nodes.keys().copied() {
            if self.chance.0 % 3 != 0 {
                self.cut_off.insert((id, peer));
                if !is_one_way {
                    self.cut_off.insert((peer, id));
                }
            }
        }
    }

    /// The third case: a node is removed for ever, at what those know of it who are there.
    fn remove_one(&mut self) {
        let id = 1 + self.chance.below(self.nodes.len() as u64);
        let members = self.nodes.values().filter(|node| !node.is_removed).count();
        if members < 3 || self.nodes[&id].is_removed {
            return;
        }
        self.nodes.get_mut(&id).unwrap().is_removed = true;
        self.end_connections(id);
        let is_there = |node: &Node| !node.is_removed && node.counters.is_some();
        let others = self.nodes.iter().filter(|(_, node)| is_there(node));
        let others: Vec<u64> = others.map(|(id, _)| *id).collect();
        let Some((proposer, others)) = others.split_first() else { return };
        self.figures.removed += 1;
        let mut counters = self.nodes.get_mut(proposer).unwrap().counters.take().unwrap();
        for other in others {
            let other = self.nodes[other].counters.as_ref().unwrap();
            for delta in owed(other, &counters).into_iter().filter(|delta| delta.actor.node == id) {
                counters.merge(delta);
            }
        }
        self.decisions.push((id, counters.lives(id)));
        self.nodes.get_mut(proposer).unwrap().counters = Some(counters);
        self.hear_of_decisions();
    }

    fn hear_of_decisions(&mut self) {
        for node in self.nodes.values_mut().filter(|node| !node.is_removed) {
            let Some(counters) = &mut node.counters else { continue };
            let delayed = if self.is_healing { 0 } else { self.chance.below(20) as usize };
            let heard = self.decisions.len().saturating_sub(delayed).max(node.decisions);
            for (id, lives) in &self.decisions[node.decisions..heard] {
                counters.seal(*id, lives);
            }
            node.decisions = heard;
        }
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
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &EventualCounters> {
        let members = self.nodes.values().filter(|node| !node.is_removed);
        members.filter_map(|node| node.counters.as_ref())
    }
}
