//! What leaves a shard: batches beyond their policy or the shard's bounds, entries of maps.

use alloc::vec::Vec;

use tidewire_protocol::frame::CellKind;

use super::message::Event;
use super::{Shard, Timer, tell};
use crate::topic::{Ring, TopicId};

impl Shard {
    /// Removes what the topic's policy does not keep; returns the sequences.
    pub(super) fn evict_by_policy(&mut self, id: TopicId) -> Vec<u64> {
        let Some(policy) = self.topics.by_id.get(id as usize).map(|topic| topic.policy.clone())
        else {
            return Vec::new();
        };
        let now_ms = self.now_ms;
        core::iter::from_fn(|| self.topics.evict(id, |ring| ring.evict(&policy, now_ms))).collect()
    }

    pub(super) fn expire_batches(&mut self, id: TopicId) {
        let evicted = self.evict_by_policy(id);
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        let next_ms = topic.ring.next_expiry_ms(&topic.policy);
        self.tell_trimmed(id, evicted);
        self.schedule(next_ms, Timer::Retention(id));
    }

    /// Removes the oldest batches of the whole shard while it holds more than it may.
    pub(super) fn enforce_shard_limits(&mut self) {
        let limits = &self.config.limits;
        let (batches_max, bytes_max) = (limits.batches_max, limits.bytes_max);
        while self.topics.log.len() > batches_max || self.topics.bytes > bytes_max {
            let Some(id) = self.topics.log.oldest().map(|batch| batch.topic_id) else { return };
            let Some(sequence) = self.topics.evict(id, Ring::pop) else { return };
            self.tell_trimmed(id, Vec::from([sequence]));
        }
    }

    pub(super) fn tell_trimmed(&mut self, id: TopicId, evicted: Vec<u64>) {
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        if evicted.is_empty() {
            return;
        }
        let to = topic.followers.union(self.log_followers);
        let (shard, first) = (self.config.shard, topic.ring.first());
        let event = Event::Trimmed { shard, topic_id: id, first, evicted };
        tell(&mut self.round.events, to, &event);
    }

    pub(super) fn expire_map_entries(&mut self, id: TopicId) {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let Some(map) = &mut topic.map else { return };
        while let Some(key) = map.expired(self.now_ms) {
            map.remove(&key, self.cells.next_version());
        }
        if map.version() > topic.map_told {
            self.cells.mark(CellKind::Map, &topic.name);
        }
        let next_ms = map.next_expiry_ms();
        self.schedule(next_ms, Timer::MapEntry(id));
    }
}
