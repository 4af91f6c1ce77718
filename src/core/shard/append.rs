//! Appending to topics: publishes collect in open batches, which the end of a round seals.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, CellKind};
use tidewire_protocol::record::Records;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::log::LogEntry;
use super::message::{Event, Origin, Reply, Terms};
use super::{Shard, refuse};
use crate::is_durable;
use crate::topic::{Batch, Place, TopicId};

/// One publish, as a topic takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Append<'a> {
    pub(super) ack: AckLevel,
    pub(super) body: &'a Bytes,
    pub(super) count: u64,
    pub(super) terms: &'a Terms,
}

/// Where a publish stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    pub(super) place: Place,
    /// It stood there before.
    pub(super) duplicate: bool,
    /// The acknowledgement that it gets.
    pub(super) ack: AckLevel,
}

impl Shard {
    pub(super) fn publish(&mut self, origin: Origin, name: &Name, publish: Append<'_>) {
        match self.append(name, publish) {
            Ok(appended) => self.acknowledge_one(origin, appended),
            Err(refusal) => {
                // It may have been made for this publish.
                self.drop_unused_topic(name);
                self.reply(origin, Reply::Refused(refusal));
            }
        }
    }

    /// Replies to a publish: when it is as safe as was asked for, which may be before the round is
    /// committed.
    pub(super) fn acknowledge_one(&mut self, origin: Origin, appended: Appended) {
        let Appended { place: Place { epoch, offset }, duplicate, ack } = appended;
        let level = self.level();
        let reply = match ack {
            AckLevel::None => Reply::Silent,
            AckLevel::Memory if level > AckLevel::Memory => {
                // Its place is not certain before the commit.
                let (offset, level) = (None, AckLevel::Memory);
                let reply = Reply::Published { epoch, offset, level, duplicate };
                let Origin { session, stream, req } = origin;
                let event = Event::Reply { session, stream, req, reply };
                return self.round.early.push((session.dispatcher, event));
            }
            AckLevel::Memory | AckLevel::Disk | AckLevel::Quorum | AckLevel::Policy => {
                Reply::Published { epoch, offset: Some(offset), level, duplicate }
            }
        };
        self.reply(origin, reply);
    }

    /// Appends to the open batch, unless the producer's publish stands in the topic already.
    pub(super) fn append(&mut self, name: &Name, publish: Append<'_>) -> Result<Appended, Refusal> {
        let Append { ack, count, terms, .. } = publish;
        let id = self.topic_id(name)?;
        let ack = self.check_ack(id, ack)?;
        let (limits, now_ms) = (self.config.limits.producers, self.now_ms);
        if let Some(step) = terms.step
            && let Some(place) = self.producers.check(name, step, &limits, now_ms)?
        {
            // It may have been made for this publish.
            self.drop_unused_topic(name);
            return Ok(Appended { place, duplicate: true, ack });
        }
        if let Some(expected) = &terms.expected {
            self.check_expected(id, expected)?;
        }
        let place = self.append_new(id, &publish)?;
        if let Some(step) = terms.step {
            self.producers.record(name, step, place, count, &limits, now_ms);
            self.log(|| LogEntry::Produced { topic: name.clone(), step, place, count });
        }
        Ok(Appended { place, duplicate: false, ack })
    }

    /// The acknowledgement that a publish gets, if the topic offers it.
    fn check_ack(&self, id: TopicId, ack: AckLevel) -> Result<AckLevel, Refusal> {
        let Some(topic) = self.topics.by_id.get(id as usize) else { return Ok(ack) };
        if ack == AckLevel::Policy {
            return Ok(topic.policy.ack_default);
        }
        if ack <= topic.policy.ack_max {
            return Ok(ack);
        }
        Err(refuse(
            ErrorCode::AckUnsupported,
            format!(
                "topic '{}' acknowledges up to '{}', not '{}': ask for less, or change its policy",
                topic.name,
                topic.policy.ack_max.as_str(),
                ack.as_str()
            ),
        ))
    }

    fn append_new(&mut self, id: TopicId, publish: &Append<'_>) -> Result<Place, Refusal> {
        let Append { body, count, terms, .. } = *publish;
        let batch_bytes_max = self.config.limits.batch_bytes_max;
        let vanished = || refuse(ErrorCode::Internal, format!("topic {id} has vanished"));
        self.write_map(id, body, terms.ttl_ms)?;
        let topic = self.topics.by_id.get(id as usize).ok_or_else(vanished)?;
        // A batch leaves as a whole, so it must stay small against what the topic keeps.
        let records_max = (topic.policy.retention_records / 8).max(1);
        if topic.open.count > 0
            && (topic.open.len() + body.len() > batch_bytes_max
                || topic.open.count + count > records_max)
        {
            self.seal_batch(id);
        }
        let topic = self.topics.by_id.get_mut(id as usize).ok_or_else(vanished)?;
        if topic.open.count == 0 {
            self.topics.open.push(id);
        }
        let offset = topic.ring.next() + topic.open.count;
        topic.open.push(body, count);
        topic.active_ms = self.now_ms;
        Ok(Place { epoch: topic.epoch, offset })
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
        self.enforce_tenant_limits();
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
            body: body.into(),
        });
        self.topics.bytes += batch.body.len() as u64;
        self.topics.warm_bytes += batch.body.len() as u64;
        self.topics.batches += 1;
        // Both are true by construction: offset and sequence were read from the two just above.
        let appended =
            topic.ring.append(Arc::clone(&batch)) && self.topics.log.append(Arc::clone(&batch));
        debug_assert!(appended, "a batch must continue its topic and its shard");
        let (tenant, bytes) = (topic.tenant, batch.body.len() as u64);
        self.topics.census.appended(tenant, (batch.sequence, bytes), &self.topics.log);
        let evicted = self.evict_by_policy(id);
        self.schedule_topic(id);
        self.offer_later(id);
        self.tell_appended(id, &batch, evicted);
        self.log_batch(&batch);
        self.round.batches.push(batch);
    }
}
