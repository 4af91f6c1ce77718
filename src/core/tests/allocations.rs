//! Allocations on the way from a committed batch to many subscribers: none per delivery.
//!
//! The same batches go to 100 and to 1,000 subscribers. What is allocated per batch or per round
//! is the same for both; the difference belongs to the deliveries.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::access::{Access, Operation, Permissions, Rule, RuleList, Voter};
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, Lane, SessionOptions, Sink};
use tidewire_core::shard::{
    CellValue, Command, Event, Interest, KeyedEntry, Origin, Request, SessionId, Shard,
    ShardConfig, ShardLimits, Terms,
};
use tidewire_core::shard_of;
use tidewire_core::topic::{Batch, Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CellKind, Start};
use tidewire_protocol::options::{Condition, PublishOptions, SubscribeOptions, WatchOptions};
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::{ClientFrame, Name, Pattern};

const FEW: usize = 100;
const MANY: usize = 1_000;
const NOW_MS: u64 = 1_000;
const EPOCH: u64 = 1;
const RECORDS: u64 = 8;
/// Rounds before the one that is counted: queues and scratch memory have found their sizes.
const ROUNDS_BEFORE: u64 = 20;
/// Batches that the topic keeps.
const BATCHES_KEPT: u64 = 4;

/// A transport that always has room.
#[derive(Default)]
struct Frames(usize);

impl Sink for Frames {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, _frames: &[u8]) {}

    fn frame(&mut self, _lane: Lane, _head: &[u8], _shared: &Bytes) {
        self.0 += 1;
    }

    fn finish(&mut self, _sub: u32) {}
}

/// A dispatcher with subscribers, and the shards that it believes to talk to.
struct World {
    dispatcher: Dispatcher,
    head: Vec<u8>,
    round: u64,
}

fn topic() -> Name {
    Name::parse("news.today").unwrap()
}

impl World {
    /// A world in which each of so many connections has sent this frame.
    fn with(connections: usize, frame: &ClientFrame) -> Self {
        let limits = FanoutLimits::default();
        let mut world =
            Self { dispatcher: Dispatcher::new(0, 7, limits), head: Vec::new(), round: 0 };
        for _ in 0..connections {
            let options = SessionOptions { framing: Framing::Bare, datagrams: false };
            let session = world.dispatcher.open(options, NOW_MS);
            let hash = |_: &Name, _: Voter<'_>| VoterId([0; 16]);
            assert!(world.dispatcher.request(session, 0, Ok(frame.clone()), &hash).is_none());
            while let Some((shard, command)) = world.dispatcher.outgoing() {
                world.dispatcher.apply(snapshot(shard, command), NOW_MS);
            }
        }
        assert!(world.deliver() >= connections, "every connection is answered");
        world
    }

    /// The event that every round brings: a batch, or a new value of a counter.
    fn next_event(&mut self, kind: Kind) -> Event {
        self.round += 1;
        let round = self.round;
        match kind {
            Kind::Batch => Event::Appended {
                batch: Arc::new(batch(round - 1)),
                first: round.saturating_sub(BATCHES_KEPT) * RECORDS,
                evicted: round.checked_sub(BATCHES_KEPT + 1).into_iter().collect(),
            },
            Kind::Counter => Event::Cell {
                shard: shard_of(&topic()),
                kind: CellKind::Counter,
                name: topic(),
                version: round,
                epoch: EPOCH,
                value: CellValue::Whole { value: vec![7].into(), info: None },
                snapshot: false,
            },
            Kind::Map => Event::Cell {
                shard: shard_of(&topic()),
                kind: CellKind::Map,
                name: topic(),
                version: round,
                epoch: EPOCH,
                value: entries(round, false),
                snapshot: false,
            },
        }
    }

    /// Lets every connection take what there is for it; returns the number of frames.
    fn deliver(&mut self) -> usize {
        let mut sink = Frames::default();
        while let Some(session) = self.dispatcher.next_ready() {
            self.dispatcher.pull(session, 256 * 1024, NOW_MS, &mut self.head, &mut sink);
        }
        sink.0
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Batch,
    Counter,
    Map,
}

/// What a shard without records answers to a dispatcher that begins to follow something.
fn snapshot(shard: u16, command: Command) -> Event {
    let Command::Follow(_, interest) = command else { panic!("nothing ends here") };
    match interest {
        Interest::Topic(name) => {
            let (topic_id, batches) = (0, Vec::new());
            Event::TopicSnapshot { shard, name, topic_id, epoch: EPOCH, next: 0, batches }
        }
        Interest::CommitLog => {
            Event::LogSnapshot { shard, epoch: EPOCH, base: 0, slots: Vec::new() }
        }
        Interest::Cell(kind, name) => {
            let value = match kind {
                CellKind::Map => entries(0, true),
                _ => CellValue::Whole { value: vec![0].into(), info: None },
            };
            Event::Cell { shard, kind, name, version: 0, epoch: EPOCH, value, snapshot: true }
        }
    }
}

fn entries(version: u64, full: bool) -> CellValue {
    let value = Some(vec![7; 32].into());
    CellValue::Entries { full, entries: vec![KeyedEntry { key: "key".into(), version, value }] }
}

fn batch(sequence: u64) -> Batch {
    let mut body = BodyBuilder::new();
    for record in 0..RECORDS {
        body.push(Some(if record == 3 { "wanted" } else { "other" }), &[], Some(b"payload"));
    }
    Batch {
        topic: topic(),
        topic_id: 0,
        shard: shard_of(&topic()),
        epoch: EPOCH,
        base: sequence * RECORDS,
        count: RECORDS,
        time_ms: NOW_MS,
        sequence,
        body: body.finish().into(),
    }
}

/// Allocations of the round in which every connection gets one more frame: of the dispatcher's
/// side, since the event has been made before.
fn allocations(connections: usize, frame: &ClientFrame, kind: Kind) -> u64 {
    let mut world = World::with(connections, frame);
    for _ in 0..ROUNDS_BEFORE {
        let event = world.next_event(kind);
        world.dispatcher.apply(event, NOW_MS);
        assert_eq!(world.deliver(), connections);
    }
    let event = world.next_event(kind);
    let mut delivered = 0;
    let counted = allocation_counter::measure(|| {
        world.dispatcher.apply(event, NOW_MS);
        delivered = world.deliver();
    });
    assert_eq!(delivered, connections, "everybody gets it");
    counted.count_total
}

/// Allocations that each delivery costs, rounded up.
fn per_delivery(frame: &ClientFrame, kind: Kind) -> u64 {
    let (few, many) = (allocations(FEW, frame, kind), allocations(MANY, frame, kind));
    many.abs_diff(few).div_ceil((MANY - FEW) as u64)
}

fn subscribe(pattern: &str, options: SubscribeOptions) -> ClientFrame {
    let pattern = Pattern::parse(pattern).unwrap();
    ClientFrame::Subscribe { req: 1, sub: 1, pattern, start: Start::Latest, options }
}

fn watch(kind: CellKind, key: Option<&str>) -> ClientFrame {
    let options = WatchOptions { key: key.map(str::to_owned), ..WatchOptions::default() };
    ClientFrame::Watch { req: 1, sub: 1, kind, name: topic(), options }
}

#[test]
fn a_delivery_of_a_topic_allocates_nothing() {
    let frame = subscribe("news.today", SubscribeOptions::default());
    assert_eq!(per_delivery(&frame, Kind::Batch), 0);
}

#[test]
fn a_delivery_with_credit_allocates_nothing() {
    let credit = Some(1 << 30);
    let frame = subscribe("news.today", SubscribeOptions { credit, ..Default::default() });
    assert_eq!(per_delivery(&frame, Kind::Batch), 0);
}

#[test]
fn a_delivery_by_a_pattern_allocates_nothing() {
    let frame = subscribe("news.>", SubscribeOptions::default());
    assert_eq!(per_delivery(&frame, Kind::Batch), 0);
}

#[test]
fn an_update_of_a_counter_or_a_whole_map_allocates_nothing() {
    assert_eq!(per_delivery(&watch(CellKind::Counter, None), Kind::Counter), 0);
    assert_eq!(per_delivery(&watch(CellKind::Map, None), Kind::Map), 0);
}

#[test]
fn a_filtered_delivery_allocates_nothing() {
    for pattern in ["news.today", "news.>"] {
        let filter = Some(vec![Condition("key".into(), "eq".into(), Some("wanted".into()))]);
        let frame = subscribe(pattern, SubscribeOptions { filter, ..Default::default() });
        assert_eq!(per_delivery(&frame, Kind::Batch), 0, "{pattern}");
    }
}

#[test]
fn a_delivery_of_the_newest_per_key_allocates_nothing() {
    let (mode, interval_ms) = (Some(1), Some(0));
    let options = SubscribeOptions { mode, interval_ms, ..Default::default() };
    assert_eq!(per_delivery(&subscribe("news.today", options), Kind::Batch), 0);
}

#[test]
fn an_update_of_one_key_allocates_nothing() {
    assert_eq!(per_delivery(&watch(CellKind::Map, Some("key")), Kind::Map), 0);
}

#[test]
fn a_round_builds_no_changes_of_a_map_that_nobody_watches() {
    let (few, many) = (allocations_of_a_round(10, false), allocations_of_a_round(1_000, false));
    assert_eq!(few, many, "however many keys have changed");
    assert!(allocations_of_a_round(1_000, true) > many, "and for a watcher they are built");
}

/// Allocations of the end of a round that has changed so many keys of a map.
fn allocations_of_a_round(keys: usize, watched: bool) -> u64 {
    let policy = Policy { map_keys_max: 1_000, ..Policy::default() };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    let (shard, limits) = (shard_of(&topic()), ShardLimits::default());
    let mut shard = Shard::new(ShardConfig { shard, epoch: EPOCH, seed: 7, policies, limits });
    if watched {
        shard.handle(Command::Follow(0, Interest::Cell(CellKind::Map, topic())), NOW_MS);
        shard.seal();
    }
    let mut body = BodyBuilder::new();
    for key in 0..keys {
        body.push(Some(&format!("{key}")), &[], Some(b"payload"));
    }
    let session = SessionId { dispatcher: 0, slot: 0, generation: 1 };
    let (topic, ack, count) = (topic(), AckLevel::Memory, keys as u64);
    let terms = Terms::default();
    let publish = Request::Publish { topic, ack, body: body.finish(), count, terms };
    shard.handle(Command::Request(Origin { session, stream: 0, req: 1 }, publish), NOW_MS);
    allocation_counter::measure(|| drop(shard.seal())).count_total
}

/// Who may publish and read below `news`, and nothing else.
fn access() -> Access {
    let allow = [Operation::Publish, Operation::Subscribe].into_iter().collect();
    let rules = ["secret.>", "user.*.inbox", "news.>"].iter().zip(1..);
    let rules = rules.filter_map(|(names, number)| Rule::for_subject(number, names, allow, None));
    let (source, rules) = ("role 'test'".into(), rules.collect());
    let list = RuleList { source, rules, acts_for_others: false };
    Access {
        permissions: Arc::new(Permissions { lists: vec![list], tenant: None }),
        ..Access::nobody()
    }
}

/// Allocations of a publish, by a connection with rules or without.
fn of_a_publish(access: Option<Access>) -> u64 {
    let mut dispatcher = Dispatcher::new(0, 7, FanoutLimits::default());
    let options = SessionOptions { framing: Framing::Bare, datagrams: false };
    let session = dispatcher.open(options, NOW_MS);
    if let Some(access) = access {
        dispatcher.set_access(session, access);
    }
    let Some(body) = batch(0).body.warm().cloned() else { panic!("it is in memory") };
    let mut publish = || {
        let (topic, body, options) = (topic(), body.clone(), PublishOptions::default());
        let frame = ClientFrame::Publish { req: 1, topic, ack: AckLevel::Memory, body, options };
        let hash = |_: &Name, _: Voter<'_>| VoterId([0; 16]);
        assert!(dispatcher.request(session, 0, Ok(frame), &hash).is_some());
    };
    publish();
    allocation_counter::measure(publish).count_total
}

#[test]
fn a_permission_that_is_known_allocates_nothing() {
    assert_eq!(of_a_publish(Some(access())), of_a_publish(None));
}
