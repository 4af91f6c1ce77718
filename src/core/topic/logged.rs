//! A batch as it is logged.

use alloc::borrow::Cow;
use alloc::sync::Arc;

use bytes::Bytes;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidewire_protocol::Name;
use tidewire_protocol::record::Records;

use super::Batch;

/// A batch in the form that is stored. Its shard is that of the log, and the number of its topic
/// is given anew when it is read; both are 0 then.
#[derive(Clone, Debug)]
pub struct LoggedBatch(pub Arc<Batch>);

/// Topic, epoch, base, count, time, sequence, body.
#[derive(Serialize, Deserialize)]
struct Stored<'a>(Cow<'a, Name>, u64, u64, u64, u64, u64, Cow<'a, Bytes>);

impl Serialize for LoggedBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Batch { topic, topic_id: _, shard: _, epoch, base, count, time_ms, sequence, body } =
            &*self.0;
        let missing = || S::Error::custom("the records of a batch are not in memory");
        let body = body.warm().ok_or_else(missing)?;
        let (topic, body) = (Cow::Borrowed(topic), Cow::Borrowed(body));
        Stored(topic, *epoch, *base, *count, *time_ms, *sequence, body).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LoggedBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored(topic, epoch, base, count, time_ms, sequence, body) =
            Stored::deserialize(deserializer)?;
        let (topic, body) = (topic.into_owned(), body.into_owned());
        let (mut found, mut bytes) = (0_u64, 0);
        for record in Records::of(&body) {
            found += 1;
            bytes += record.encoded.len();
        }
        if found != count || bytes != body.len() || base.checked_add(count).is_none() {
            return Err(D::Error::custom("the records of a batch are not whole"));
        }
        let (topic_id, shard) = (0, 0);
        Ok(Self(Arc::new(Batch {
            topic,
            topic_id,
            shard,
            epoch,
            base,
            count,
            time_ms,
            sequence,
            body: body.into(),
        })))
    }
}
