//! The batches that are published: records of one size, each with the time that its latency counts
//! from at the head of its payload.

use bytes::Bytes;
use tidewire_client::protocol::options::PublishOptions;
use tidewire_client::{AckLevel, BodyBuilder, ClientFrame, Name};

use super::lean::put_message_head;

/// First byte of a binary message.
const BINARY: u8 = 0x82;
/// The longest request id: its encoding has room for every other.
const WIDEST_REQ: u64 = (1 << 53) - 1;
/// Where a request id of that width stands: behind the array's head, the type and the marker.
const REQ_AT: usize = 3;

/// The shape of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Bytes of each payload; at least eight.
    pub(crate) payload_bytes: usize,
    /// Records.
    pub(crate) records: u32,
}

impl Batch {
    /// Bytes of a record's encoding.
    pub(crate) fn record_bytes(self) -> usize {
        Self { records: 1, ..self }.body(0).len()
    }

    /// The body of a batch whose records count from this time.
    pub(crate) fn body(self, from_ns: u64) -> Bytes {
        let mut payload = vec![0; self.payload_bytes];
        if let Some(stamp) = payload.first_chunk_mut() {
            *stamp = from_ns.to_be_bytes();
        }
        let mut body = BodyBuilder::new();
        for _ in 0..self.records {
            body.push(None, &[], Some(&payload));
        }
        body.finish()
    }
}

/// A PUBLISH as a WebSocket message, encoded once: only the request and the times change.
#[derive(Debug)]
pub(crate) struct Template {
    message: Vec<u8>,
    req_at: usize,
    /// Where the first record's time stands; those of the others follow at this distance.
    stamp_at: usize,
    record_bytes: usize,
    records: usize,
}

impl Template {
    /// Batches of this shape for this topic.
    pub(crate) fn new(batch: Batch, topic: &Name, ack: AckLevel) -> Self {
        let mut frame = Vec::new();
        let body = batch.body(0);
        let publish = ClientFrame::Publish {
            req: WIDEST_REQ,
            topic: topic.clone(),
            ack,
            body: body.clone(),
            options: PublishOptions::default(),
        };
        publish.encode(&mut frame);
        let mut message = Vec::new();
        put_message_head(&mut message, BINARY, frame.len());
        let head = message.len();
        message.extend_from_slice(&frame);
        // A name is text, and a record begins with a byte that text does not.
        let body_at = frame.windows(body.len()).position(|bytes| bytes == body).unwrap_or(0);
        let record_bytes = batch.record_bytes();
        Self {
            message,
            req_at: head + REQ_AT,
            stamp_at: head + body_at + record_bytes - batch.payload_bytes,
            record_bytes,
            records: usize::try_from(batch.records).unwrap_or(usize::MAX),
        }
    }

    /// Appends a batch with this request id whose records count from this time.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, req: u64, from_ns: u64) {
        write_at(&mut self.message, self.req_at, req);
        for record in 0..self.records {
            write_at(&mut self.message, self.stamp_at + record * self.record_bytes, from_ns);
        }
        out.extend_from_slice(&self.message);
    }
}

fn write_at(bytes: &mut [u8], at: usize, number: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_client::protocol::record::Records;

    #[test]
    fn a_template_is_the_frame_that_encoding_makes() {
        for (payload_bytes, records) in [(8, 1), (128, 3), (300, 2), (70_000, 1)] {
            let batch = Batch { payload_bytes, records };
            let topic = Name::parse("bench.t").unwrap();
            let mut template = Template::new(batch, &topic, AckLevel::Memory);
            let mut out = vec![7];
            template.put(&mut out, 5, 0xc0ff_ee00_1234_5678);
            let publish = ClientFrame::Publish {
                req: 5,
                topic,
                ack: AckLevel::Memory,
                body: batch.body(0xc0ff_ee00_1234_5678),
                options: PublishOptions::default(),
            };
            let frame = out[1 + out.len() - 1 - frame_len(&template)..].to_vec();
            assert_eq!(ClientFrame::decode(&frame.into()), Ok(publish));
        }
    }

    fn frame_len(template: &Template) -> usize {
        template.message.len() - template.req_at + REQ_AT
    }

    #[test]
    fn records_are_of_the_size_that_is_counted_with() {
        let batch = Batch { payload_bytes: 300, records: 4 };
        let body = batch.body(9);
        assert_eq!(body.len(), 4 * batch.record_bytes());
        let stamps: Vec<&[u8]> =
            Records::of(&body).map(|record| &record.payload.unwrap()[..8]).collect();
        assert_eq!(stamps, [9_u64.to_be_bytes(); 4]);
    }
}
