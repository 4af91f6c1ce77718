//! Topics of which most is on disk only.

use std::collections::BTreeMap;

use tidewire_core::SHARDS;
use tidewire_core::fanout::FanoutLimits;
use tidewire_core::shard::ShardLimits;
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, GroupOp, SettleOp, Start};
use tidewire_protocol::group::{ConsumeOptions, GroupOptions, SettleOptions};
use tidewire_protocol::options::{PublishOptions, SubscribeOptions};
use tidewire_protocol::record::{BodyBuilder, Records};
use tidewire_protocol::{ClientFrame, Name, Pattern, ServerFrame};

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
        let topic = Name::parse(&format!("cold.{}", net.chance.below(4))).unwrap();
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

#[test]
fn a_group_consumes_what_is_on_disk_and_sends_dead_letters_from_there() {
    let mut net = net(12);
    let counts = fill(&mut net, 300);
    let (topic, group) = (Name::parse("cold.1").unwrap(), Name::parse("workers").unwrap());
    let session = net.open(2);
    let options = GroupOptions {
        start: Some(vec![1]),
        deliveries_max: Some(1),
        dead_letter: Some("cold.dead".to_owned()),
        ..GroupOptions::default()
    };
    let (op, topic_of, group_of) = (GroupOp::Create, topic.clone(), group.clone());
    let frame = ClientFrame::Group { req: 1, topic: topic_of, group: group_of, op, options };
    net.ask(session, frame);
    let options = ConsumeOptions { in_flight: Some(3) };
    let frame = ClientFrame::Consume { req: 2, sub: 1, topic: topic.clone(), group, options };
    net.request(session, frame);
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
                let offsets = vec![(offset, offset + 1)];
                let options = SettleOptions::default();
                net.request(session, ClientFrame::Settle { req: 0, sub: 1, op, offsets, options });
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
