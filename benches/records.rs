//! Names, records and frames that the operations work with.

use bytes::Bytes;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::options::PublishOptions;
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::{ClientFrame, Name};

/// Payload of a record in bytes: what the figures in `docs/benchmarks.md` use as well.
pub const PAYLOAD_BYTES: usize = 128;

/// A valid name.
#[must_use]
pub fn name(raw: &str) -> Name {
    Name::parse(raw).expect("a valid name")
}

/// A body of so many records without keys.
#[must_use]
pub fn body(records: usize) -> Bytes {
    let mut body = BodyBuilder::new();
    for _ in 0..records {
        body.push(None, &[], Some(&[7; PAYLOAD_BYTES]));
    }
    body.finish()
}

/// A body of so many records, each with a key of its own: `key.0`, `key.1` and so on.
#[must_use]
pub fn keyed_body(records: usize) -> Bytes {
    let mut body = BodyBuilder::new();
    for index in 0..records {
        body.push(Some(&format!("key.{index}")), &[], Some(&[7; PAYLOAD_BYTES]));
    }
    body.finish()
}

/// A PUBLISH of this body, to be acknowledged.
#[must_use]
pub fn publish(topic: &Name, body: Bytes) -> Bytes {
    encoded(&ClientFrame::Publish {
        req: 1,
        topic: topic.clone(),
        ack: AckLevel::Memory,
        body,
        options: PublishOptions::default(),
    })
}

/// A frame as it arrives.
#[must_use]
pub fn encoded(frame: &ClientFrame) -> Bytes {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes.into()
}
