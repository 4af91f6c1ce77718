//! Topics that expire when they are idle.

use tidewire_core::shard::ShardLimits;
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_core::{SHARDS, shard_of};
use tidewire_protocol::frame::{AckLevel, CellKind, Start, read_entries};
use tidewire_protocol::options::{GetOptions, PublishOptions, SubscribeOptions, WatchOptions};
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame};

use crate::net::{EPOCH, Net};

const IDLE_TIMEOUT_MS: u64 = 100;

fn net() -> Net {
    with_limits(ShardLimits::default())
}

fn with_limits(limits: ShardLimits) -> Net {
    let policy = Policy {
        idle_timeout_ms: Some(IDLE_TIMEOUT_MS),
        map_keys_max: 9,
        retention_records: 1_000_000,
        ..Policy::default()
    };
    Net::new(1, PolicyTable::new(Vec::new(), policy), limits)
}

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

fn publish(topic: &str) -> ClientFrame {
    let mut body = BodyBuilder::new();
    body.push(Some("key"), &[], Some(b"value"));
    let (body, options) = (body.finish(), PublishOptions::default());
    ClientFrame::Publish { req: 1, topic: name(topic), ack: AckLevel::Memory, body, options }
}

fn subscribe(pattern: &str, start: Start) -> ClientFrame {
    let pattern = Pattern::parse(pattern).unwrap();
    ClientFrame::Subscribe { req: 1, sub: 7, pattern, start, options: SubscribeOptions::default() }
}

/// Lets so much time pass that everything idle is idle for too long.
fn pass(net: &mut Net) {
    net.now_ms += IDLE_TIMEOUT_MS;
    net.settle();
}

#[test]
fn an_idle_topic_goes_with_its_records_and_its_map() {
    let mut net = net();
    let session = net.open(0);
    net.ask(session, publish("a"));
    net.now_ms += IDLE_TIMEOUT_MS - 1;
    net.settle();
    assert_eq!((net.topics(), net.expired()), (1, 0));
    net.now_ms += 1;
    net.settle();
    assert_eq!((net.topics(), net.expired()), (0, 1));
    let kept: u64 = net.shards.iter().map(|shard| shard.stats().topic_bytes).sum();
    assert_eq!(kept, 0);
    for kind in [CellKind::Topic, CellKind::Map] {
        let get = ClientFrame::Get {
            req: 2,
            kind,
            name: name("a"),
            key: None,
            options: GetOptions::default(),
        };
        match &net.ask(session, get)[..] {
            [ServerFrame::Error { code: 9, .. }] if kind == CellKind::Topic => {}
            [ServerFrame::Value { value: Some(value), .. }] if kind == CellKind::Map => {
                assert!(read_entries(value).unwrap().is_empty());
            }
            other => panic!("{kind:?}: {other:?}"),
        }
    }
}

#[test]
fn publishes_and_followers_by_name_keep_a_topic_and_patterns_do_not() {
    let mut net = net();
    let [publisher, by_name, by_pattern] = [0, 1, 2].map(|dispatcher| net.open(dispatcher));
    net.ask(publisher, publish("followed"));
    net.ask(publisher, publish("matched"));
    net.ask(by_name, subscribe("followed", Start::Latest));
    net.ask(by_pattern, subscribe(">", Start::Latest));
    for _ in 0..5 {
        net.now_ms += IDLE_TIMEOUT_MS / 2;
        net.ask(publisher, publish("busy"));
    }
    assert_eq!((net.topics(), net.expired()), (2, 1), "'matched' is gone");
    // Its last follower by name goes: the topic is idle from then on, not from its last record on.
    net.close(by_name);
    net.settle();
    net.now_ms += IDLE_TIMEOUT_MS - 1;
    net.ask(publisher, publish("busy"));
    assert_eq!(net.topics(), 2);
    net.now_ms += 1;
    net.settle();
    assert_eq!((net.topics(), net.expired()), (1, 2));
}

#[test]
fn who_resumes_into_a_topic_that_was_made_again_is_told() {
    let mut net = net();
    let session = net.open(0);
    for life in 0..3 {
        let epoch = EPOCH + life;
        let acknowledged = net.ask(session, publish("a"));
        let (offset, positions) = (Some(0), None);
        let expected =
            ServerFrame::PubAck { req: 1, epoch, offset, level: 1, positions, duplicate: false };
        assert_eq!(acknowledged, [expected]);
        pass(&mut net);
    }
    net.ask(session, publish("a"));
    let resumed = net.ask(session, subscribe("a", Start::Offset { epoch: EPOCH, offset: 1 }));
    let ServerFrame::Subscribed { status, epoch, offset, .. } = resumed[0] else { panic!() };
    assert_eq!((status, epoch, offset), (3, EPOCH + 3, 0));
    assert!(matches!(resumed[1], ServerFrame::Deliver { from: 0, next: 1, .. }));
}

#[test]
fn a_snapshot_of_the_life_before_starts_nobody() {
    let mut net = net();
    let (publisher, gone) = (net.open(0), net.open(1));
    net.ask(publisher, publish("a"));
    // The shard has answered, but before the answer arrives the follower is gone.
    net.request(gone, subscribe("a", Start::Latest));
    net.arrive(true);
    net.close(gone);
    net.arrive(true);
    net.now_ms += IDLE_TIMEOUT_MS;
    net.seal();
    assert_eq!(net.expired(), 1);
    net.request(publisher, publish("a"));
    // The next follower of the same dispatcher comes before that answer as well.
    let next = net.open(1);
    let frames = net.ask(next, subscribe("a", Start::Offset { epoch: EPOCH, offset: 1 }));
    let ServerFrame::Subscribed { status, epoch, offset, .. } = frames[0] else { panic!() };
    assert_eq!((status, epoch, offset), (3, EPOCH + 1, 0));
    assert!(matches!(frames[1], ServerFrame::Deliver { from: 0, next: 1, .. }), "{frames:?}");
}

#[test]
fn a_number_that_is_used_again_brings_no_records_of_another_topic() {
    let mut net = net();
    let (publisher, follower) = (net.open(0), net.open(1));
    // Names of one shard: the second topic gets the number of the first.
    let same = |raw: &String| shard_of(&name(raw)) == shard_of(&name("red.0"));
    let blue = (0..).map(|n| format!("blue.{n}")).find(same).unwrap();
    net.ask(follower, subscribe("red.*", Start::Latest));
    for topic in ["red.0", &blue, "red.0"] {
        net.ask(publisher, publish(topic));
        let got = net.pull(follower, usize::MAX);
        let delivered = got.iter().any(|frame| matches!(frame, ServerFrame::Deliver { .. }));
        assert_eq!(delivered, topic == "red.0", "{topic}: {got:?}");
        pass(&mut net);
        net.pull(follower, usize::MAX);
    }
}

#[test]
fn a_pattern_that_lags_is_told_what_it_missed_of_a_topic_that_is_gone() {
    let mut net = net();
    let (publisher, follower) = (net.open(0), net.open(1));
    net.ask(follower, subscribe("a.*", Start::Latest));
    net.ask(publisher, publish("a.0"));
    pass(&mut net);
    net.ask(publisher, publish("a.0"));
    let told: Vec<_> = net
        .pull(follower, usize::MAX)
        .into_iter()
        .filter_map(|frame| match frame {
            ServerFrame::Deliver { epoch, from, next, .. } => Some(("got", epoch, from, next)),
            ServerFrame::Gap { epoch, from, next, .. } => Some(("gap", epoch, from, next)),
            _ => None,
        })
        .collect();
    // The shard's log has nothing before the second record: its gap counts one batch.
    assert_eq!(told, [("gap", EPOCH, 0, 1), ("got", EPOCH + 1, 0, 1)]);
}

#[test]
fn however_many_are_idle_at_once_commands_do_not_wait_for_all_of_them() {
    let mut net = net();
    let session = net.open(0);
    let shard = usize::from(shard_of(&name("t.0")));
    let of_shard = |raw: &String| usize::from(shard_of(&name(raw))) == shard;
    for raw in (0..).map(|n| format!("t.{n}")).filter(of_shard).take(3_000) {
        net.request(session, publish(&raw));
    }
    net.settle();
    net.pull(session, usize::MAX);
    net.now_ms += IDLE_TIMEOUT_MS;
    let mut left = 3_000;
    while left > 0 {
        net.shards[shard].handle_timeout(net.now_ms);
        let topics = net.shards[shard].stats().topics;
        assert!((1..=1024).contains(&(left - topics)), "{left} to {topics}");
        left = topics;
        if left > 0 {
            let due_ms = net.shards[shard].shard.next_timeout_ms().unwrap();
            assert!(due_ms <= net.now_ms, "the rest is due at once");
        }
    }
    assert_eq!(net.shards[shard].shard.next_timeout_ms(), None, "no timer is left behind");
}

#[test]
fn epochs_never_run_ahead_of_the_clock() {
    let mut net = net();
    let session = net.open(0);
    let began_ms = net.now_ms;
    for round in 0..200 {
        for number in 0..5 {
            net.request(session, publish(&format!("t.{}", round * 5 + number)));
        }
        net.settle();
        net.now_ms += IDLE_TIMEOUT_MS;
        (0..3).for_each(|_| net.settle());
        for frame in net.pull(session, usize::MAX) {
            let ServerFrame::PubAck { epoch, .. } = frame else { panic!("{frame:?}") };
            assert!(epoch <= EPOCH + (net.now_ms - began_ms));
        }
    }
    assert_eq!(net.expired(), 1_000);
}

#[test]
fn beyond_the_limit_of_names_a_subscription_is_refused_not_left_without_records() {
    let limits = ShardLimits { names_max: 1, ..ShardLimits::default() };
    let mut net = with_limits(limits);
    let session = net.open(0);
    for raw in (0..).map(|n| format!("t.{n}")).take(usize::from(SHARDS) * 8) {
        net.ask(session, publish(&raw));
    }
    let refused = net.ask(session, subscribe("new", Start::Latest));
    let limit = u64::from(ErrorCode::LimitExceeded.number());
    match &refused[..] {
        [ServerFrame::Error { req: 1, code, message, .. }] => {
            assert_eq!(*code, limit);
            assert!(message.contains("'new'") && message.contains("limit of 1 names"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    // Room comes free, and the same request is granted.
    pass(&mut net);
    let granted = net.ask(session, subscribe("new", Start::Latest));
    assert!(matches!(granted[0], ServerFrame::Subscribed { .. }), "{granted:?}");
}

#[test]
fn who_watched_a_map_that_has_gone_sees_it_empty() {
    let mut net = net();
    let session = net.open(0);
    let watch = |options| {
        let (kind, name) = (CellKind::Map, name("a"));
        ClientFrame::Watch { req: 1, sub: 3, kind, name, options }
    };
    net.ask(session, publish("a"));
    let frames = net.ask(session, watch(WatchOptions::default()));
    let ServerFrame::Update { version, .. } = frames[1] else { panic!("{frames:?}") };
    pass(&mut net);
    assert_eq!(net.expired(), 0, "a watcher of its map follows the topic by name");
    net.close(session);
    net.settle();
    pass(&mut net);
    assert_eq!((net.topics(), net.expired()), (0, 1));
    let session = net.open(2);
    let held = WatchOptions { epoch: Some(EPOCH), version: Some(version), ..Default::default() };
    let frames = net.ask(session, watch(held));
    match &frames[1] {
        ServerFrame::Update { version: newer, flags: 1, value: Some(value), .. } => {
            assert!(*newer > version && read_entries(value).unwrap().is_empty());
        }
        other => panic!("{other:?}"),
    }
    net.close(session);
    net.settle();
    assert_eq!(net.topics(), 0, "a map that was only watched is forgotten");
}
