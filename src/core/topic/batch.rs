//! A batch: records that were committed together, encoded once and shared by everyone.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;
use tidewire_protocol::record::Records;

use super::Body;
use crate::state_hash::StateHasher;

/// A topic's number within its shard.
pub type TopicId = u32;

/// One life of a topic: when a topic is removed its number is used again, but never with the same
/// epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    /// The topic's number within its shard.
    pub id: TopicId,
    /// Epoch of its offsets.
    pub epoch: u64,
}

/// Records of one topic that were appended together.
///
/// The body is the publishers' own encoding. Every subscriber, on every core, gets these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The topic.
    pub topic: Name,
    /// The topic's number within its shard.
    pub topic_id: TopicId,
    /// The shard that committed it.
    pub shard: u16,
    /// Epoch of the offsets.
    pub epoch: u64,
    /// Offset of the first record.
    pub base: u64,
    /// Number of records.
    pub count: u64,
    /// Append time, Unix milliseconds; never decreases within a shard.
    pub time_ms: u64,
    /// Place in the shard's commit order.
    pub sequence: u64,
    /// The records.
    pub body: Body,
}

impl Batch {
    /// Offset behind the last record.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.base + self.count
    }

    /// The life of the topic that it belongs to.
    #[must_use]
    pub fn key(&self) -> TopicKey {
        TopicKey { id: self.topic_id, epoch: self.epoch }
    }

    /// The records with this offset and behind it, of a body of this batch.
    #[must_use]
    #[inline]
    pub fn records_from(&self, body: &Bytes, offset: u64) -> Bytes {
        if offset <= self.base {
            return body.clone();
        }
        let skip = usize::try_from(offset - self.base).unwrap_or(usize::MAX);
        let skipped: usize = Records::of(body).take(skip).map(|record| record.encoded.len()).sum();
        body.slice(skipped..)
    }

    /// The same batch with its records on disk only.
    #[must_use]
    pub fn cooled(&self) -> Self {
        let bytes = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        Self { topic: self.topic.clone(), body: Body::Cold(bytes), ..*self }
    }

    /// The same batch with its records in memory; `None` if these are not its records.
    #[must_use]
    pub fn warmed(&self, body: Bytes) -> Option<Self> {
        (body.len() == self.body.len()).then(|| Self {
            topic: self.topic.clone(),
            body: Body::Warm(body),
            ..*self
        })
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { topic, topic_id, shard, epoch, base, count, time_ms, sequence, body } = self;
        hasher.text(topic.as_str());
        hasher.number(*topic_id);
        hasher.number(*shard);
        for number in [epoch, base, count, time_ms, sequence] {
            hasher.number(*number);
        }
        match body {
            Body::Warm(bytes) => hasher.bytes(bytes),
            Body::Cold(bytes) => hasher.number(*bytes),
        }
    }
}
