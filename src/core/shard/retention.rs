//! What leaves a shard: batches beyond their policy or the shard's bounds, entries of maps, topics
//! that are idle.

use alloc::vec::Vec;

use tidewire_protocol::frame::CellKind;

use super::log::LogEntry;
use super::message::Event;
use super::topics::Topic;
use super::{Shard, Timer, tell};
use crate::is_durable;
use crate::topic::{Ring, TopicId};

/// Idle topics, and batches in them, that one call of `handle_timeout` removes: however many are
/// idle at once, commands do not wait for all of them.
pub(super) const REMOVALS_PER_TIMEOUT: usize = 1024;

impl Topic {
    /// When something in it is due next.
    fn due_ms(&self) -> Option<u64> {
        let batches_ms = self.ring.next_expiry_ms(&self.policy);
        let entries_ms = self.map().and_then(|map| map.next_expiry_ms());
        let due_ms = [batches_ms, entries_ms, self.idle_at_ms(), self.groups_due_ms()];
        due_ms.into_iter().flatten().min()
    }

    /// When it has been idle for as long as its policy allows. Somebody who follows it by name
    /// keeps it.
    fn idle_at_ms(&self) -> Option<u64> {
        let timeout_ms = self.policy.idle_timeout_ms?;
        let is_idle = !self.is_followed() && self.open.count == 0;
        is_idle.then(|| self.active_ms.saturating_add(timeout_ms))
    }
}

impl Shard {
    /// Sets the topic's timer, of which there is one. A timer that fires before anything is due
    /// is set again then: that costs less than moving it with each publish.
    pub(super) fn schedule_topic(&mut self, id: TopicId) {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let Some(due_ms) = topic.due_ms() else { return };
        match topic.timer_ms {
            Some(at_ms) if at_ms <= due_ms => return,
            Some(at_ms) => {
                self.timers.remove(&(at_ms, Timer::Topic(id)));
            }
            None => {}
        }
        topic.timer_ms = Some(due_ms);
        self.timers.insert((due_ms, Timer::Topic(id)));
    }

    /// The topic's timer has fired.
    pub(super) fn topic_due(&mut self, id: TopicId, removals: &mut usize) {
        if let Some(topic) = self.topics.by_id.get_mut(id as usize) {
            topic.timer_ms = None;
        }
        let evicted = self.evict_by_policy(id);
        self.tell_trimmed(id, evicted);
        self.expire_map_entries(id);
        self.groups_due(id);
        self.expire_idle(id, removals);
        self.schedule_topic(id);
    }

    /// Removes what the topic's policy does not keep; returns the sequences.
    pub(super) fn evict_by_policy(&mut self, id: TopicId) -> Vec<u64> {
        let Some(policy) = self.topics.by_id.get(id as usize).map(|topic| topic.policy.clone())
        else {
            return Vec::new();
        };
        let now_ms = self.now_ms;
        core::iter::from_fn(|| self.topics.evict(id, |ring| ring.evict(&policy, now_ms))).collect()
    }

    /// Removes the oldest batches of the whole shard while it holds more than it may. What is on disk
    /// leaves memory only.
    pub(super) fn enforce_shard_limits(&mut self) {
        let limits = &self.config.limits;
        let (batches_max, mut bytes_max) = (limits.batches_max, limits.bytes_max);
        if self.is_durable() {
            self.cool();
            bytes_max = u64::MAX;
        }
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

    fn expire_map_entries(&mut self, id: TopicId) {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let Some(map) = &mut topic.map else { return };
        let mut gone = Vec::new();
        while let Some(key) = map.expired(self.now_ms) {
            let version = self.cells.next_version();
            map.remove(&key, version);
            gone.push((key, version, None));
        }
        let name = topic.name.clone();
        if map.version() > topic.map_told {
            self.cells.mark(CellKind::Map, &name);
        }
        if is_durable(self.config.shard) {
            self.log_map_keys(&name, None, gone);
        }
    }

    /// Removes a topic that is idle, with its records and its map, as far as `removals` go.
    fn expire_idle(&mut self, id: TopicId, removals: &mut usize) {
        let now_ms = self.now_ms;
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        if topic.idle_at_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        let mut evicted = Vec::new();
        let mut is_gone = false;
        while *removals > 0 && !is_gone {
            *removals -= 1;
            match self.topics.evict(id, Ring::pop) {
                Some(sequence) => evicted.push(sequence),
                None => is_gone = true,
            }
        }
        self.tell_trimmed(id, evicted);
        if is_gone {
            self.topics.expired += 1;
            self.remove_emptied(id);
        }
    }

    /// Removes a topic that holds no batches any more.
    pub(super) fn remove_emptied(&mut self, id: TopicId) {
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        let (name, had_map) = (topic.name.clone(), topic.map.is_some());
        self.remove_topic(&name);
        self.raise_epoch();
        let epoch = self.topics.epoch;
        self.log(|| LogEntry::TopicRemoved { topic: name, epoch });
        if had_map {
            // A map of this name that is made later begins above what watchers of this one held.
            self.cells.next_version();
        }
    }

    /// Topics that are made from now on have another epoch than those that were removed. It is
    /// raised once per millisecond at most, which is enough: what is made after the raise cannot be
    /// idle within the same one. So epochs stay behind the clock that the first one comes from,
    /// and the first epoch after a restart is above them all.
    fn raise_epoch(&mut self) {
        if self.topics.raised_ms < self.now_ms {
            self.topics.raised_ms = self.now_ms;
            self.topics.epoch += 1;
        }
    }
}
