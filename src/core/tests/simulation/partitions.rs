//! Topics with partitions: who follows one gets every partition, and resumes in each of them.

mod world;

use tidewire_core::shard::{SessionId, ShardLimits};
use tidewire_core::shard_of;
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CellKind, Position, Start};
use tidewire_protocol::options::{GetOptions, PublishOptions, SubscribeOptions, TopicInfo};
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame, partition_of, wire};

use crate::net::Net;

const PARTITIONS: u16 = 4;
const IDLE_TIMEOUT_MS: u64 = 60;

fn topic() -> Name {
    Name::parse("parted.topic").unwrap()
}

fn net(seed: u64) -> Net {
    let policy = Policy {
        partitions: PARTITIONS,
        retention_records: 60,
        idle_timeout_ms: Some(IDLE_TIMEOUT_MS),
        ..Policy::default()
    };
    let rules = vec![(Pattern::parse("parted.>").unwrap(), policy)];
    let limits = ShardLimits { batch_bytes_max: 2000, ..ShardLimits::default() };
    Net::new(seed, PolicyTable::new(rules, Policy::default()), limits)
}

fn publish(req: u64, records: &[(Option<String>, Vec<u8>)]) -> ClientFrame {
    let mut body = BodyBuilder::new();
    for (key, payload) in records {
        body.push(key.as_deref(), &[], Some(payload));
    }
    let (topic, ack, options) = (topic(), AckLevel::Memory, PublishOptions::default());
    ClientFrame::Publish { req, topic, ack, body: body.finish(), options }
}

fn subscribe(pattern: &str, start: Start) -> ClientFrame {
    let pattern = Pattern::parse(pattern).unwrap();
    ClientFrame::Subscribe { req: 1, sub: 5, pattern, start, options: SubscribeOptions::default() }
}

/// Puts a record that stays into the shard of each partition: what retention removes behind it
/// leaves holes in the shards' logs.
fn anchor(net: &mut Net, publisher: SessionId) {
    for partition in 0..PARTITIONS {
        let shard = (shard_of(&topic()) + partition) % 16;
        let is_there = |name: &Name| shard_of(name) == shard;
        let mut names = (0..).map(|number| Name::parse(&format!("anchor.{number}")).unwrap());
        let mut body = BodyBuilder::new();
        body.push(None, &[], Some(b"x"));
        let (topic, ack, body) = (names.find(is_there).unwrap(), AckLevel::Memory, body.finish());
        let options = PublishOptions::default();
        net.ask(publisher, ClientFrame::Publish { req: 1, topic, ack, body, options });
    }
}

#[test]
fn records_go_to_the_shards_of_their_partitions_and_those_without_key_together() {
    let mut net = net(1);
    let session = net.open(1);
    let keyed = |key: &str| (Some(key.to_owned()), b"x".to_vec());
    let keys = ["a", "b", "c", "d", "e", "f"];
    let frames = net.ask(session, publish(3, &keys.map(keyed)));
    let [ServerFrame::PubAck { positions: Some(positions), .. }] = &frames[..] else {
        panic!("{frames:?}")
    };
    let mut expected: Vec<u64> = keys.map(|key| partition_of(key, PARTITIONS).into()).to_vec();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(positions.iter().map(|at| at.0).collect::<Vec<_>>(), expected);
    for partition in 0..PARTITIONS {
        let shard = usize::from((shard_of(&topic()) + partition) % 16);
        let is_there = expected.contains(&u64::from(partition));
        assert_eq!(net.shards[shard].stats().topics, u64::from(is_there));
    }
    // Without keys: one partition for all of a publish, and the next one for the next publish.
    let keyless = vec![(None, b"x".to_vec()); 3];
    let places: Vec<u64> = (0..8)
        .map(|_| match &net.ask(session, publish(4, &keyless))[..] {
            [ServerFrame::PubAck { positions: Some(at), .. }] if at.len() == 1 => at[0].0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places[..4], places[4..]);
    let get = ClientFrame::Get {
        req: 5,
        kind: CellKind::Topic,
        name: topic(),
        key: None,
        options: GetOptions::default(),
    };
    let frames = net.ask(session, get);
    let [ServerFrame::Value { value: Some(value), .. }] = &frames[..] else { panic!("{frames:?}") };
    let info: TopicInfo = wire::from_slice(value).unwrap();
    assert_eq!((info.first, info.next, info.partitions), (0, 30, Some(4)));
}

#[test]
fn a_publish_without_acknowledgement_is_silent_and_one_beyond_what_is_offered_is_refused_once() {
    let mut net = net(1);
    let session = net.open(1);
    let records: Vec<_> = ["a", "b", "c", "d"].map(|key| (Some(key.into()), vec![1])).to_vec();
    let with = |level| match publish(9, &records) {
        ClientFrame::Publish { req, topic, body, options, .. } => {
            ClientFrame::Publish { req, topic, ack: level, body, options }
        }
        other => other,
    };
    assert_eq!(net.ask(session, with(AckLevel::None)), []);
    let code = u64::from(ErrorCode::AckUnsupported.number());
    let refused = net.ask(session, with(AckLevel::Quorum));
    match &refused[..] {
        [ServerFrame::Error { req: 9, code: refused, .. }] => assert_eq!(*refused, code),
        other => panic!("{other:?}"),
    }
    assert!(net.dispatchers[1].may_read(session), "nothing stays unanswered");
}

#[test]
fn a_topic_with_partitions_resumes_from_positions_only() {
    let mut net = net(1);
    let session = net.open(1);
    let code = |frames: &[ServerFrame]| match frames {
        [ServerFrame::Error { code, .. }] => ErrorCode::from_number(*code).unwrap(),
        other => panic!("{other:?}"),
    };
    let offset = subscribe("parted.topic", Start::Offset { epoch: 0, offset: 0 });
    assert_eq!(code(&net.ask(session, offset)), ErrorCode::InvalidArgument);
    let unknown = subscribe("parted.topic", Start::Positions(vec![Position(4, 1, 0)]));
    assert_eq!(code(&net.ask(session, unknown)), ErrorCode::OutOfRange);
    let beyond = subscribe("parted.topic", Start::Positions(vec![Position(2, 0, 7)]));
    assert_eq!(code(&net.ask(session, beyond)), ErrorCode::OutOfRange);
    // A partition that is not listed starts at the latest.
    net.ask(session, publish(2, &[(Some("a".into()), b"1".to_vec())]));
    let frames = net.ask(session, subscribe("parted.topic", Start::Positions(Vec::new())));
    let [ServerFrame::Subscribed { status: 0, positions: Some(positions), .. }] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    let started: u64 = positions.iter().map(|at| at.2).sum();
    assert_eq!(started, 1);
}
