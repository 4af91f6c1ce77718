//! Topics of which most is on disk only.

use std::collections::BTreeMap;

use tidewire_core::fanout::FanoutLimits;
use tidewire_core::shard::{SessionId, ShardLimits};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_core::{SHARDS, shard_of};
use tidewire_protocol::frame::{AckLevel, GroupOp, SettleOp, Start};
use tidewire_protocol::group::{ConsumeOptions, GroupOptions, SettleOptions};
use tidewire_protocol::options::{PublishOptions, SubscribeOptions};
use tidewire_protocol::record::{BodyBuilder, Records};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, Refusal, ServerFrame};

use crate::net::Net;
use crate::topics::World;
use crate::{Figures, run_in};

#[test]
fn who_lags_behind_what_is_in_memory_misses_nothing() {
    let mut sum = Figures::default();
    for seed in 1..=30 {
        let figures = run_in(World::on_disk(seed, 100), seed, 300);
        sum.seen += figures.seen;
        sum.missed += figures.missed;
        sum.renewed += figures.renewed;
        sum.recalled += figures.recalled;
    }
    // Retention is the same as in memory: what it removes is named in a gap.
    assert!(sum.seen > 100_000 && sum.missed > 1_000 && sum.renewed > 100, "{sum:?}");
    assert!(sum.recalled > 10_000, "{sum:?}");
}

fn net(seed: u64) -> Net {
    let policy = Policy { ack_max: AckLevel::Disk, ..Policy::default() };
    let limits = ShardLimits { bytes_max: 300, batch_bytes_max: 100, ..ShardLimits::default() };
    let fanout = FanoutLimits { recalled_bytes_max: 300, ..FanoutLimits::default() };
    Net::with_fanout(seed, PolicyTable::new(Vec::new(), policy), limits, &fanout)
}

/// Publishes so many records to a few topics, and lets them cool.
fn fill(net: &mut Net, records: u64) -> BTreeMap<String, u64> {
    let publisher = net.open(0);
    let mut counts = BTreeMap::new();
    for number in 0..records {
        let topic = Name::parse(&format!("cold.{}", net.chance.index(4))).unwrap();
        let count: &mut u64 = counts.entry(topic.to_string()).or_default();
        let mut body = BodyBuilder::new();
        body.push(Some(&format!("key {}", *count % 7)), &[], Some(count.to_string().as_bytes()));
        *count += 1;
        let (req, ack, options) = (number + 1, AckLevel::Disk, PublishOptions::default());
        net.request(
            publisher,
            ClientFrame::Publish { req, topic, ack, body: body.finish(), options },
        );
        net.now_ms += 1;
        if net.chance.one_in(4) {
            net.settle();
            assert!(!net.pull(publisher, usize::MAX).is_empty());
        }
    }
    net.settle();
    counts
}

/// The numbers in the payloads of a body.
fn numbers(body: &[u8]) -> impl Iterator<Item = u64> + use<'_> {
    Records::of(body)
        .map(|record| std::str::from_utf8(record.payload.unwrap()).unwrap().parse().unwrap())
}

#[test]
fn a_pattern_that_starts_at_the_oldest_record_gets_all_in_their_order() {
    for seed in 1..=5 {
        let mut net = net(seed);
        let counts = fill(&mut net, 400);
        let session = net.open(1);
        let (pattern, options) = (Pattern::parse("cold.*").unwrap(), SubscribeOptions::default());
        let start = Start::Earliest;
        let frame = ClientFrame::Subscribe { req: 1, sub: 1, pattern, start, options };
        net.request(session, frame);
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..3_000 {
            net.seal();
            net.arrive(false);
            for frame in net.pull(session, 200) {
                match frame {
                    ServerFrame::Subscribed { positions, .. } => {
                        assert_eq!(positions.unwrap().len(), usize::from(2 * SHARDS));
                    }
                    ServerFrame::Deliver { topic, from, next, body, .. } => {
                        let end = seen.entry(topic.as_str().to_owned()).or_default();
                        assert_eq!(*end, from);
                        assert!(numbers(&body).eq(from..next));
                        *end = next;
                    }
                    ServerFrame::Progress { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            if seen == counts {
                break;
            }
        }
        assert_eq!(seen, counts, "seed {seed}");
        assert!(net.recalled() > 20, "{}", net.recalled());
    }
}

#[test]
fn conflated_delivery_catches_up_from_disk() {
    let mut net = net(8);
    let counts = fill(&mut net, 400);
    let session = net.open(1);
    let patterns = [("cold.0", 1), ("cold.*", 2)];
    for (pattern, sub) in patterns {
        let (pattern, start) = (Pattern::parse(pattern).unwrap(), Start::Earliest);
        let mut options = SubscribeOptions { mode: Some(1), ..SubscribeOptions::default() };
        options.interval_ms = Some(1);
        let frame = ClientFrame::Subscribe { req: 1, sub, pattern, start, options };
        net.request(session, frame);
    }
    let mut newest: BTreeMap<(u32, String), u64> = BTreeMap::new();
    let expected = counts.len() + 1;
    let is_done = |newest: &BTreeMap<(u32, String), u64>| {
        newest.len() == expected && newest.iter().all(|((_, topic), next)| counts[topic] == *next)
    };
    for _ in 0..3_000 {
        net.now_ms += 2;
        net.seal();
        net.arrive(true);
        for frame in net.pull(session, 500) {
            if let ServerFrame::Deliver { sub, topic, next, body, .. } = frame {
                assert!(numbers(&body).all(|number| number < next));
                newest.insert((sub, topic.as_str().to_owned()), next);
            }
        }
        if is_done(&newest) {
            return;
        }
    }
    panic!("{newest:?} of {counts:?}");
}

/// A topic of those that `fill` makes, and the number of its shard.
fn topic() -> (Name, usize) {
    let topic = Name::parse("cold.1").unwrap();
    let shard = usize::from(SHARDS + shard_of(&topic));
    (topic, shard)
}

fn follow(net: &mut Net, session: SessionId, sub: u32, start: Start) {
    let (pattern, options) = (Pattern::parse("cold.1").unwrap(), SubscribeOptions::default());
    net.request(session, ClientFrame::Subscribe { req: 1, sub, pattern, start, options });
}

/// What a subscription gets until it is at this offset, or ended: the next offset, and the error.
fn read_to(net: &mut Net, session: SessionId, end: u64) -> (u64, Option<Refusal>) {
    let mut next = 0;
    for _ in 0..2_000 {
        net.seal();
        net.arrive(false);
        for frame in net.pull(session, 300) {
            match frame {
                ServerFrame::Subscribed { offset, .. } => next = offset,
                ServerFrame::Deliver { from, next: to, body, .. } => {
                    assert_eq!(from, next);
                    assert!(numbers(&body).eq(from..to));
                    next = to;
                }
                ServerFrame::Error { code, message, sub: Some(_), .. } => {
                    return (
                        next,
                        Some(Refusal::new(ErrorCode::from_number(code).unwrap(), message)),
                    );
                }
                ServerFrame::Progress { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        if next == end {
            break;
        }
    }
    (next, None)
}

#[test]
fn a_read_that_fails_once_is_made_again() {
    let mut net = net(21);
    let counts = fill(&mut net, 300);
    let (_, shard) = topic();
    net.disks.get_mut(&shard).unwrap().failures = 1;
    let session = net.open(1);
    follow(&mut net, session, 1, Start::Earliest);
    assert_eq!(read_to(&mut net, session, counts["cold.1"]), (counts["cold.1"], None));
}

#[test]
fn what_cannot_be_read_ends_who_comes_to_it_and_says_where_to_go_on() {
    let mut net = net(22);
    let counts = fill(&mut net, 300);
    let (topic, shard) = topic();
    let disk = net.disks.get_mut(&shard).unwrap();
    let (from, next) = disk.damage(topic.as_str(), 10).unwrap();
    let session = net.open(1);
    follow(&mut net, session, 1, Start::Earliest);
    let (read, refusal) = read_to(&mut net, session, counts["cold.1"]);
    let refusal = refusal.unwrap();
    assert_eq!((read, refusal.code), (from, ErrorCode::StorageFailed));
    assert!(refusal.message.contains(&format!("records {from} to {}", next - 1)), "{refusal}");
    follow(&mut net, session, 2, Start::Offset { epoch: 0, offset: next });
    assert_eq!(read_to(&mut net, session, counts["cold.1"]), (counts["cold.1"], None));
}

#[test]
fn a_group_that_comes_to_what_cannot_be_read_ends_alone() {
    let mut net = net(23);
    let counts = fill(&mut net, 300);
    let (topic, shard) = topic();
    let (damaged, next) = net.disks.get_mut(&shard).unwrap().damage(topic.as_str(), 10).unwrap();
    let session = net.open(2);
    create(&mut net, session, &topic, "all", vec![1]);
    create(&mut net, session, &topic, "behind", vec![2, 0, next]);
    consume(&mut net, session, 1, &topic, "all");
    consume(&mut net, session, 2, &topic, "behind");
    let mut done: BTreeMap<u32, u64> = BTreeMap::from([(1, 0), (2, next)]);
    let mut ended = Vec::new();
    for _ in 0..2_000 {
        net.now_ms += 1;
        net.seal();
        net.arrive(true);
        for frame in net.pull(session, usize::MAX) {
            match frame {
                ServerFrame::Leased { sub, deliveries, body, .. } => {
                    for ((offset, _), number) in deliveries.into_iter().zip(numbers(&body)) {
                        assert_eq!((offset, number), (done[&sub], done[&sub]));
                        *done.get_mut(&sub).unwrap() += 1;
                        settle(&mut net, session, sub, SettleOp::Ack, offset);
                    }
                }
                ServerFrame::Error { code, sub: Some(sub), message, .. } => {
                    assert_eq!(code, u64::from(ErrorCode::StorageFailed.number()), "{message}");
                    assert!(message.contains(&format!("offset {next}")), "{message}");
                    ended.push(sub);
                }
                _ => {}
            }
        }
        if ended.len() == 1 && done[&2] == counts["cold.1"] {
            break;
        }
    }
    assert_eq!(ended, [1]);
    assert_eq!((done[&1], done[&2]), (damaged, counts["cold.1"]));
}

#[test]
fn a_dead_letter_that_cannot_be_read_is_tried_now_and_then() {
    let mut net = net(24);
    let counts = fill(&mut net, 300);
    let (topic, shard) = topic();
    let (session, other) = (net.open(2), net.open(1));
    create(&mut net, session, &topic, "workers", vec![1]);
    create(&mut net, session, &topic, "others", vec![2, 0, counts["cold.1"] / 2]);
    consume(&mut net, session, 1, &topic, "workers");
    net.settle();
    net.settle();
    let leased = net.pull(session, usize::MAX);
    assert!(leased.iter().any(|frame| matches!(frame, ServerFrame::Leased { .. })));
    // What another group comes to lets the first records cool again, while they are leased.
    consume(&mut net, other, 1, &topic, "others");
    net.settle();
    net.settle();
    net.disks.get_mut(&shard).unwrap().damage(topic.as_str(), 0).unwrap();
    let before = net.reads;
    net.close(session);
    for _ in 0..300 {
        net.now_ms += 100;
        net.settle();
    }
    let reads = net.reads - before;
    assert!((2..20).contains(&reads), "{reads} reads in 30 s, one in ten seconds or so");
}

/// Makes a group whose records are delivered once, and are dead letters then.
fn create(net: &mut Net, session: SessionId, topic: &Name, group: &str, start: Vec<u64>) {
    let options = GroupOptions {
        start: Some(start),
        deliveries_max: Some(1),
        dead_letter: Some("cold.dead".to_owned()),
        ..GroupOptions::default()
    };
    let (op, topic, group) = (GroupOp::Create, topic.clone(), Name::parse(group).unwrap());
    net.ask(session, ClientFrame::Group { req: 1, topic, group, op, options });
}

fn consume(net: &mut Net, session: SessionId, sub: u32, topic: &Name, group: &str) {
    let (topic, group) = (topic.clone(), Name::parse(group).unwrap());
    let options = ConsumeOptions { in_flight: Some(3) };
    net.request(session, ClientFrame::Consume { req: 2, sub, topic, group, options });
}

fn settle(net: &mut Net, session: SessionId, sub: u32, op: SettleOp, offset: u64) {
    let (offsets, options) = (vec![(offset, offset + 1)], SettleOptions::default());
    net.request(session, ClientFrame::Settle { req: 0, sub, op, offsets, options });
}

#[test]
fn a_group_consumes_what_is_on_disk_and_sends_dead_letters_from_there() {
    let mut net = net(12);
    let counts = fill(&mut net, 300);
    let (topic, _) = topic();
    let session = net.open(2);
    create(&mut net, session, &topic, "workers", vec![1]);
    consume(&mut net, session, 1, &topic, "workers");
    let (mut done, mut refused) = (Vec::new(), 0);
    for _ in 0..3_000 {
        net.now_ms += 1;
        net.seal();
        net.arrive(true);
        for frame in net.pull(session, usize::MAX) {
            let ServerFrame::Leased { deliveries, body, .. } = frame else { continue };
            for ((offset, _), number) in deliveries.into_iter().zip(numbers(&body)) {
                assert_eq!(offset, number);
                let op = if offset % 10 == 0 { SettleOp::Nack } else { SettleOp::Ack };
                refused += u64::from(offset % 10 == 0);
                done.push(offset);
                settle(&mut net, session, 1, op, offset);
            }
        }
        if done.len() as u64 == counts["cold.1"] && net.recalls.is_empty() {
            break;
        }
    }
    assert_eq!(done, (0..counts["cold.1"]).collect::<Vec<u64>>());
    for _ in 0..50 {
        net.settle();
    }
    let (name, options) = (Pattern::parse("cold.dead").unwrap(), SubscribeOptions::default());
    let start = Start::Earliest;
    let frame = ClientFrame::Subscribe { req: 3, sub: 9, pattern: name, start, options };
    net.request(session, frame);
    let mut dead = Vec::new();
    for _ in 0..100 {
        net.settle();
        for frame in net.pull(session, usize::MAX) {
            if let ServerFrame::Deliver { sub: 9, body, .. } = frame {
                dead.extend(numbers(&body));
            }
        }
    }
    dead.sort_unstable();
    assert_eq!(dead, (0..refused).map(|number| number * 10).collect::<Vec<u64>>());
}
