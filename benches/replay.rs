//! Replay: a subscriber that is 1,000 batches behind subscribes, reads up to the end out of the
//! ring, and unsubscribes.

use bytes::Bytes;
use tidewire_core::topic::Policy;
use tidewire_protocol::frame::Start;
use tidewire_protocol::options::{Condition, SubscribeOptions};
use tidewire_protocol::{ClientFrame, Pattern};

use crate::one_core::OneCore;
use crate::records::{encoded, keyed_body, name, publish};
use crate::sink::ByteCount;
use crate::{Operation, Step};

/// Batches to read.
pub const BATCHES: usize = 1_000;
/// Records of each, with the keys `key.0` to `key.7`.
pub const RECORDS_PER_BATCH: usize = 8;
/// First record wanted: within the first batch, whose body is cut for it.
const FROM_OFFSET: u64 = 3;

const RECORDS: u64 = (BATCHES * RECORDS_PER_BATCH) as u64;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "replay/1000_batches",
        elements: RECORDS,
        warm_up: 2,
        counted: 10,
        prepare: || prepare(None),
    },
    Operation {
        name: "replay/1000_batches_filtered",
        elements: RECORDS,
        warm_up: 2,
        counted: 3,
        prepare: || prepare(Some(Condition("key".into(), "eq".into(), Some("key.5".into())))),
    },
];

fn prepare(condition: Option<Condition>) -> Step {
    let topic = name("bench.replay");
    let mut core = OneCore::new(Policy::default());
    // Somebody else follows the topic as well, so the dispatcher keeps its copy between the steps.
    core.subscriber(topic.as_str());
    let publisher = core.connect();
    let frame = publish(&topic, keyed_body(RECORDS_PER_BATCH));
    for _ in 0..BATCHES {
        core.request(publisher, &frame, &mut ByteCount::default());
    }
    let reader = core.connect();
    let [subscribe, unsubscribe] = requests(topic.as_str(), condition);
    Box::new(move |sink| {
        core.request(reader, &subscribe, sink);
        core.request(reader, &unsubscribe, sink);
    })
}

fn requests(topic: &str, condition: Option<Condition>) -> [Bytes; 2] {
    let pattern = Pattern::parse(topic).expect("a valid pattern");
    let start = Start::Offset { epoch: 0, offset: FROM_OFFSET };
    let filter = condition.map(|condition| vec![condition]);
    let options = SubscribeOptions { filter, ..SubscribeOptions::default() };
    [
        encoded(&ClientFrame::Subscribe { req: 1, sub: 1, pattern, start, options }),
        encoded(&ClientFrame::Unsubscribe { req: 2, sub: 1 }),
    ]
}
