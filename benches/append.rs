//! Append: the bytes of a PUBLISH frame are decoded and validated, appended by the topic's shard,
//! committed as a batch and acknowledged.

use bytes::Bytes;
use tidewire_core::topic::Policy;

use crate::one_core::OneCore;
use crate::records::{body, name, publish};
use crate::{Operation, Step};

/// Records that the topic keeps. The warm-up fills it, so that every append lets old ones go.
const RETENTION_RECORDS: u64 = 256;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "append/1_record",
        elements: 1,
        warm_up: 600,
        counted: 1_000,
        prepare: || prepare(1),
    },
    Operation {
        name: "append/64_records",
        elements: 64,
        warm_up: 20,
        counted: 200,
        prepare: || prepare(64),
    },
    Operation {
        name: "append/64_frames_of_one_read",
        elements: 64,
        warm_up: 20,
        counted: 200,
        prepare: || prepare_read(64),
    },
];

fn prepare(records: usize) -> Step {
    let policy = Policy { retention_records: RETENTION_RECORDS, ..Policy::default() };
    let mut core = OneCore::new(policy);
    let publisher = core.connect();
    let frame = publish(&name("bench.append"), body(records));
    Box::new(move |sink| core.request(publisher, &frame, sink))
}

/// So many frames of one record each, as they come with one read of a socket.
fn prepare_read(frames: usize) -> Step {
    let policy = Policy { retention_records: RETENTION_RECORDS, ..Policy::default() };
    let mut core = OneCore::new(policy);
    let publisher = core.connect();
    let message: Bytes = publish(&name("bench.append"), body(1)).repeat(frames).into();
    Box::new(move |sink| core.read(publisher, message.clone(), sink))
}
