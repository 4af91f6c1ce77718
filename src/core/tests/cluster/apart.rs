//! What each node changes by itself: an eventual counter, and who is present. Nodes crash and forget, links
//! lag and break, gossip takes some for dead who are not, and answers are lost.
//!
//! The law, when everything has healed: on every node the counter is the sum of the increments that were
//! answered, but for those that died with all who had heard of them; none counts twice. And on every node those
//! are present who are, over whichever node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidewire_core::cell::attendance::AttendanceLimits;
use tidewire_core::cell::eventual::EventualLimits;
use tidewire_core::cell::replicated::{Actor, LogLimits};
use tidewire_core::commons::{Commons, CommonsConfig};
use tidewire_core::shard::{Command, Event, Origin, Reply, Request, SessionId, Value};
use tidewire_protocol::ErrorCode;
use tidewire_protocol::frame::{CellKind, CounterOp, PresenceOp};
use tidewire_protocol::options::{CounterOptions, GetOptions, Numbering};

use super::chance::Chance;
use super::node::name;
use super::removing::Decision;

/// Who has counted an increment, and in which version of it.
type Place = (u64, u64, u64);

/// Messages on their way from one node to another.
type Way = VecDeque<Vec<u8>>;

/// An increment whose answer was lost.
#[derive(Debug)]
struct Unanswered {
    producer: u64,
    /// Of those that were counted.
    at: usize,
    tried: Vec<(u64, u64)>,
}

pub(crate) struct Apart {
    pub(super) chance: Chance,
    pub(super) nodes: Vec<Option<Commons>>,
    lives: Vec<u64>,
    ways: BTreeMap<(usize, usize), Way>,
    /// Increments that were counted, and whether nobody who lives knows of them.
    counted: Vec<(Place, bool)>,
    unanswered: Vec<Unanswered>,
    producers: u64,
    /// Who is present over each node.
    present: Vec<BTreeSet<u64>>,
    /// What the cluster has decided, and how much of it each node has heard.
    pub(super) decisions: Vec<Decision>,
    pub(super) heard: Vec<usize>,
    pub(crate) figures: Figures,
}

/// What has happened, for a test that nothing happened in would show nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) counted: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) unknown: u64,
    pub(crate) taken_over: u64,
    pub(crate) resent: u64,
    pub(crate) removed: u64,
    pub(crate) sealed: u64,
    pub(crate) stale_reads: u64,
}

impl Apart {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let mut apart = Self {
            chance: Chance(seed ^ 0x5eed),
            nodes: (0..nodes).map(|_| None).collect(),
            lives: vec![0; nodes],
            ways: BTreeMap::new(),
            counted: Vec::new(),
            unanswered: Vec::new(),
            producers: 0,
            present: vec![BTreeSet::new(); nodes],
            decisions: Vec::new(),
            heard: vec![0; nodes],
            figures: Figures::default(),
        };
        (0..nodes).for_each(|node| apart.start(node));
        apart
    }

    pub(crate) fn start(&mut self, at: usize) {
        if self.is_removed(at) {
            return;
        }
        self.lives[at] += 1;
        let log = LogLimits { changes_max: 8, bytes_max: 10_000 };
        let commons = CommonsConfig {
            own: Actor { node: id(at), incarnation: self.lives[at] },
            seed: self.chance.next(),
            counters: EventualLimits { log, ..EventualLimits::default() },
            presence: AttendanceLimits { log, ..AttendanceLimits::default() },
        };
        let commons = Commons::new(&commons);
        self.nodes[at] = Some(commons);
        self.hear(at, self.heard[at]);
        self.present[at].clear();
    }

    pub(crate) fn crash(&mut self, at: usize) {
        let Some(gone) = self.nodes[at].take() else { return };
        self.figures.taken_over += gone.stats().taken_over;
        self.figures.resent += gone.stats().resent;
        self.present[at].clear();
        (0..self.nodes.len()).for_each(|other| self.end_way(at, other));
        for index in 0..self.counted.len() {
            let (place, is_lost) = self.counted[index];
            let is_known = is_lost || (0..self.nodes.len()).any(|node| self.knows(node, place));
            if !is_known {
                self.counted[index].1 = true;
                self.figures.lost += 1;
            }
        }
    }

    /// Whether a node that lives knows of an increment.
    fn knows(&mut self, at: usize, place: Place) -> bool {
        let read = self.nodes[at].is_some().then(|| self.read(at, vec![place]));
        read.is_some_and(|reply| matches!(reply, Reply::Value { .. }))
    }

    fn end_way(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if self.ways.remove(&(from, to)).is_some()
                && let Some(node) = &mut self.nodes[from]
            {
                node.close(id(to));
            }
        }
    }

    /// Somebody counts, joins or leaves, and messages go on. `reaches`: whether both ways are open.
    pub(crate) fn step(&mut self, now_ms: u64, reaches: &dyn Fn(usize, usize) -> bool) {
        let at = self.chance.below(self.nodes.len() as u64) as usize;
        if self.nodes[at].is_some() {
            match self.chance.below(6) {
                0 | 1 => self.count(at, now_ms),
                2 => self.count_again(at, now_ms),
                3 => self.join_or_leave(at, now_ms),
                4 => self.gossip(at, reaches),
                _ => self.decide(at),
            }
        }
        self.exchange(now_ms, reaches);
    }

    fn ask(&mut self, at: usize, slot: u32, request: Request, now_ms: u64) -> Reply {
        let commons = self.nodes[at].as_mut().unwrap();
        let session = SessionId { dispatcher: 0, slot, generation: 1 };
        let origin = Origin { session, stream: 0, req: 1 };
        commons.handle(Command::Request(origin, request), now_ms);
        let reply = commons.seal().into_iter().find_map(|(_, event)| match event {
            Event::Reply { reply, .. } => Some(reply),
            _ => None,
        });
        reply.unwrap()
    }

    fn increment(&mut self, at: usize, options: CounterOptions, now_ms: u64) -> Reply {
        let (name, op) = (name("likes"), CounterOp::Add);
        self.ask(at, 0, Request::Counter { name, op, operand: 1, options }, now_ms)
    }

    fn count(&mut self, at: usize, now_ms: u64) {
        self.producers += 1;
        let producer = self.producers;
        let options = numbered(producer, &[]);
        let Reply::Counted { counted, as_of, .. } = self.increment(at, options, now_ms) else {
            panic!("an increment was refused")
        };
        assert!(!counted.duplicate);
        self.counted.push((as_of.unwrap(), false));
        self.figures.counted += 1;
        if self.chance.one_in(4) {
            let tried = vec![self.nodes[at].as_ref().unwrap().own().into()];
            let index = self.counted.len() - 1;
            self.unanswered.push(Unanswered { producer, at: index, tried });
        }
    }

    /// Somebody whose answer was lost asks again, perhaps elsewhere.
    fn count_again(&mut self, at: usize, now_ms: u64) {
        let Some(mut asked) = self.unanswered.pop() else { return };
        let reply = self.increment(at, numbered(asked.producer, &asked.tried), now_ms);
        let (place, is_lost) = self.counted[asked.at];
        match reply {
            Reply::Counted { counted, as_of, .. } if counted.duplicate => {
                assert_eq!(as_of, Some(place));
                self.figures.duplicates += 1;
            }
            Reply::Counted { as_of, .. } => {
                assert!(is_lost, "{place:?} counts a second time");
                self.counted.push((as_of.unwrap(), false));
                self.figures.counted += 1;
            }
            Reply::Refused(refusal) => {
                assert_eq!(refusal.code, ErrorCode::OutcomeUnknown, "{refusal}");
                self.figures.unknown += 1;
                let own = self.nodes[at].as_ref().unwrap().own().into();
                if !asked.tried.contains(&own) && asked.tried.len() < 8 {
                    asked.tried.push(own);
                }
                self.unanswered.insert(0, asked);
            }
            reply => panic!("{reply:?}"),
        }
    }

    fn join_or_leave(&mut self, at: usize, now_ms: u64) {
        let member = self.chance.below(4);
        let is_there = self.present[at].contains(&member);
        let op = if is_there { PresenceOp::Leave } else { PresenceOp::Join };
        if !self.present[at].remove(&member) {
            self.present[at].insert(member);
        }
        let (name, data) = (name("room"), bytes::Bytes::new());
        let request = Request::Presence { name, op, member: member.to_string(), data };
        let slot = u32::try_from(member).unwrap();
        assert!(matches!(self.ask(at, slot, request, now_ms), Reply::Done));
    }

    /// A node hears that another one is down, or is not. Of a cut it may be wrong.
    fn gossip(&mut self, at: usize, reaches: &dyn Fn(usize, usize) -> bool) {
        let other = self.chance.below(self.nodes.len() as u64) as usize;
        if other == at {
            return;
        }
        let (life, is_there) = (self.lives[other], self.nodes[other].is_some());
        let node = self.nodes[at].as_mut().unwrap();
        match is_there && reaches(at, other) {
            true => node.node_is_there(id(other), life),
            false => node.node_is_down(id(other), life),
        }
    }

    fn exchange(&mut self, now_ms: u64, reaches: &dyn Fn(usize, usize) -> bool) {
        for a in 0..self.nodes.len() {
            for b in 0..a {
                let has_way = self.ways.contains_key(&(a, b));
                let are_there = self.nodes[a].is_some() && self.nodes[b].is_some();
                if has_way && !(are_there && reaches(a, b)) {
                    self.end_way(a, b);
                } else if !has_way && are_there && reaches(a, b) && self.chance.one_in(3) {
                    for (from, to) in [(a, b), (b, a)] {
                        self.ways.insert((from, to), Way::new());
                        self.nodes[from].as_mut().unwrap().open(id(to));
                    }
                }
            }
        }
        let ways: Vec<(usize, usize)> = self.ways.keys().copied().collect();
        for (from, to) in ways {
            self.carry(from, to, now_ms);
        }
        for node in self.nodes.iter_mut().flatten() {
            node.handle_timeout(now_ms);
            drop(node.seal());
        }
    }

    fn carry(&mut self, from: usize, to: usize, now_ms: u64) {
        let Some(way) = self.ways.get_mut(&(from, to)) else { return };
        if way.len() < 3
            && let Some(message) = self.nodes[from].as_mut().unwrap().next(id(to), now_ms)
        {
            way.push_back(rmp_serde::to_vec_named(&message).unwrap());
        }
        for _ in 0..self.chance.below(3) {
            let Some(message) = way.pop_front() else { break };
            let message = rmp_serde::from_slice(&message).unwrap();
            let node = self.nodes[to].as_mut().unwrap();
            node.take(id(from), message, now_ms);
            drop(node.seal());
        }
    }

    /// Everybody is there and hears of everybody.
    pub(crate) fn heal(&mut self, now_ms: u64) {
        for at in 0..self.nodes.len() {
            match self.is_removed(at) {
                true => self.crash(at),
                false if self.nodes[at].is_none() => self.start(at),
                false => {}
            }
        }
        for at in self.members() {
            for other in self.members().into_iter().filter(|other| *other != at) {
                let life = self.lives[other];
                self.nodes[at].as_mut().unwrap().node_is_there(id(other), life);
            }
        }
        for turn in 0..500 {
            self.exchange(now_ms + turn * 40, &|_, _| true);
            self.members().into_iter().for_each(|at| self.hear(at, self.decisions.len()));
            self.seal();
        }
        for node in self.nodes.iter().flatten() {
            self.figures.taken_over += node.stats().taken_over;
            self.figures.resent += node.stats().resent;
        }
    }

    fn read(&mut self, at: usize, at_least: Vec<Place>) -> Reply {
        let options = GetOptions { at_least, linearizable: None };
        let get = Request::Get { kind: CellKind::Counter, name: name("likes"), key: None, options };
        self.ask(at, 0, get, 0)
    }

    pub(crate) fn check(&mut self) {
        let expected = self.counted.iter().filter(|(_, is_lost)| !is_lost).count();
        let present: BTreeSet<String> =
            self.present.iter().flatten().map(ToString::to_string).collect();
        for at in self.members() {
            let value = match self.read(at, Vec::new()) {
                Reply::Value { value: Value::Counter(value), as_of, .. } => {
                    assert!(!as_of.unwrap().is_stale, "node {at}");
                    value
                }
                Reply::Value { value: Value::Absent, .. } => 0,
                reply => panic!("{reply:?}"),
            };
            assert_eq!(value, i64::try_from(expected).unwrap(), "node {at}");
            let (kind, options) = (CellKind::Presence, GetOptions::default());
            let get = Request::Get { kind, name: name("room"), key: None, options };
            let members: BTreeSet<String> = match self.ask(at, 0, get, 0) {
                Reply::Value { value: Value::Entries(entries), .. } => {
                    entries.iter().map(|entry| entry.key.to_string()).collect()
                }
                Reply::Value { value: Value::Absent, .. } => BTreeSet::new(),
                reply => panic!("{reply:?}"),
            };
            assert_eq!(members, present, "node {at}");
            let node = self.nodes[at].as_ref().unwrap();
            let lives = node.lives();
            assert!(lives <= self.nodes.len(), "node {at}: {lives} lives were not taken over");
            assert_eq!(node.stats().removed_apart, 0, "node {at}");
        }
    }
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            counted,
            lost,
            duplicates,
            unknown,
            taken_over,
            resent,
            removed,
            sealed,
            stale_reads,
        } = other;
        self.counted += counted;
        self.lost += lost;
        self.duplicates += duplicates;
        self.unknown += unknown;
        self.taken_over += taken_over;
        self.resent += resent;
        self.removed += removed;
        self.sealed += sealed;
        self.stale_reads += stale_reads;
    }
}

fn numbered(producer: u64, tried: &[(u64, u64)]) -> CounterOptions {
    let numbering =
        Numbering { producer: Some(producer), sequence: Some(1), tried: tried.to_vec() };
    CounterOptions { numbering: Some(numbering.into()), ..CounterOptions::default() }
}

pub(super) fn id(at: usize) -> u64 {
    at as u64 + 1
}
