//! The operations do what their names say: a figure of something that is refused is no figure.
#![allow(
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewire_benches::{Operation, operations};
use tidewire_core::fanout::{Lane, Sink};
use tidewire_protocol::frame::split_first;
use tidewire_protocol::{ServerFrame, record::Records};

/// Steps before the one that is looked at.
const STEPS_BEFORE: usize = 3;

/// An operation, the frames that one step sends, by type, and the records in them.
type Expected = (&'static str, &'static [(&'static str, usize)], usize);

/// What one step sends: frames by type, and records in DELIVER.
type Sent = (BTreeMap<&'static str, usize>, usize);

#[derive(Default)]
struct Frames(Vec<ServerFrame>);

impl Frames {
    fn take(&mut self, frame: &[u8]) {
        self.0.push(ServerFrame::decode(&Bytes::copy_from_slice(frame)).expect("a valid frame"));
    }
}

impl Sink for Frames {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        let mut rest = Bytes::copy_from_slice(frames);
        while !rest.is_empty() {
            let frame = split_first(&mut rest).expect("an intact frame");
            self.take(&frame);
        }
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        self.take(&[head, shared].concat());
    }

    fn finish(&mut self, _sub: u32) {}
}

fn sent(operation: &Operation) -> Sent {
    let mut step = (operation.prepare)();
    let mut frames = Frames::default();
    for _ in 0..STEPS_BEFORE {
        step(&mut frames);
    }
    frames.0.clear();
    step(&mut frames);
    let mut types = BTreeMap::new();
    let mut records = 0;
    for frame in &frames.0 {
        *types.entry(name(frame)).or_default() += 1;
        if let ServerFrame::Deliver { body, .. } = frame {
            records += Records::of(body).count();
        }
    }
    (types, records)
}

fn name(frame: &ServerFrame) -> &'static str {
    match frame {
        ServerFrame::Counted { duplicate: false, .. } => "COUNTED",
        ServerFrame::Deliver { .. } => "DELIVER",
        ServerFrame::Ok { .. } => "OK",
        ServerFrame::PubAck { .. } => "PUBACK",
        ServerFrame::Subscribed { .. } => "SUBSCRIBED",
        ServerFrame::Update { .. } => "UPDATE",
        // A ballot that replaces an earlier one is the costlier case; both change the tally.
        ServerFrame::Voted { status: 0 | 1, .. } => "VOTED",
        _ => "unexpected",
    }
}

#[test]
fn every_operation_sends_what_its_name_says_and_nothing_else() {
    let seen: BTreeMap<&str, Sent> =
        operations().map(|operation| (operation.name, sent(operation))).collect();
    let expected: [Expected; 21] = [
        ("append/1_record", &[("PUBACK", 1)], 0),
        ("append/64_records", &[("PUBACK", 1)], 0),
        ("append/64_frames_of_one_read", &[("PUBACK", 64)], 0),
        ("cells/counter_increment", &[("COUNTED", 1), ("UPDATE", 1)], 0),
        ("cells/map_key", &[("PUBACK", 1), ("UPDATE", 1)], 0),
        ("cells/tally_vote", &[("VOTED", 1), ("UPDATE", 1)], 0),
        // What nodes tell each other goes to no session.
        ("eventual/add", &[], 0),
        ("eventual/add_by_session", &[], 0),
        ("eventual/add_by_session_and_merge", &[], 0),
        ("fanout/1_record_to_100", &[("DELIVER", 100)], 100),
        ("fanout/64_records_to_100", &[("DELIVER", 100)], 6_400),
        ("fanout/1_record_to_10000", &[("DELIVER", 10_000)], 10_000),
        ("fanout/1_record_to_100000", &[("DELIVER", 100_000)], 100_000),
        // A lookup sends nothing; what it finds is tested beside it.
        ("patterns/lookup_among_10000", &[], 0),
        ("patterns/everything_of_100000_topics", &[("DELIVER", 1)], 1),
        ("patterns/everything_of_1_topic", &[("DELIVER", 1)], 1),
        ("patterns/everything_of_1_topic_to_1000", &[("DELIVER", 1_000)], 1_000),
        ("patterns/everything_of_1000000_topics", &[("DELIVER", 1)], 1),
        ("patterns/everything_of_1000000_topics_to_1000", &[("DELIVER", 1_000)], 1_000),
        ("replay/1000_batches", &[("SUBSCRIBED", 1), ("DELIVER", 1_000), ("OK", 1)], 7_997),
        (
            "replay/1000_batches_filtered",
            &[("SUBSCRIBED", 1), ("DELIVER", 1_000), ("OK", 1)],
            1_000,
        ),
    ];
    let expected = expected
        .map(|(operation, types, records)| (operation, (types.iter().copied().collect(), records)));
    assert_eq!(seen, BTreeMap::from(expected));
}
