//! Appending to topics: publishes collect in open batches, which the end of a round seals.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, CellKind};
use tidewire_protocol::record::Records;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::message::{Event, Origin, Reply};
use super::{Shard, refuse, tell};
use crate::is_durable;
use crate::topic::{Batch, TopicId};

impl Shard {
    pub(super) fn publish(
        &mut self,
        origin: Origin,
        name: &Name,
        ack: AckLevel,
        body: &Bytes,
        count: u64,
        ttl_ms: Option<u64>,
    ) {
        let reply = match self.append(name, ack, body, count, ttl_ms) {
            Ok(_) if ack == AckLevel::None => Reply::Silent,
            Ok((epoch, offset)) => Reply::Published { epoch, offset, level: self.level() },
            Err(refusal) => {
                // It may have been made for this publish.
                self.drop_unused_topic(name);
                Reply::Refused(refusal)
            }
        };
        self.reply(origin, reply);
    }

    /// Appends to the open batch; returns epoch and offset of the first record.
    pub(super) fn append(
        &mut self,
        name: &Name,
        ack: AckLevel,
        body: &Bytes,
        count: u64,
        ttl_ms: Option<u64>,
    ) -> Result<(u64, u64), Refusal> {
        let id = self.topic_id(name)?;
        let batch_bytes_max = self.config.limits.batch_bytes_max;
        let Some(topic) = self.topics.by_id.get(id as usize) else {
            return Err(refuse(ErrorCode::Internal, format!("topic '{name}' has vanished")));
        };
        if ack > topic.policy.ack_max {
            return Err(refuse(
                ErrorCode::AckUnsupported,
                format!(
                    "topic '{name}' acknowledges up to '{}', not '{}': ask for less, or change its policy",
                    topic.policy.ack_max.as_str(),
                    ack.as_str()
                ),
            ));
        }
        self.write_map(id, body, ttl_ms)?;
        let Some(topic) = self.topics.by_id.get(id as usize) else {
            return Err(refuse(ErrorCode::Internal, format!("topic '{name}' has vanished")));
        };
        // A batch leaves as a whole, so it must stay small against what the topic keeps.
        let records_max = (topic.policy.retention_records / 8).max(1);
        if topic.open.count > 0
            && (topic.open.len() + body.len() > batch_bytes_max
                || topic.open.count + count > records_max)
        {
            self.seal_batch(id);
        }
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else {
            return Err(refuse(ErrorCode::Internal, format!("topic '{name}' has vanished")));
        };
        if topic.open.count == 0 {
            self.topics.open.push(id);
        }
        let offset = topic.ring.next() + topic.open.count;
        topic.open.push(body, count);
        topic.active_ms = self.now_ms;
        Ok((topic.epoch, offset))
    }

    /// Writes the newest values into the topic's map; all of the body, or nothing.
    fn write_map(&mut self, id: TopicId, body: &Bytes, ttl_ms: Option<u64>) -> Result<(), Refusal> {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return Ok(()) };
        let Some(map) = &mut topic.map else { return Ok(()) };
        let fresh: BTreeSet<&str> = Records::of(body)
            .filter(|record| record.payload.is_some())
            .filter_map(|record| record.key)
            .filter(|key| map.get(key).is_none())
            .collect();
        if !fresh.is_empty() && map.len() + fresh.len() > topic.policy.map_keys_max {
            return Err(refuse(
                ErrorCode::LimitExceeded,
                format!(
                    "topic '{}' keeps a map of at most {} keys (map_keys_max of its policy): \
                     delete keys with a nil payload, or raise it",
                    topic.name, topic.policy.map_keys_max
                ),
            ));
        }
        let mut written = Vec::new();
        let is_logged = is_durable(self.config.shard);
        let expires_at_ms =
            ttl_ms.filter(|ttl_ms| *ttl_ms > 0).map(|ttl_ms| self.now_ms.saturating_add(ttl_ms));
        for record in Records::of(body) {
            let Some(key) = record.key else { continue };
            let version = self.cells.next_version();
            // The value is copied, so that it does not keep the whole batch in memory.
            let value = record.payload.map(Bytes::copy_from_slice);
            let is_changed = value.is_some() || map.get(key).is_some();
            if is_changed {
                let expires_at_ms = expires_at_ms.filter(|_| value.is_some());
                map.put(key, version, expires_at_ms, value.clone());
            }
            if is_logged && is_changed {
                written.push((Arc::from(key), version, value));
            }
        }
        if map.version() > topic.map_told {
            self.cells.mark(CellKind::Map, &topic.name);
        }
        if is_logged {
            let name = topic.name.clone();
            self.log_map_keys(&name, expires_at_ms, written);
        }
        Ok(())
    }

    pub(super) fn seal_batches(&mut self) {
        for id in core::mem::take(&mut self.topics.open) {
            self.seal_batch(id);
        }
        self.enforce_shard_limits();
    }

    pub(super) fn seal_batch(&mut self, id: TopicId) {
        let sequence = self.topics.log.next();
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        if topic.open.count == 0 {
            return;
        }
        let (body, count) = topic.open.take();
        let batch = Arc::new(Batch {
            topic: topic.name.clone(),
            topic_id: id,
            shard: self.config.shard,
            epoch: topic.epoch,
            base: topic.ring.next(),
            count,
            time_ms: self.now_ms,
            sequence,
            body,
        });
        self.topics.bytes += batch.body.len() as u64;
        self.topics.batches += 1;
        // Both are true by construction: offset and sequence were read from the two just above.
        let appended =
            topic.ring.append(Arc::clone(&batch)) && self.topics.log.append(Arc::clone(&batch));
        debug_assert!(appended, "a batch must continue its topic and its shard");
        let evicted = self.evict_by_policy(id);
        self.schedule_topic(id);
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        let to = topic.followers.union(self.log_followers);
        let event =
            Event::Appended { batch: Arc::clone(&batch), first: topic.ring.first(), evicted };
        tell(&mut self.round.events, to, &event);
        self.log_batch(&batch);
        self.round.batches.push(batch);
    }
}
