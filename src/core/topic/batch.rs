//! A batch: records that were committed together, encoded once and shared by everyone.

use bytes::Bytes;
use tidewire_protocol::Name;
use tidewire_protocol::record::Records;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The records' encodings, one after the other.
    pub body: Bytes,
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

    /// The body from the record with this offset on.
    #[must_use]
    pub fn body_from(&self, offset: u64) -> Bytes {
        let skip = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let skipped: usize =
            Records::of(&self.body).take(skip).map(|record| record.encoded.len()).sum();
        self.body.slice(skipped..)
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { topic, topic_id, shard, epoch, base, count, time_ms, sequence, body } = self;
        hasher.text(topic.as_str());
        hasher.number(*topic_id);
        hasher.number(*shard);
        for number in [epoch, base, count, time_ms, sequence] {
            hasher.number(*number);
        }
        hasher.bytes(body);
    }
}
