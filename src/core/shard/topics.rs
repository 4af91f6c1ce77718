//! A shard's topics: append, retention, maps, followers.

mod saved;
mod state;

pub(super) use saved::SavedTopics;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, CellKind};
use tidewire_protocol::options::TopicInfo;
use tidewire_protocol::record::Records;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::inventory::TopicEntry;
use super::message::{DispatcherId, Event, Origin, Reply};
use super::open_batch::OpenBatch;
use super::{Dispatchers, Shard, Timer, refuse, tell};
use crate::cell::Keyed;
use crate::topic::{Batch, CommitLog, Policy, Ring, Slot, TopicId};
use crate::{HashMap, hash_map};

/// Tombstones that a map keeps, so that watchers that lag a little get changes, not a snapshot.
const MAP_TOMBSTONES_MAX: usize = 1024;

/// All topics of a shard, and the order in which their batches were committed.
#[derive(Debug)]
pub(super) struct Topics {
    pub(super) by_id: slab::Slab<Topic>,
    ids: HashMap<Name, TopicId>,
    pub(super) log: CommitLog,
    /// Topics that have an open batch in this round.
    open: Vec<TopicId>,
    pub(super) bytes: u64,
    pub(super) batches: usize,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Name,
    pub(super) policy: Policy,
    pub(super) ring: Ring,
    pub(super) open: OpenBatch,
    pub(super) followers: Dispatchers,
    pub(super) map: Option<Keyed>,
    pub(super) map_followers: Dispatchers,
    /// Version up to which the followers of the map have been told.
    pub(super) map_told: u64,
}

impl Topics {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            by_id: slab::Slab::new(),
            ids: hash_map(seed),
            log: CommitLog::default(),
            open: Vec::new(),
            bytes: 0,
            batches: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn batches(&self) -> usize {
        self.batches
    }

    pub(super) fn log_snapshot(&self) -> (u64, Vec<Slot>) {
        (self.log.first(), self.log.iter().map(|(_, slot)| slot.clone()).collect())
    }

    pub(super) fn find(&mut self, name: &Name) -> Option<&mut Topic> {
        let id = *self.ids.get(name)?;
        self.by_id.get_mut(id as usize)
    }

    /// Takes one batch out of a topic's ring and the commit log; returns its sequence.
    pub(super) fn evict(
        &mut self,
        id: TopicId,
        must: impl FnOnce(&mut Ring) -> Option<Arc<Batch>>,
    ) -> Option<u64> {
        let topic = self.by_id.get_mut(id as usize)?;
        let batch = must(&mut topic.ring)?;
        self.bytes -= batch.body.len() as u64;
        self.batches -= 1;
        self.log.remove(batch.sequence);
        Some(batch.sequence)
    }
}

impl Topic {
    pub(super) fn map(&self) -> Option<&Keyed> {
        self.map.as_ref()
    }

    pub(super) fn entry(&self) -> TopicEntry {
        TopicEntry {
            name: self.name.clone(),
            first: self.ring.first(),
            next: self.ring.next() + self.open.count,
            bytes: self.ring.bytes() + self.open.len() as u64,
            batches: self.ring.batches() as u64,
            map_keys: self.map.as_ref().map(Keyed::len),
        }
    }

    fn is_unused(&self) -> bool {
        self.ring.next() == 0
            && self.open.count == 0
            && self.followers.is_empty()
            && self.map_followers.is_empty()
    }
}

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
            Ok(offset) => Reply::Published { epoch: self.config.epoch, offset },
            Err(refusal) => Reply::Refused(refusal),
        };
        self.reply(origin, reply);
    }

    fn append(
        &mut self,
        name: &Name,
        ack: AckLevel,
        body: &Bytes,
        count: u64,
        ttl_ms: Option<u64>,
    ) -> Result<u64, Refusal> {
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
        Ok(offset)
    }

    /// The topic of this name, made if need be.
    fn topic_id(&mut self, name: &Name) -> Result<TopicId, Refusal> {
        if let Some(id) = self.topics.ids.get(name) {
            return Ok(*id);
        }
        self.check_room("topic", name)?;
        let policy = self.config.policies.explain(name).1.clone();
        let map =
            (policy.map_keys_max > 0).then(|| Keyed::new(policy.map_keys_max, MAP_TOMBSTONES_MAX));
        let id = self.topics.by_id.insert(Topic {
            name: name.clone(),
            policy,
            ring: Ring::default(),
            open: OpenBatch::default(),
            followers: Dispatchers::default(),
            map,
            map_followers: Dispatchers::default(),
            map_told: 0,
        });
        let id = TopicId::try_from(id).unwrap_or(TopicId::MAX);
        self.topics.ids.insert(name.clone(), id);
        Ok(id)
    }

    /// Writes the newest values into the topic's map; all of the body, or nothing.
    fn write_map(&mut self, id: TopicId, body: &Bytes, ttl_ms: Option<u64>) -> Result<(), Refusal> {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return Ok(()) };
        let Some(map) = &mut topic.map else { return Ok(()) };
        let fresh: alloc::collections::BTreeSet<&str> = Records::of(body)
            .filter(|record| record.payload.is_some())
            .filter_map(|record| record.key)
            .filter(|key| map.get(key).is_none())
            .collect();
        if map.len() + fresh.len() > topic.policy.map_keys_max {
            return Err(refuse(
                ErrorCode::LimitExceeded,
                format!(
                    "topic '{}' keeps a map of at most {} keys (map_keys_max of its policy): \
                     delete keys with a nil payload, or raise it",
                    topic.name, topic.policy.map_keys_max
                ),
            ));
        }
        let expires_at_ms =
            ttl_ms.filter(|ttl_ms| *ttl_ms > 0).map(|ttl_ms| self.now_ms.saturating_add(ttl_ms));
        for record in Records::of(body) {
            let Some(key) = record.key else { continue };
            let version = self.cells.next_version();
            match record.payload {
                // The value is copied, so that it does not keep the whole batch in memory.
                Some(payload) => {
                    map.set(key, Bytes::copy_from_slice(payload), expires_at_ms, version)?;
                }
                None => {
                    map.remove(key, version);
                }
            }
        }
        if map.version() > topic.map_told {
            self.cells.mark(CellKind::Map, &topic.name);
        }
        self.schedule(expires_at_ms, Timer::MapEntry(id));
        Ok(())
    }

    pub(super) fn seal_batches(&mut self) {
        for id in core::mem::take(&mut self.topics.open) {
            self.seal_batch(id);
        }
        self.enforce_shard_limits();
    }

    fn seal_batch(&mut self, id: TopicId) {
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
            epoch: self.config.epoch,
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
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        if evicted.is_empty() {
            let expiry_ms = topic.ring.next_expiry_ms(&topic.policy);
            if topic.ring.batches() == 1 {
                self.timers.extend(expiry_ms.map(|at_ms| (at_ms, Timer::Retention(id))));
            }
        }
        let to = topic.followers.union(self.log_followers);
        let event =
            Event::Appended { batch: Arc::clone(&batch), first: topic.ring.first(), evicted };
        tell(&mut self.round.events, to, &event);
        self.round.batches.push(batch);
    }

    pub(super) fn follow_topic(&mut self, dispatcher: DispatcherId, name: &Name) -> Event {
        let epoch = self.config.epoch;
        let id = match self.topic_id(name) {
            Ok(id) => id,
            // Beyond the limit on names the topic stays empty; a publish to it is refused, too.
            Err(_refusal) => TopicId::MAX,
        };
        self.seal_batch(id);
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else {
            let (name, batches) = (name.clone(), Vec::new());
            return Event::TopicSnapshot { name, topic_id: id, epoch, next: 0, batches };
        };
        topic.followers.insert(dispatcher);
        let batches = topic.ring.iter().cloned().collect();
        let next = topic.ring.next();
        Event::TopicSnapshot { name: name.clone(), topic_id: id, epoch, next, batches }
    }

    pub(super) fn unfollow_topic(&mut self, dispatcher: DispatcherId, name: &Name) {
        if let Some(topic) = self.topics.find(name) {
            topic.followers.remove(dispatcher);
        }
        self.drop_unused_topic(name);
    }

    /// Forgets a topic that nobody has published to and nobody follows.
    pub(super) fn drop_unused_topic(&mut self, name: &Name) {
        if self.topics.find(name).is_some_and(|topic| topic.is_unused())
            && let Some(id) = self.topics.ids.remove(name)
        {
            self.topics.by_id.remove(id as usize);
        }
    }

    /// The topic whose map is to be read or followed, made if need be.
    pub(super) fn map_topic(&mut self, name: &Name) -> Result<&mut Topic, Refusal> {
        let id = self.topic_id(name)?;
        if self.topics.by_id.get(id as usize).is_none_or(|topic| topic.map.is_none()) {
            self.drop_unused_topic(name);
        }
        let (pattern, _) = self.config.policies.explain(name);
        self.topics.by_id.get_mut(id as usize).filter(|topic| topic.map.is_some()).ok_or_else(
            || {
                let policy = pattern.map_or_else(
                    || "the default policy".into(),
                    |p| format!("the policy for '{p}'"),
                );
                refuse(
                    ErrorCode::Unsupported,
                    format!("topic '{name}' keeps no map: {policy} has map_keys_max 0"),
                )
            },
        )
    }

    pub(super) fn topic_info(&mut self, name: &Name) -> Result<TopicInfo, Refusal> {
        let (pattern, _) = self.config.policies.explain(name);
        let policy = pattern.map_or_else(|| "default".into(), |pattern| pattern.as_str().into());
        let Some(topic) = self.topics.find(name) else {
            return Err(refuse(ErrorCode::NotFound, format!("there is no topic '{name}'")));
        };
        Ok(TopicInfo {
            first: topic.ring.first(),
            next: topic.ring.next() + topic.open.count,
            bytes: topic.ring.bytes() + topic.open.len() as u64,
            batches: topic.ring.batches() as u64,
            policy,
        })
    }
}
