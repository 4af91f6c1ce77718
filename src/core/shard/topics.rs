//! A shard's topics: what each is, how it is made, found, followed and forgotten.

mod saved;
mod state;

pub(super) use saved::SavedTopics;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::options::TopicInfo;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::cold::{Cold, warm_bytes};
use super::inventory::TopicEntry;
use super::message::{DispatcherId, Event, is_peer};
use super::open_batch::OpenBatch;
use super::tenants::{Census, TenantPlace, TenantTable};
use super::{Dispatchers, Shard, Timer, refuse};
use crate::cell::Keyed;
use crate::group::Groups;
use crate::topic::{Batch, CommitLog, Extents, Policy, Ring, Slot, TopicId};
use crate::{HashMap, hash_map};

/// Tombstones that a map keeps, so that watchers that lag a little get changes, not a snapshot.
pub(super) const MAP_TOMBSTONES_MAX: usize = 1024;

/// All topics of a shard, and the order in which their batches were committed.
#[derive(Debug)]
pub(super) struct Topics {
    pub(super) by_id: slab::Slab<Topic>,
    ids: HashMap<Name, TopicId>,
    pub(super) log: CommitLog,
    /// Topics that have an open batch in this round.
    pub(super) open: Vec<TopicId>,
    /// Topics whose groups may have something for somebody.
    pub(super) offering: Vec<TopicId>,
    /// Where the batches lie in the log on disk.
    pub(super) extents: Extents,
    pub(super) cold: Cold,
    pub(super) bytes: u64,
    /// Bytes of the batches that have not cooled.
    pub(super) warm_bytes: u64,
    pub(super) batches: usize,
    /// Epoch of the topics that are made from now on: above that of every topic removed before.
    pub(super) epoch: u64,
    /// When the epoch was raised last.
    pub(super) raised_ms: u64,
    /// Topics that have been removed because they were idle.
    pub(super) expired: u64,
    /// Bytes of the batches that have left, for good.
    pub(super) released_bytes: u64,
    /// What the tenants have.
    pub(super) census: Census,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Name,
    /// Epoch of its offsets: a topic of the same name that is made after this one has another.
    pub(super) epoch: u64,
    pub(super) policy: Policy,
    pub(super) ring: Ring,
    pub(super) open: OpenBatch,
    pub(super) followers: Dispatchers,
    pub(super) map: Option<Keyed>,
    pub(super) map_followers: Dispatchers,
    /// Version up to which the followers of the map have been told.
    pub(super) map_told: u64,
    /// When it was last published to, or its last follower by name went.
    pub(super) active_ms: u64,
    /// When its timer fires, if it has one.
    pub(super) timer_ms: Option<u64>,
    /// Its consumer groups, if it has some.
    pub(super) groups: Option<Groups>,
    /// Whether its groups may have something for somebody in this round.
    pub(super) offers: bool,
    /// Place of the tenant that it belongs to, among those of the configuration.
    pub(super) tenant: Option<TenantPlace>,
}

impl Topics {
    pub(super) fn new(seed: u64, epoch: u64, tenants: &TenantTable) -> Self {
        Self {
            by_id: slab::Slab::new(),
            ids: hash_map(seed),
            log: CommitLog::default(),
            open: Vec::new(),
            offering: Vec::new(),
            extents: Extents::default(),
            cold: Cold::default(),
            bytes: 0,
            warm_bytes: 0,
            batches: 0,
            epoch,
            raised_ms: 0,
            expired: 0,
            released_bytes: 0,
            census: Census::of(tenants),
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

    pub(super) fn log_snapshot(&self, dispatcher: DispatcherId) -> (u64, Vec<Slot>) {
        let told = |slot: &Slot| match slot {
            Slot::Live(batch) if is_peer(dispatcher) => Slot::Live(cooled(batch)),
            Slot::Live(_) | Slot::Gone(_) => slot.clone(),
        };
        (self.log.first(), self.log.iter().map(|(_, slot)| told(slot)).collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.ids.keys()
    }

    pub(super) fn id_of(&self, name: &Name) -> Option<TopicId> {
        self.ids.get(name).copied()
    }

    /// Somebody has come to a topic, or gone: it is idle from now on at the earliest.
    pub(super) fn keep_active(&mut self, id: TopicId, now_ms: u64) {
        if let Some(topic) = self.by_id.get_mut(id as usize) {
            topic.active_ms = now_ms;
        }
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
        self.census.released(topic.tenant, batch.body.len() as u64);
        self.bytes -= batch.body.len() as u64;
        self.released_bytes += batch.body.len() as u64;
        self.warm_bytes -= warm_bytes(&batch, self.cold.before);
        self.batches -= 1;
        self.log.remove(batch.sequence);
        Some(batch.sequence)
    }
}

/// Another node is told where the records are that it has not heard of; it recalls those that somebody
/// there comes to.
fn cooled(batch: &Arc<Batch>) -> Arc<Batch> {
    if batch.body.is_cold() { Arc::clone(batch) } else { Arc::new(batch.cooled()) }
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

    /// Whether somebody follows or consumes it, or follows its map, by name.
    pub(super) fn is_followed(&self) -> bool {
        !self.followers.is_empty() || !self.map_followers.is_empty() || self.is_consumed()
    }

    fn is_unused(&self) -> bool {
        let is_empty = self.ring.next() == 0 && self.open.count == 0;
        is_empty && self.groups.is_none() && !self.is_followed()
    }
}

impl Shard {
    /// The topic of this name, made if need be.
    pub(super) fn topic_id(&mut self, name: &Name) -> Result<TopicId, Refusal> {
        if let Some(id) = self.topics.ids.get(name) {
            return Ok(*id);
        }
        self.check_room("topic", name)?;
        Ok(self.make_topic(name))
    }

    /// A new topic of this name.
    pub(super) fn make_topic(&mut self, name: &Name) -> TopicId {
        let policy = self.config.policy_of(name);
        let map =
            (policy.map_keys_max > 0).then(|| Keyed::new(policy.map_keys_max, MAP_TOMBSTONES_MAX));
        let tenant = self.config.limits.tenants.find(name);
        self.topics.census.name_made(tenant);
        let id = self.topics.by_id.insert(Topic {
            name: name.clone(),
            epoch: self.topics.epoch,
            policy,
            ring: Ring::default(),
            open: OpenBatch::default(),
            followers: Dispatchers::default(),
            map,
            map_followers: Dispatchers::default(),
            map_told: 0,
            active_ms: self.now_ms,
            timer_ms: None,
            groups: None,
            offers: false,
            tenant,
        });
        let id = TopicId::try_from(id).unwrap_or(TopicId::MAX);
        self.topics.ids.insert(name.clone(), id);
        id
    }

    pub(super) fn follow_topic(&mut self, dispatcher: DispatcherId, name: &Name) -> Event {
        let id = match self.topic_id(name) {
            Ok(id) => id,
            Err(refusal) => return self.topic_refused(name, refusal),
        };
        self.seal_batch(id);
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else {
            let refusal = refuse(ErrorCode::Internal, format!("topic '{name}' has vanished"));
            return self.topic_refused(name, refusal);
        };
        topic.followers.insert(dispatcher);
        // What is warm for groups only is not told, since nobody would be told when it cools.
        let (log, cold_before) = (&self.topics.log, self.topics.cold.before);
        let as_told = |batch: &Arc<Batch>| match log.slot(batch.sequence) {
            _ if is_peer(dispatcher) => cooled(batch),
            Some(Slot::Live(cold)) if batch.sequence < cold_before => Arc::clone(cold),
            Some(_) | None => Arc::clone(batch),
        };
        Event::TopicSnapshot {
            shard: self.config.shard,
            name: name.clone(),
            topic_id: id,
            epoch: topic.epoch,
            next: topic.ring.next(),
            batches: topic.ring.iter().map(as_told).collect(),
        }
    }

    fn topic_refused(&self, name: &Name, refusal: Refusal) -> Event {
        Event::TopicRefused { shard: self.config.shard, name: name.clone(), refusal }
    }

    pub(super) fn unfollow_topic(&mut self, dispatcher: DispatcherId, name: &Name) {
        self.unfollowed(name, |topic| topic.followers.remove(dispatcher));
    }

    /// Takes a follower by name away; without any the topic is idle from now on.
    pub(super) fn unfollowed(&mut self, name: &Name, remove: impl FnOnce(&mut Topic)) {
        let now_ms = self.now_ms;
        let Some(id) = self.topics.ids.get(name).copied() else { return };
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let was_followed = topic.is_followed();
        remove(topic);
        if was_followed && !topic.is_followed() {
            topic.active_ms = now_ms;
        }
        self.schedule_topic(id);
        self.drop_unused_topic(name);
    }

    /// Forgets a topic that nobody has published to and nobody follows.
    pub(super) fn drop_unused_topic(&mut self, name: &Name) {
        if self.topics.find(name).is_some_and(|topic| topic.is_unused()) {
            self.remove_topic(name);
        }
    }

    /// Takes out a topic that holds no batches any more.
    pub(super) fn remove_topic(&mut self, name: &Name) {
        let Some(id) = self.topics.ids.remove(name) else { return };
        let Some(topic) = self.topics.by_id.try_remove(id as usize) else { return };
        self.topics.census.name_gone(topic.tenant);
        if let Some(at_ms) = topic.timer_ms {
            self.timers.remove(&(at_ms, Timer::Topic(id)));
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
            partitions: None,
        })
    }
}
