//! Nodes that exchange what each of them counts, and who is there over it.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

mod ending;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use std::string::ToString;

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, CounterOp, PresenceOp};
use tidewire_protocol::options::{CounterOptions, GetOptions, Numbering};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::*;
use crate::shard::{CellValue, Interest, SessionId, Value};

/// Nodes with ids from 1 on, and the time.
struct Nodes {
    nodes: Vec<Option<Commons>>,
    incarnations: Vec<u64>,
    now_ms: u64,
    removed: BTreeSet<u64>,
    seal: Option<crate::cell::eventual::Seal>,
    log: crate::cell::replicated::LogLimits,
}

impl Nodes {
    fn new(count: usize) -> Self {
        let mut nodes = Self {
            nodes: (0..count).map(|_| None).collect(),
            incarnations: alloc::vec![0; count],
            now_ms: 10_000,
            removed: BTreeSet::new(),
            seal: None,
            log: crate::cell::replicated::LogLimits::default(),
        };
        (0..count).for_each(|at| nodes.start(at));
        nodes
    }

    /// A node begins another life, without a memory.
    fn start(&mut self, at: usize) {
        self.incarnations[at] += 1;
        let own = Actor { node: at as u64 + 1, incarnation: self.incarnations[at] };
        let counters = EventualLimits { log: self.log, ..EventualLimits::default() };
        let presence = AttendanceLimits::default();
        let commons = Commons::new(&CommonsConfig { own, seed: 7, counters, presence });
        self.nodes[at] = Some(commons);
        self.decide(at);
        for other in 0..self.nodes.len() {
            self.cut(at, other);
        }
    }

    /// A node hears what is decided.
    fn decide(&mut self, at: usize) {
        let all: BTreeSet<u64> = (1..=self.nodes.len() as u64).collect();
        let own = BTreeSet::from([at as u64 + 1]);
        let decided = Decided {
            members: &(&all - &self.removed) - &own,
            removed: self.removed.clone(),
            seal: self.seal.clone(),
            collects: at == 0,
        };
        self.at(at).set_decided(decided);
    }

    /// The cluster decides to remove a node; those hear of it who are named.
    fn remove(&mut self, at: usize, heard: &[usize]) {
        self.removed.insert(at as u64 + 1);
        heard.iter().for_each(|at| self.decide(*at));
    }

    /// Decides what can be decided of removed nodes; all members hear of it.
    fn seal(&mut self) -> bool {
        let Some(seal) = self.at(0).agreed() else { return false };
        self.seal = Some(seal);
        let members = (0..self.nodes.len()).filter(|at| !self.removed.contains(&(*at as u64 + 1)));
        members.collect::<Vec<_>>().into_iter().for_each(|at| self.decide(at));
        true
    }

    fn at(&mut self, at: usize) -> &mut Commons {
        self.nodes[at].as_mut().unwrap()
    }

    fn cut(&mut self, a: usize, b: usize) {
        for (at, other) in [(a, b), (b, a)] {
            if let Some(node) = &mut self.nodes[at] {
                node.close(other as u64 + 1);
            }
        }
    }

    fn reach(&mut self, a: usize, b: usize) {
        self.at(a).open(b as u64 + 1);
        self.at(b).open(a as u64 + 1);
    }

    fn reach_all(&mut self) {
        for a in 0..self.nodes.len() {
            (0..a).for_each(|b| self.reach(a, b));
        }
    }

    /// Lets all say what they have to say, for so long.
    fn settle(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.now_ms < until_ms {
            self.now_ms += 50;
            let now_ms = self.now_ms;
            for from in 0..self.nodes.len() {
                for to in 0..self.nodes.len() {
                    let Some(node) = &mut self.nodes[from] else { continue };
                    let mut messages = Vec::new();
                    while let Some(message) = node.next(to as u64 + 1, now_ms) {
                        messages.push(message);
                    }
                    if let Some(other) = &mut self.nodes[to] {
                        for message in messages {
                            other.take(from as u64 + 1, message, now_ms);
                        }
                    }
                }
            }
            for node in self.nodes.iter_mut().flatten() {
                node.handle_timeout(now_ms);
            }
        }
    }

    fn ask(&mut self, at: usize, request: Request) -> Result<Reply, Refusal> {
        let session = SessionId { dispatcher: 0, slot: 1, generation: 1 };
        let origin = Origin { session, stream: 0, req: 9 };
        let now_ms = self.now_ms;
        self.at(at).handle(Command::Request(origin, request), now_ms);
        let told = self.at(at).seal();
        let reply = told.into_iter().find_map(|(_, event)| match event {
            Event::Reply { reply, .. } => Some(reply),
            _ => None,
        });
        match reply.unwrap() {
            Reply::Refused(refusal) => Err(refusal),
            reply => Ok(reply),
        }
    }

    fn add(&mut self, at: usize, options: CounterOptions) -> Result<Reply, Refusal> {
        let (name, op) = (name("likes"), CounterOp::Add);
        self.ask(at, Request::Counter { name, op, operand: 1, options })
    }

    fn count(&mut self, at: usize) -> (u64, u64, u64) {
        let reply = self.add(at, CounterOptions::default()).unwrap();
        let Reply::Counted { as_of, .. } = reply else { panic!("{reply:?}") };
        as_of.unwrap()
    }

    fn count_times(&mut self, at: usize, times: usize) {
        for _ in 0..times {
            self.count(at);
        }
    }

    fn read(&mut self, at: usize, at_least: Vec<(u64, u64, u64)>) -> Result<i64, Refusal> {
        let options = GetOptions { at_least, linearizable: None };
        let (kind, name) = (CellKind::Counter, name("likes"));
        match self.ask(at, Request::Get { kind, name, key: None, options })? {
            Reply::Value { value: Value::Counter(value), .. } => Ok(value),
            Reply::Value { value: Value::Absent, .. } => Ok(0),
            reply => panic!("{reply:?}"),
        }
    }

    fn values(&mut self) -> Vec<i64> {
        (0..self.nodes.len()).map(|at| self.read(at, Vec::new()).unwrap()).collect()
    }

    fn join(&mut self, at: usize, member: &str) {
        let (name, op, data) = (name("room"), PresenceOp::Join, Bytes::from_static(b"x"));
        let member = member.to_string();
        self.ask(at, Request::Presence { name, op, member, data }).unwrap();
    }

    fn present(&mut self, at: usize) -> BTreeSet<alloc::string::String> {
        let (kind, name, options) = (CellKind::Presence, name("room"), GetOptions::default());
        match self.ask(at, Request::Get { kind, name, key: None, options }).unwrap() {
            Reply::Value { value: Value::Entries(entries), .. } => {
                entries.iter().map(|entry| entry.key.to_string()).collect()
            }
            Reply::Value { value: Value::Absent, .. } => BTreeSet::new(),
            reply => panic!("{reply:?}"),
        }
    }
}

fn set(members: &[&str]) -> BTreeSet<alloc::string::String> {
    members.iter().map(ToString::to_string).collect()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn numbered(sequence: u64, tried: &[(u64, u64)]) -> CounterOptions {
    let numbering =
        Numbering { producer: Some(5), sequence: Some(sequence), tried: tried.to_vec() };
    CounterOptions { numbering: Some(numbering.into()), ..CounterOptions::default() }
}

#[test]
fn three_nodes_count_at_once_and_come_to_the_same_and_watchers_are_told() {
    let mut nodes = Nodes::new(3);
    nodes.reach_all();
    let follow = Command::Follow(1, Interest::Cell(CellKind::Counter, name("likes")));
    nodes.at(2).handle(follow, 10_000);
    for at in [0, 1, 2, 0, 1, 0] {
        nodes.count(at);
    }
    nodes.settle(500);
    assert_eq!(nodes.values(), [6, 6, 6]);
    nodes.count(0);
    nodes.settle(500);
    let told = nodes.at(2).seal();
    let last = told.iter().rev().find_map(|(to, event)| match event {
        Event::Cell { value: CellValue::Whole { value, .. }, .. } => Some((*to, value.clone())),
        _ => None,
    });
    assert_eq!(last, Some((1, Bytes::from_static(&[7]))), "{told:?}");
}

#[test]
fn who_is_cut_off_goes_on_counting_and_all_of_it_is_there_in_the_end() {
    let mut nodes = Nodes::new(3);
    nodes.reach_all();
    nodes.count(0);
    nodes.settle(500);
    nodes.cut(2, 0);
    nodes.cut(2, 1);
    nodes.count_times(2, 5);
    nodes.count_times(0, 3);
    nodes.settle(500);
    assert_eq!(nodes.values(), [4, 4, 6]);
    nodes.reach(2, 0);
    nodes.settle(500);
    assert_eq!(nodes.values(), [9, 9, 9], "the second node hears of it through the first");
}

#[test]
fn who_lags_too_far_behind_gets_everything_in_pieces() {
    let mut nodes = Nodes::new(2);
    nodes.log = crate::cell::replicated::LogLimits { changes_max: 4, bytes_max: 10_000 };
    nodes.start(0);
    nodes.count_times(0, 100);
    nodes.reach_all();
    nodes.settle(500);
    assert_eq!(nodes.values(), [100, 100]);
}

#[test]
fn a_node_that_starts_again_takes_over_what_others_have_heard_of_it() {
    let mut nodes = Nodes::new(3);
    nodes.reach_all();
    nodes.count_times(0, 4);
    nodes.settle(500);
    nodes.start(0);
    nodes.count(0);
    nodes.reach(0, 1);
    nodes.settle(1_000);
    assert_eq!(nodes.values(), [5, 5, 5]);
    assert_eq!(nodes.at(0).stats().taken_over, 0, "not everybody has said what it knows");
    nodes.reach(0, 2);
    nodes.settle(1_000);
    assert_eq!(nodes.values(), [5, 5, 5]);
    assert_eq!(nodes.at(0).stats().taken_over, 1);
    nodes.settle(500);
    for at in 0..3 {
        let actors = nodes.at(at).counters.totals(&name("likes")).count();
        assert_eq!(actors, 1, "one life of the node is left");
    }
}

#[test]
fn an_increment_that_is_tried_on_another_node_counts_once_or_its_outcome_is_unknown() {
    let mut nodes = Nodes::new(2);
    nodes.add(0, numbered(1, &[])).unwrap();
    let tried = nodes.at(0).own().into();
    let refusal = nodes.add(1, numbered(1, &[tried])).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::OutcomeUnknown);
    nodes.reach_all();
    nodes.settle(500);
    let reply = nodes.add(1, numbered(1, &[tried])).unwrap();
    let Reply::Counted { counted, as_of, .. } = reply else { panic!("{reply:?}") };
    assert!(counted.duplicate);
    assert_eq!(as_of, Some((1, 1, 1)));
    assert_eq!(nodes.values(), [1, 1]);
    let half = Numbering { producer: Some(5), ..Numbering::default() };
    let half = CounterOptions { numbering: Some(half.into()), ..CounterOptions::default() };
    assert_eq!(nodes.add(0, half).unwrap_err().code, ErrorCode::InvalidArgument);
}

#[test]
fn a_read_asks_for_what_is_known_at_least() {
    let mut nodes = Nodes::new(2);
    let seen = nodes.count(0);
    assert_eq!(nodes.read(0, alloc::vec![seen]).unwrap(), 1);
    let refusal = nodes.read(1, alloc::vec![seen]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Unavailable);
    nodes.reach_all();
    nodes.settle(500);
    assert_eq!(nodes.read(1, alloc::vec![seen]).unwrap(), 1);
}

#[test]
fn members_are_seen_on_all_nodes_and_go_with_theirs() {
    let mut nodes = Nodes::new(3);
    nodes.reach_all();
    nodes.join(0, "ann");
    nodes.join(1, "bob");
    nodes.settle(500);
    assert_eq!(nodes.present(2), set(&["ann", "bob"]));
    nodes.at(2).node_is_down(1, 1);
    assert_eq!(nodes.present(2), set(&["bob"]));
    nodes.settle(500);
    assert_eq!(nodes.present(2), set(&["bob"]), "others do not bring it back");
    nodes.at(2).node_is_there(1, 1);
    nodes.settle(500);
    assert_eq!(nodes.present(2), set(&["ann", "bob"]));
    nodes.nodes[1] = None;
    nodes.start(1);
    nodes.reach(1, 2);
    nodes.settle(500);
    assert_eq!(nodes.present(2), set(&["ann"]), "nobody is there over the new life");
}

#[test]
fn values_are_stale_while_a_node_is_not_heard_and_watchers_are_told_so() {
    let mut nodes = Nodes::new(2);
    let follow = Command::Follow(1, Interest::Cell(CellKind::Counter, name("likes")));
    nodes.at(0).handle(follow, 10_000);
    let behind = |nodes: &mut Nodes| {
        let told = nodes.at(0).seal();
        let last = told.iter().rev().find_map(|(to, event)| match event {
            Event::Behind { as_of_ms, .. } => Some((*to, as_of_ms.is_some())),
            _ => None,
        });
        (last, nodes.at(0).stats().is_stale)
    };
    nodes.reach_all();
    nodes.settle(3_000);
    assert!(!behind(&mut nodes).1);
    let as_of = nodes.at(0).as_of().unwrap();
    assert!(as_of.as_of_ms + 3_000 >= nodes.now_ms && !as_of.is_stale, "{as_of:?}");
    nodes.cut(0, 1);
    nodes.settle(STALE_AFTER_MS + 1_000);
    assert_eq!(behind(&mut nodes), (Some((1, true)), true));
    assert!(nodes.at(0).as_of().unwrap().is_stale);
    nodes.reach_all();
    nodes.settle(3_000);
    assert_eq!(behind(&mut nodes), (Some((1, false)), false));
}

#[test]
fn a_server_of_its_own_says_nothing_of_others() {
    let mut nodes = Nodes::new(1);
    nodes.count(0);
    nodes.settle(20_000);
    assert_eq!(nodes.at(0).as_of(), None);
    assert_eq!(nodes.at(0).next_timeout_ms(), None);
    assert!(!nodes.at(0).stats().is_stale);
}

#[test]
fn a_life_that_was_used_before_counts_no_more() {
    let mut nodes = Nodes::new(2);
    nodes.reach_all();
    nodes.count(0);
    nodes.settle(500);
    nodes.incarnations[0] = 0;
    nodes.start(0);
    nodes.reach(0, 1);
    nodes.settle(500);
    assert!(nodes.at(0).is_second_life());
    let refusal = nodes.add(0, CounterOptions::default()).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Internal);
}

#[test]
fn epochs_tell_nodes_and_their_lives_apart() {
    let mut nodes = Nodes::new(3);
    nodes.start(0);
    nodes.start(1);
    nodes.start(1);
    let epochs: BTreeSet<u64> = (0..3).map(|at| nodes.at(at).epoch()).collect();
    assert_eq!(epochs.len(), 3);
}
