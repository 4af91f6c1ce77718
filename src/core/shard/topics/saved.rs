//! The saved form of a shard's topics.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::{Topic, Topics};
use crate::cell::{Keyed, SavedKeyed};
use crate::group::{Group, Groups, SavedGroup};
use crate::hash_map;
use crate::shard::cold::{Cold, SavedCold, warm_bytes};
use crate::shard::open_batch::OpenBatch;
use crate::shard::{Dispatchers, ShardConfig};
use crate::snapshot::BadSnapshot;
use crate::topic::{
    Batch, Bodies, Extents, LoggedBatch, Policy, SavedLog, SavedRing, Slot, StoredBatch, TopicId,
};

/// Saved [`Topics`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::shard) struct SavedTopics {
    topics: Vec<SavedTopic>,
    log: SavedLog,
    extents: Extents,
    cold: SavedCold,
    epoch: u64,
    raised_ms: u64,
    expired: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedTopic {
    id: TopicId,
    name: Name,
    epoch: u64,
    policy: Policy,
    ring: SavedRing,
    followers: Dispatchers,
    map: Option<SavedKeyed>,
    map_followers: Dispatchers,
    map_told: u64,
    active_ms: u64,
    timer_ms: Option<u64>,
    groups: Vec<(Name, SavedGroup)>,
}

impl Topics {
    /// Whether a topic has an open batch.
    pub(in crate::shard) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Brings the numbers that are free into an order that follows from those that are taken, so
    /// that what is restored from a copy gives out the same ones.
    pub(in crate::shard) fn tidy(&mut self) {
        self.by_id = core::mem::take(&mut self.by_id).into_iter().collect();
    }

    /// A copy to be stored, without what the open batches hold; bodies are shared with it.
    pub(in crate::shard) fn save(&self, bodies: Bodies) -> SavedTopics {
        let Self {
            by_id,
            log,
            extents,
            cold,
            epoch,
            raised_ms,
            expired,
            released_bytes: _,
            ids: _,
            open: _,
            offering: _,
            bytes: _,
            warm_bytes: _,
            batches: _,
            census: _,
        } = self;
        SavedTopics {
            topics: by_id.iter().map(|(id, topic)| topic.save(id, bodies)).collect(),
            extents: match bodies {
                Bodies::Warm => extents.clone(),
                Bodies::From(_) => self.kept_extents(),
            },
            cold: match bodies {
                Bodies::Warm => cold.save(),
                Bodies::From(first) => Cold::saved_before(first.max(cold.before)),
            },
            log: SavedLog::of(log),
            epoch: *epoch,
            raised_ms: *raised_ms,
            expired: *expired,
        }
    }

    /// The extents of which something is kept.
    fn kept_extents(&self) -> Extents {
        let mut extents = self.extents.clone();
        extents.retain(|extent| self.log.keeps_any(&extent.sequences));
        extents
    }

    /// Batches without records have to lie somewhere, and the commit log holds no others before the
    /// place up to which batches have cooled.
    fn check_cold(&mut self) -> Result<(), BadSnapshot> {
        let is_lost = |sequence: u64, batch: &Batch| {
            batch.body.is_cold() && self.extents.find(sequence).is_none()
        };
        let mut warmed = Vec::new();
        for (sequence, slot) in self.log.iter() {
            let Slot::Live(batch) = slot else { continue };
            if is_lost(sequence, batch) {
                let what = format!("the batch of sequence {sequence} lies in no extent");
                return Err(BadSnapshot::new(what));
            }
            if sequence < self.cold.before && !batch.body.is_cold() {
                warmed.push(Arc::new(batch.cooled()));
            }
        }
        warmed.into_iter().for_each(|batch| self.log.replace(batch));
        Ok(())
    }

    pub(in crate::shard) fn restore(
        saved: SavedTopics,
        config: &ShardConfig,
    ) -> Result<Self, BadSnapshot> {
        let (epoch, raised_ms, expired) = (saved.epoch, saved.raised_ms, saved.expired);
        let mut topics = Self {
            raised_ms,
            expired,
            extents: saved.extents.check()?,
            cold: Cold::restore(saved.cold),
            ..Self::new(config.seed, epoch, &config.limits.tenants)
        };
        let mut batches = hash_map(config.seed);
        let mut by_id = Vec::new();
        for saved in saved.topics {
            let (id, name) = (saved.id, saved.name.clone());
            let topic = saved.restore(config.shard)?;
            topics.bytes += topic.ring.bytes();
            topics.batches += topic.ring.batches();
            let warm = |batch: &Arc<Batch>| warm_bytes(batch, topics.cold.before);
            topics.warm_bytes += topic.ring.iter().map(warm).sum::<u64>();
            batches.extend(topic.ring.iter().map(|batch| (batch.sequence, Arc::clone(batch))));
            let is_new = topics.ids.insert(name.clone(), id).is_none();
            if !is_new || id as usize >= config.limits.names_max {
                let what = format!("topic '{name}' stands there twice, or has number {id}");
                return Err(BadSnapshot::new(what));
            }
            by_id.push((id as usize, topic));
        }
        let count = by_id.len();
        topics.by_id = by_id.into_iter().collect();
        if topics.by_id.len() != count {
            return Err(BadSnapshot::new("two topics have the same number"));
        }
        topics.log = saved.log.restore(batches)?;
        topics.check_cold()?;
        Ok(topics)
    }
}

impl Topic {
    fn save(&self, id: usize, bodies: Bodies) -> SavedTopic {
        let Self {
            name,
            epoch,
            policy,
            ring,
            open: _,
            followers,
            map,
            map_followers,
            map_told,
            active_ms,
            timer_ms,
            groups,
            offers: _,
            tenant: _,
        } = self;
        let groups = groups.iter().flat_map(|groups| groups.iter());
        SavedTopic {
            id: TopicId::try_from(id).unwrap_or(TopicId::MAX),
            name: name.clone(),
            epoch: *epoch,
            policy: policy.clone(),
            ring: SavedRing::of(ring, bodies),
            followers: *followers,
            map: map.as_ref().map(Keyed::save),
            map_followers: *map_followers,
            map_told: *map_told,
            active_ms: *active_ms,
            timer_ms: *timer_ms,
            groups: groups.map(|(name, group)| (name.clone(), group.save())).collect(),
        }
    }
}

impl SavedTopics {
    /// All of them in another epoch.
    pub(in crate::shard) fn begin_anew(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        for topic in &mut self.topics {
            topic.epoch = epoch;
            topic.ring.begin_anew(epoch);
        }
    }

    pub(in crate::shard) fn stored(&self) -> Vec<StoredBatch> {
        let mut stored: Vec<StoredBatch> =
            self.topics.iter().flat_map(|topic| topic.ring.stored(&topic.name)).collect();
        stored.sort_unstable_by_key(|batch| batch.sequence);
        stored
    }

    pub(in crate::shard) fn unstored(&self, shard: u16) -> Vec<LoggedBatch> {
        let mut unstored: Vec<LoggedBatch> =
            self.topics.iter().flat_map(|topic| topic.ring.unstored(shard, &topic.name)).collect();
        unstored.sort_unstable_by_key(|LoggedBatch(batch)| batch.sequence);
        unstored
    }

    pub(in crate::shard) fn extents(&self) -> &Extents {
        &self.extents
    }

    /// Where they end: name, epoch, next offset.
    pub(in crate::shard) fn ends(&self) -> impl Iterator<Item = (&Name, u64, u64)> {
        self.topics.iter().map(|topic| (&topic.name, topic.epoch, topic.ring.next()))
    }
}

impl SavedTopic {
    fn restore(self, shard: u16) -> Result<Topic, BadSnapshot> {
        let Self {
            id,
            name,
            epoch,
            policy,
            ring,
            followers,
            map,
            map_followers,
            map_told,
            active_ms,
            timer_ms,
            groups,
        } = self;
        let groups = groups.into_iter().map(|(name, saved)| (name, Group::restore(saved)));
        let groups: Groups = Box::new(groups.collect());
        Ok(Topic {
            ring: ring.restore(shard, &name, id)?,
            name,
            epoch,
            policy,
            open: OpenBatch::default(),
            followers,
            map: map.map(Keyed::restore).transpose()?,
            map_followers,
            map_told,
            active_ms,
            timer_ms,
            groups: (!groups.is_empty()).then_some(groups),
            offers: false,
            tenant: None,
        })
    }
}
