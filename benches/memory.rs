//! `memory [COUNT] [WORD]`: bytes on the heap that one of each thing takes, as the average over COUNT
//! of them (1,000,000); of each whose name holds WORD, if it is given. Counted as asked for; what an
//! allocator adds by rounding up is not in it.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(clippy::expect_used, reason = "what cannot be prepared is to stop the program at once")]

use std::sync::Arc;

use bytes::Bytes;
use tidewire_benches::one_core::OneCore;
use tidewire_benches::records::{body, encoded, name, publish};
use tidewire_benches::sink::ByteCount;
use tidewire_core::SHARDS;
use tidewire_core::shard::{
    Command, Origin, Request, SessionId, Shard, ShardConfig, ShardLimits, Terms,
};
use tidewire_core::topic::{EXTENT_BYTES, Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CounterOp, Start, TallyOp};
use tidewire_protocol::options::{CounterOptions, PublishOptions, SubscribeOptions};
use tidewire_protocol::record::{BodyBuilder, payload_body};
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{ClientFrame, Pattern};

/// Records of a batch that a publisher sends together.
const RECORDS_PER_BATCH: u64 = 64;
/// Records of 128 bytes in a part of the journal.
const RECORDS_PER_EXTENT: u64 = 2_048;
/// Options of the tallies, and choices of a ranked ballot.
const OPTIONS: u64 = 35;
const RANKS: u64 = 3;

/// One line of the report.
struct Row {
    what: &'static str,
    /// How many are made for each that is asked for, in thousandths.
    share: u64,
    /// Makes so many and returns the bytes that they take.
    take: fn(u64) -> i64,
}

const ROWS: &[Row] = &[
    Row { what: "topic with one record of 7 bytes", share: 1000, take: topics },
    Row { what: "  the same under a '>', more on each core", share: 1000, take: topics_under_all },
    Row { what: "  the same followed by name, more on each core", share: 1000, take: topic_copies },
    Row { what: "record of 128 bytes, published alone", share: 1000, take: |n| records(n, 1) },
    Row {
        what: "record of 128 bytes, 64 in a publish",
        share: 1000,
        take: |n| records(n, RECORDS_PER_BATCH),
    },
    Row { what: "the same on disk only, published alone", share: 1000, take: cold_records },
    Row { what: "counter", share: 1000, take: counters },
    Row { what: "key of a map, 32 bytes of value", share: 1000, take: map_keys },
    Row { what: "voter of a single-choice tally", share: 1000, take: |n| voters(n, 1) },
    Row { what: "voter of a ranked tally, 3 choices", share: 1000, take: |n| voters(n, RANKS) },
    Row { what: "connection without subscriptions", share: 1000, take: connections },
    Row { what: "connection that follows a topic", share: 1000, take: |n| followers(n, "news") },
    Row { what: "one more topic that a connection follows", share: 1000, take: subscriptions },
    Row { what: "connection that follows '>'", share: 100, take: |n| followers(n, ">") },
];

fn main() {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse::<u64>());
    let count = count.expect("COUNT is a number");
    let word = std::env::args().nth(2).unwrap_or_default();
    println!("{:<50} {:>10} {:>8}", "", "counted", "bytes");
    for Row { what, share, take } in ROWS.iter().filter(|row| row.what.contains(&word)) {
        let count = (count * share / 1000).max(1);
        let bytes = take(count);
        let each = bytes as f64 / count as f64;
        println!("{what:<50} {count:>10} {each:>8.0}");
    }
}

/// Bytes that something leaves on the heap. What it works on is dropped by its caller, afterwards.
fn left_by(something: impl FnOnce()) -> i64 {
    allocation_counter::measure(something).bytes_current
}

/// A core that keeps everything, with a client.
fn core() -> (OneCore, SessionId) {
    let limits = ShardLimits {
        names_max: usize::MAX,
        batches_max: usize::MAX,
        bytes_max: u64::MAX,
        voters_max: usize::MAX,
        ..ShardLimits::default()
    };
    let policy = Policy {
        retention_records: u64::MAX,
        retention_bytes: u64::MAX,
        map_keys_max: 0,
        ..Policy::default()
    };
    let mut core = OneCore::with_limits(policy, limits);
    let client = core.connect();
    (core, client)
}

fn send(core: &mut OneCore, client: SessionId, frame: &Bytes) {
    core.request(client, frame, &mut ByteCount::default());
}

fn publish_to_each(core: &mut OneCore, client: SessionId, topics: u64) {
    for topic in 0..topics {
        send(
            core,
            client,
            &publish(&name(&format!("site.{topic}.news")), payload_body(b"payload")),
        );
    }
}

/// What is left in memory of records that are read from the journal when somebody comes to them.
fn cold_records(count: u64) -> i64 {
    let policy = Policy {
        retention_records: u64::MAX,
        retention_bytes: u64::MAX,
        ack_max: AckLevel::Disk,
        ..Policy::default()
    };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    let limits = ShardLimits { batches_max: usize::MAX, bytes_max: 0, ..ShardLimits::default() };
    let mut shard = Shard::new(ShardConfig { shard: SHARDS, epoch: 1, seed: 1, policies, limits });
    let session = SessionId { dispatcher: 0, slot: 0, generation: 0 };
    let publish = Request::Publish {
        topic: name("news"),
        ack: AckLevel::Disk,
        body: payload_body(&[b'x'; 128]),
        count: 1,
        terms: Terms::default(),
    };
    left_by(|| {
        for number in 1..=count {
            let origin = Origin { session, stream: 0, req: 1 };
            shard.handle(Command::Request(origin, publish.clone()), 1);
            drop(shard.seal());
            if number % RECORDS_PER_EXTENT == 0 {
                let (next_block, bytes) = (number / RECORDS_PER_EXTENT, EXTENT_BYTES);
                shard.handle(Command::Stored { next_sequence: number, next_block, bytes }, 1);
                drop(shard.seal());
            }
        }
    })
}

fn topics(count: u64) -> i64 {
    let (mut core, client) = core();
    left_by(|| publish_to_each(&mut core, client, count))
}

/// The copy of the commit logs, and what is remembered of each topic: which patterns match it.
fn topics_under_all(count: u64) -> i64 {
    let with_follower = {
        let (mut core, client) = core();
        left_by(|| {
            core.subscriber(">");
            publish_to_each(&mut core, client, count);
        })
    };
    with_follower - topics(count)
}

/// The copy of a topic that a dispatcher keeps for its followers.
fn topic_copies(count: u64) -> i64 {
    let (mut core, client) = core();
    publish_to_each(&mut core, client, count);
    let copied = left_by(|| {
        for topic in 0..count {
            core.subscriber(&format!("site.{topic}.news"));
        }
    });
    copied - followers(count, "news")
}

fn records(count: u64, per_batch: u64) -> i64 {
    let (mut core, client) = core();
    let frame = publish(&name("news"), body(usize::try_from(per_batch).unwrap_or(1)));
    left_by(|| (0..count / per_batch).for_each(|_| send(&mut core, client, &frame)))
}

fn counters(count: u64) -> i64 {
    let (mut core, client) = core();
    left_by(|| {
        for number in 0..count {
            let counter = name(&format!("site.{number}.likes"));
            let (op, options) = (CounterOp::Add, CounterOptions::default());
            let frame = ClientFrame::Incr { req: 1, counter, op, operand: 1, options };
            send(&mut core, client, &encoded(&frame));
        }
    })
}

/// Of the map alone: the topic keeps the last of the records.
fn map_keys(count: u64) -> i64 {
    let keys_max = usize::try_from(count).unwrap_or(usize::MAX);
    let policy = Policy { retention_records: 1, map_keys_max: keys_max, ..Policy::default() };
    let mut core = OneCore::new(policy);
    let client = core.connect();
    let topic = name("prices");
    left_by(|| {
        for key in 0..count {
            let mut body = BodyBuilder::new();
            body.push(Some(&format!("key.{key}")), &[], Some(&[7; 32]));
            let (ack, options) = (AckLevel::Memory, PublishOptions::default());
            let topic = topic.clone();
            let frame = ClientFrame::Publish { req: 1, topic, ack, body: body.finish(), options };
            send(&mut core, client, &encoded(&frame));
        }
    })
}

fn voters(count: u64, choices: u64) -> i64 {
    let (mut core, client) = core();
    let tally = name("election");
    let options = (0..OPTIONS).map(|option| format!("candidate {option}")).collect();
    let rules = match choices {
        1 => TallyRules::new(TallyKind::Single, options),
        _ => {
            TallyRules { choices_max: Some(choices), ..TallyRules::new(TallyKind::Ranked, options) }
        }
    };
    let (op, rules) = (TallyOp::Create, Some(rules));
    let create = ClientFrame::Tally { req: 1, op, tally: tally.clone(), rules };
    send(&mut core, client, &encoded(&create));
    left_by(|| {
        for voter in 0..count {
            let choice = |rank| Choice::Index((voter.wrapping_mul(7) + rank) % OPTIONS);
            let frame = ClientFrame::Vote {
                req: 1,
                tally: tally.clone(),
                voter: format!("voter {voter}"),
                choices: (0..choices).map(choice).collect(),
                revision: None,
            };
            send(&mut core, client, &encoded(&frame));
        }
    })
}

fn connections(count: u64) -> i64 {
    let (mut core, _) = core();
    left_by(|| {
        for _ in 0..count {
            core.connect();
        }
    })
}

/// Connections with one subscription each, on what somebody follows already.
fn followers(count: u64, pattern: &str) -> i64 {
    let (mut core, _) = core();
    core.subscriber(pattern);
    left_by(|| {
        for _ in 0..count {
            core.subscriber(pattern);
        }
    })
}

/// Topics that others follow already, as many to a connection as it may have.
fn subscriptions(count: u64) -> i64 {
    let (mut core, _) = core();
    let per_connection = 4_096.min(count);
    let topic = |number: u64| Pattern::parse(&format!("site.{number}.news")).expect("a pattern");
    for number in 0..per_connection {
        core.subscriber(topic(number).as_str());
    }
    let clients: Vec<SessionId> =
        (0..count.div_ceil(per_connection)).map(|_| core.connect()).collect();
    left_by(|| {
        for client in &clients {
            for number in 0..per_connection {
                let frame = ClientFrame::Subscribe {
                    req: 1,
                    sub: u32::try_from(number).unwrap_or(u32::MAX) + 1,
                    pattern: topic(number),
                    start: Start::Latest,
                    options: SubscribeOptions::default(),
                };
                send(&mut core, *client, &encoded(&frame));
            }
        }
    })
}
