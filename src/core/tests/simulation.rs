//! A seeded simulation of shards, dispatchers and thousands of clients in one thread.
//!
//! Events travel from shards to dispatchers with random delays (in order, as over a queue),
//! clients read when chance lets them, lag behind, vanish and come back to where they were. The
//! law: every acknowledged record reaches every subscriber once and in order, or an explicit gap
//! says that it does not. The same seed gives the same run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect is to fail"
)]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::SHARDS;
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, Lane, SessionOptions, Sink};
use tidewire_core::shard::{
    Command, Event, Round, SessionId, Shard, ShardConfig, ShardLimits, ShardSnapshot, ShardStats,
};
use tidewire_core::state_hash::StateHash;
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, Start, split_first};
use tidewire_protocol::options::{PublishOptions, SubscribeOptions};
use tidewire_protocol::record::{BodyBuilder, Records};
use tidewire_protocol::{ClientFrame, Name, Pattern, ServerFrame};

const DISPATCHERS: u8 = 3;
const TOPICS: usize = 12;
const EPOCH: u64 = 77;

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough to schedule a simulation.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A client with one subscription on one topic.
struct Client {
    topic: usize,
    session: Option<SessionId>,
    dispatcher: usize,
    /// Next offset it must see; `None` before its first SUBSCRIBED.
    next: Option<u64>,
    seen: u64,
    missed: u64,
    credit: bool,
}

#[derive(Default)]
struct Received(Vec<Bytes>);

impl Sink for Received {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        let mut rest = Bytes::copy_from_slice(frames);
        while !rest.is_empty() {
            self.0.push(split_first(&mut rest).unwrap());
        }
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        self.0.push(Bytes::from([head, shared].concat()));
    }

    fn finish(&mut self, _sub: u32) {}
}

/// A shard, and from some time on what goes into it.
struct Recorded {
    shard: Shard,
    start: Option<(Vec<u8>, StateHash)>,
    inputs: Vec<Input>,
}

#[derive(Clone)]
enum Input {
    Command(Command, u64),
    Timeout(u64),
    Seal,
}

impl Recorded {
    fn new(shard: Shard) -> Self {
        Self { shard, start: None, inputs: Vec::new() }
    }

    fn record(&mut self) {
        let snapshot = self.shard.snapshot().expect("no round is open");
        let stored = rmp_serde::to_vec_named(&snapshot).unwrap();
        self.start = Some((stored, self.shard.state_hash()));
    }

    fn note(&mut self, input: &Input) {
        if self.start.is_some() {
            self.inputs.push(input.clone());
        }
    }

    fn handle(&mut self, command: Command, now_ms: u64) {
        self.note(&Input::Command(command.clone(), now_ms));
        self.shard.handle(command, now_ms);
    }

    fn handle_timeout(&mut self, now_ms: u64) {
        self.note(&Input::Timeout(now_ms));
        self.shard.handle_timeout(now_ms);
    }

    fn seal(&mut self) -> Option<Round> {
        self.note(&Input::Seal);
        self.shard.seal()
    }

    fn stats(&self) -> ShardStats {
        self.shard.stats()
    }

    /// Does again what was recorded, from the stored snapshot alone.
    fn replay(&self) -> StateHash {
        let (stored, hash) = self.start.as_ref().unwrap();
        let snapshot: ShardSnapshot = rmp_serde::from_slice(stored).unwrap();
        let mut shard = Shard::restore(snapshot).unwrap();
        assert_eq!(shard.state_hash(), *hash, "restored");
        for input in self.inputs.clone() {
            match input {
                Input::Command(command, now_ms) => shard.handle(command, now_ms),
                Input::Timeout(now_ms) => shard.handle_timeout(now_ms),
                Input::Seal => drop(shard.seal()),
            }
        }
        shard.state_hash()
    }
}

struct World {
    chance: Chance,
    now_ms: u64,
    shards: Vec<Recorded>,
    dispatchers: Vec<Dispatcher>,
    /// Events under way, per (shard, dispatcher).
    wires: HashMap<(usize, u8), VecDeque<Event>>,
    publisher: SessionId,
    published: u64,
    /// Payloads of acknowledged records, by topic, in order of their offsets.
    acknowledged: Vec<Vec<Vec<u8>>>,
    asked: HashMap<u64, (usize, Vec<Vec<u8>>)>,
    clients: Vec<Client>,
}

fn topic(index: usize) -> Name {
    Name::parse(&format!("sim.topic.{index}")).unwrap()
}

impl World {
    fn new(seed: u64, clients: usize) -> Self {
        let policy = Policy { retention_records: 40, ..Policy::default() };
        let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
        let shards = (0..SHARDS)
            .map(|shard| {
                Recorded::new(Shard::new(ShardConfig {
                    shard,
                    epoch: EPOCH,
                    seed,
                    policies: Arc::clone(&policies),
                    limits: ShardLimits { batch_bytes_max: 2000, ..ShardLimits::default() },
                }))
            })
            .collect();
        let mut dispatchers: Vec<Dispatcher> =
            (0..DISPATCHERS).map(|id| Dispatcher::new(id, seed, FanoutLimits::default())).collect();
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        let publisher = dispatchers[0].open(options, 1);
        let mut chance = Chance(seed);
        let clients = (0..clients)
            .map(|_| Client {
                topic: chance.below(TOPICS),
                session: None,
                dispatcher: chance.below(DISPATCHERS.into()),
                next: None,
                seen: 0,
                missed: 0,
                credit: chance.one_in(3),
            })
            .collect();
        Self {
            chance,
            now_ms: 1,
            shards,
            dispatchers,
            wires: HashMap::new(),
            publisher,
            published: 0,
            acknowledged: vec![Vec::new(); TOPICS],
            asked: HashMap::new(),
            clients,
        }
    }

    fn request(&mut self, session: SessionId, frame: ClientFrame) {
        let hash = |_: &Name, _: &str| VoterId([0; 16]);
        let dispatcher = &mut self.dispatchers[usize::from(session.dispatcher)];
        if let Some((shard, command)) = dispatcher.request(session, 0, Ok(frame), &hash) {
            self.shards[usize::from(shard)].handle(command, self.now_ms);
        }
    }

    fn publish(&mut self) {
        let index = self.chance.below(TOPICS);
        let mut body = BodyBuilder::new();
        let payloads: Vec<Vec<u8>> = (0..=self.chance.below(5))
            .map(|_| {
                self.published += 1;
                format!("record {}", self.published).into_bytes()
            })
            .collect();
        for payload in &payloads {
            body.push(None, &[], Some(payload));
        }
        let req = self.published;
        self.asked.insert(req, (index, payloads));
        let (topic, ack, options) = (topic(index), AckLevel::Memory, PublishOptions::default());
        let frame = ClientFrame::Publish { req, topic, ack, body: body.finish(), options };
        self.request(self.publisher, frame);
    }

    /// Ends the shards' rounds and puts their events on the wires.
    fn seal(&mut self) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.handle_timeout(self.now_ms);
            for (dispatcher, event) in shard.seal().into_iter().flat_map(|round| round.events) {
                self.wires.entry((number, dispatcher)).or_default().push_back(event);
            }
        }
    }

    /// Lets some (or all) events arrive, and the dispatchers' commands reach the shards.
    fn arrive(&mut self, all: bool) {
        let mut wires: Vec<(usize, u8)> = self.wires.keys().copied().collect();
        wires.sort_unstable();
        for wire in wires {
            let queue = self.wires.get_mut(&wire).unwrap();
            let count = if all { queue.len() } else { self.chance.below(queue.len() + 1) };
            for event in queue.drain(..count) {
                self.dispatchers[usize::from(wire.1)].apply(event, self.now_ms);
            }
        }
        for dispatcher in &mut self.dispatchers {
            dispatcher.handle_timeout(self.now_ms);
            while let Some((shard, command)) = dispatcher.outgoing() {
                self.shards[usize::from(shard)].handle(command, self.now_ms);
            }
        }
    }

    fn take_acks(&mut self) {
        for frame in self.pull(self.publisher, usize::MAX) {
            let ServerFrame::PubAck { req, epoch, offset, .. } = frame else {
                panic!("the publisher got {frame:?}")
            };
            assert_eq!(epoch, EPOCH);
            let (topic, payloads) = self.asked.remove(&req).expect("one reply per request");
            // Acknowledgements of one topic come in the order of its offsets.
            assert_eq!(offset, Some(self.acknowledged[topic].len() as u64));
            self.acknowledged[topic].extend(payloads);
        }
    }

    fn pull(&mut self, session: SessionId, budget: usize) -> Vec<ServerFrame> {
        let mut received = Received::default();
        let dispatcher = &mut self.dispatchers[usize::from(session.dispatcher)];
        dispatcher.pull(session, budget, self.now_ms, &mut Vec::new(), &mut received);
        received.0.iter().map(|frame| ServerFrame::decode(frame).unwrap()).collect()
    }

    fn connect(&mut self, index: usize) {
        let client = &self.clients[index];
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        let session = self.dispatchers[client.dispatcher].open(options, self.now_ms);
        let start = match client.next {
            None => Start::Earliest,
            Some(offset) => Start::Offset { epoch: EPOCH, offset },
        };
        let credit = client.credit.then_some(400);
        let options = SubscribeOptions { credit, ..SubscribeOptions::default() };
        let pattern = Pattern::parse(topic(client.topic).as_str()).unwrap();
        self.clients[index].session = Some(session);
        self.request(session, ClientFrame::Subscribe { req: 1, sub: 9, pattern, start, options });
    }

    fn vanish(&mut self, index: usize) {
        if let Some(session) = self.clients[index].session.take() {
            self.dispatchers[usize::from(session.dispatcher)].close(session);
            self.clients[index].dispatcher = self.chance.below(DISPATCHERS.into());
        }
    }

    fn read(&mut self, index: usize, budget: usize) {
        let Some(session) = self.clients[index].session else { return };
        let mut taken = 0;
        for frame in self.pull(session, budget) {
            taken += self.check(index, frame);
        }
        if self.clients[index].credit && taken > 0 {
            self.request(session, ClientFrame::Credit { sub: 9, bytes: taken });
        }
    }

    /// Holds a frame against what the client knows; returns the bytes of body it took.
    fn check(&mut self, index: usize, frame: ServerFrame) -> u64 {
        let log = &self.acknowledged[self.clients[index].topic];
        let client = &mut self.clients[index];
        match frame {
            ServerFrame::Subscribed { status, offset, missing, .. } => {
                let asked = client.next.unwrap_or(offset);
                match status {
                    0 | 1 => {
                        assert_eq!(offset, asked, "a start without a gap is where it was asked")
                    }
                    2 => {
                        assert_eq!(missing, Some((asked, offset)));
                        client.missed += offset - asked;
                    }
                    other => panic!("status {other}"),
                }
                client.next = Some(offset);
                0
            }
            ServerFrame::Deliver { from, next, offsets, body, .. } => {
                assert_eq!(Some(from), client.next, "ranges leave no hole and do not overlap");
                assert_eq!(offsets, None);
                let mut offset = from;
                for record in Records::of(&body) {
                    // Deliveries may outrun acknowledgements; what is acknowledged must be equal.
                    if let Some(expected) = log.get(offset as usize) {
                        assert_eq!(record.payload, Some(expected.as_slice()));
                    }
                    offset += 1;
                }
                assert_eq!(offset, next);
                client.seen += next - from;
                client.next = Some(next);
                body.len() as u64
            }
            ServerFrame::Gap { from, next, .. } => {
                assert_eq!(Some(from), client.next);
                assert!(next > from);
                client.missed += next - from;
                client.next = Some(next);
                0
            }
            other => panic!("a subscriber got {other:?}"),
        }
    }

    fn step(&mut self) {
        self.now_ms += self.chance.next() % 5;
        for _ in 0..self.chance.below(6) {
            self.publish();
        }
        if self.chance.one_in(2) {
            self.seal();
        }
        self.arrive(false);
        self.take_acks();
        for _ in 0..self.clients.len() / 8 {
            let index = self.chance.below(self.clients.len());
            match self.chance.below(12) {
                0 => self.vanish(index),
                1 | 2 if self.clients[index].session.is_none() => self.connect(index),
                _ => {
                    let budget = 1 + self.chance.below(3000);
                    self.read(index, budget);
                }
            }
        }
    }

    /// Lets everything arrive and everyone read until nothing is left.
    fn settle(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].session.is_none() {
                self.connect(index);
            }
        }
        for _ in 0..400 {
            self.seal();
            self.arrive(true);
            self.take_acks();
            for index in 0..self.clients.len() {
                self.read(index, usize::MAX);
            }
        }
    }
}

fn run(seed: u64, clients: usize, steps: usize) -> (u64, u64) {
    let mut world = World::new(seed, clients);
    for _ in 0..steps {
        world.step();
    }
    world.settle();
    assert!(world.asked.is_empty(), "seed {seed}: every request is answered");
    let (mut seen, mut missed) = (0, 0);
    for client in &world.clients {
        let end = world.acknowledged[client.topic].len() as u64;
        assert_eq!(client.next, Some(end), "seed {seed}: every client reaches the end");
        seen += client.seen;
        missed += client.missed;
    }
    (seen, missed)
}

#[test]
fn every_acknowledged_record_is_seen_once_in_order_or_named_in_a_gap() {
    let (mut seen, mut missed) = (0, 0);
    for seed in 1..=30 {
        let (run_seen, run_missed) = run(seed, 100, 300);
        seen += run_seen;
        missed += run_missed;
    }
    // Both happen, or the simulation would show nothing.
    assert!(seen > 100_000 && missed > 1_000, "seen {seen}, missed {missed}");
}

#[test]
fn thousands_of_clients_get_through_as_well() {
    let (seen, _) = run(4711, 3_000, 120);
    assert!(seen > 100_000, "seen {seen}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(99, 60, 150), run(99, 60, 150));
}

#[test]
fn what_was_recorded_from_the_middle_on_replays_to_the_same_state() {
    for seed in 1..=10 {
        let mut world = World::new(seed, 60);
        (0..100).for_each(|_| world.step());
        world.seal();
        world.shards.iter_mut().for_each(Recorded::record);
        (0..100).for_each(|_| world.step());
        let mut inputs = 0;
        for recorded in &world.shards {
            let hash = recorded.replay();
            assert_eq!(hash, recorded.shard.state_hash(), "seed {seed}");
            inputs += recorded.inputs.len();
        }
        assert!(inputs > 1_000, "{inputs}");
    }
}

#[test]
fn a_replay_that_misses_one_command_ends_in_another_state() {
    let mut world = World::new(3, 60);
    (0..50).for_each(|_| world.step());
    world.seal();
    world.shards.iter_mut().for_each(Recorded::record);
    (0..50).for_each(|_| world.step());
    for mut recorded in world.shards {
        let is_command = |input: &Input| matches!(input, Input::Command(..));
        let Some(missed) = recorded.inputs.iter().rposition(is_command) else { continue };
        recorded.inputs.remove(missed);
        assert_ne!(recorded.replay(), recorded.shard.state_hash());
    }
}

#[test]
fn a_pattern_holds_one_position_per_shard_and_misses_nothing() {
    let mut world = World::new(5, 0);
    let options = SessionOptions { framing: Framing::Bare, datagrams: false };
    let session = world.dispatchers[1].open(options, 1);
    let pattern = Pattern::parse("sim.>").unwrap();
    let (start, options) = (Start::Earliest, SubscribeOptions::default());
    world.request(session, ClientFrame::Subscribe { req: 1, sub: 1, pattern, start, options });
    let mut next = vec![0_u64; TOPICS];
    for step in 0..300 {
        world.publish();
        world.seal();
        world.arrive(step % 3 == 0);
        world.take_acks();
        read_pattern(&mut world, session, &mut next);
    }
    world.seal();
    world.arrive(true);
    world.take_acks();
    read_pattern(&mut world, session, &mut next);
    let ends: Vec<u64> = world.acknowledged.iter().map(|log| log.len() as u64).collect();
    assert_eq!(next, ends);
}

fn read_pattern(world: &mut World, session: SessionId, next: &mut [u64]) {
    for frame in world.pull(session, usize::MAX) {
        match frame {
            ServerFrame::Subscribed { positions, .. } => {
                assert_eq!(positions.unwrap().len(), usize::from(SHARDS));
            }
            ServerFrame::Deliver { topic, from, next: end, position, .. } => {
                let index = topic.as_str().rsplit('.').next().unwrap().parse::<usize>().unwrap();
                assert_eq!(from, next[index]);
                assert!(position.is_some());
                next[index] = end;
            }
            ServerFrame::Progress { .. } => {}
            other => panic!("a pattern got {other:?}"),
        }
    }
}

#[test]
fn a_shard_forgets_a_topic_that_was_only_followed() {
    let mut world = World::new(6, 1);
    world.connect(0);
    world.arrive(true);
    world.seal();
    assert_eq!(world.shards.iter().map(|shard| shard.stats().topics).sum::<u64>(), 1);
    world.vanish(0);
    world.arrive(true);
    assert_eq!(world.shards.iter().map(|shard| shard.stats().topics).sum::<u64>(), 0);
}
