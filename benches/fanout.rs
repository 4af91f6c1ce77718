//! Fan-out: a dispatcher takes in a committed batch and writes it to the sessions that follow its
//! topic: a hundred, and up to a hundred thousand.

use std::sync::Arc;

use tidewire_core::shard::Event;
use tidewire_core::topic::{Batch, Policy};

use crate::one_core::{NOW_MS, OneCore};
use crate::records::{body, name, publish};
use crate::sink::ByteCount;
use crate::{Operation, Step, TIMED_ONLY};

/// Batches that the topic keeps.
const BATCHES: u64 = 16;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "fanout/1_record_to_100",
        elements: 100,
        warm_up: 40,
        counted: 100,
        prepare: || prepare(1, 100),
    },
    Operation {
        name: "fanout/64_records_to_100",
        elements: 64 * 100,
        warm_up: 40,
        counted: 100,
        prepare: || prepare(64, 100),
    },
    Operation {
        name: "fanout/1_record_to_10000",
        elements: 10_000,
        warm_up: 20,
        counted: TIMED_ONLY,
        prepare: || prepare(1, 10_000),
    },
    Operation {
        name: "fanout/1_record_to_100000",
        elements: 100_000,
        warm_up: 20,
        counted: TIMED_ONLY,
        prepare: || prepare(1, 100_000),
    },
];

fn prepare(records: usize, sessions: usize) -> Step {
    let topic = name("bench.fanout");
    let mut core = OneCore::new(Policy::default());
    for _ in 0..sessions {
        core.subscriber(topic.as_str());
    }
    let publisher = core.connect();
    let frame = publish(&topic, body(records));
    core.request(publisher, &frame, &mut ByteCount::default());
    let mut newest = core.newest_batch().map(|batch| Batch::clone(batch)).expect("a batch");
    Box::new(move |sink| {
        newest.base = newest.next();
        newest.sequence += 1;
        let batch = Arc::new(newest.clone());
        let first = batch.next().saturating_sub(BATCHES * batch.count);
        let event = Event::Appended { batch, first, evicted: Vec::new() };
        core.dispatcher.apply(event, NOW_MS);
        core.serve(sink);
    })
}
