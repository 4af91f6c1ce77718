//! A durable shard on a node that does not lead it: it repeats what the leader has logged, once that
//! is committed, and tells those who follow it here. It decides nothing: no timer fires, no group
//! hands anything out, no command changes it. When its node becomes the leader, it goes on from there.

use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{Name, Refusal};

use super::log::LogEntry;
use super::message::Event;
use super::{Shard, groups, tell};
use crate::snapshot::BadSnapshot;
use crate::topic::{Batch, Producers, Ring, TopicId, ids_before};

/// Versions of one epoch of a shard in memory: a new one for each change of the leader, and 53 bits are
/// what every client can hold.
const VERSIONS_BITS: u32 = 32;
const EPOCH_IN_VERSIONS: u64 = (1 << (53 - VERSIONS_BITS)) - 1;

impl Shard {
    /// Repeats what the leader has logged as one entry: its changes, in order, at this time; cells have no
    /// version above `version` then. [`Self::seal`] ends the round, which holds what followers are told.
    ///
    /// # Errors
    /// When a change does not follow from those before it: something is missing, or damaged. The shard
    /// is of no use then.
    pub fn replicate(
        &mut self,
        entries: impl IntoIterator<Item = LogEntry>,
        version: u64,
        time_ms: u64,
    ) -> Result<(), BadSnapshot> {
        for entry in entries {
            self.recover(entry, time_ms)?;
        }
        self.recover_round(version, time_ms);
        Ok(())
    }

    /// Its node leads it from now on: what has become due is due now, and commands are carried out.
    pub fn promote(&mut self, now_ms: u64) {
        self.prepare(now_ms);
    }

    /// Its node does not lead it any more; nothing of what it did is on its way any more. Who consumes
    /// here is told why that has ended.
    pub fn demote(&mut self, refusal: &Refusal) {
        for (session, consumptions) in core::mem::take(&mut self.consuming) {
            for (_, _, sub) in consumptions {
                let (member, refusal) = ((session, sub), refusal.clone());
                let event = Event::ConsumerEnded { member, refusal };
                self.round.events.push((session.dispatcher, event));
            }
        }
        self.timers.clear();
        self.topics.offering.clear();
        for (_, topic) in &mut self.topics.by_id {
            topic.timer_ms = None;
            topic.offers = false;
            groups::resume(&mut topic.groups);
        }
        self.forget_recalls();
    }

    /// Cells of a shard in memory that begins in this epoch have versions above all that were told in
    /// earlier ones, so that watchers go on.
    pub fn begin_above(&mut self, epoch: u64, now_ms: u64) {
        // Nothing is known of what was published before it began.
        self.producers = Producers::new(self.config.seed, ids_before(now_ms));
        self.cells.version = (epoch & EPOCH_IN_VERSIONS) << VERSIONS_BITS;
    }

    /// Tells who follows a topic, or all of the shard, of a batch.
    pub(super) fn tell_appended(&mut self, id: TopicId, batch: &Arc<Batch>, evicted: Vec<u64>) {
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        let to = topic.followers.union(self.log_followers);
        let event =
            Event::Appended { batch: Arc::clone(batch), first: topic.ring.first(), evicted };
        tell(&mut self.round.events, to, &event);
    }

    /// A cell is another one than it was. Nobody follows it while a shard is made again after a
    /// start.
    pub(super) fn mark_if_followed(&mut self, kind: CellKind, name: &Name) {
        let is_followed = match kind {
            CellKind::Map => self.topics.find(name).is_some_and(|t| !t.map_followers.is_empty()),
            CellKind::Counter
            | CellKind::Tally
            | CellKind::Presence
            | CellKind::Topic
            | CellKind::Rounds => {
                let followers = &self.cells.followers;
                !followers.is_empty() && followers.contains_key(&(kind, name.clone()))
            }
        };
        if is_followed {
            self.cells.mark(kind, name);
        }
    }

    /// A topic was removed where it was led. Whoever follows it here follows what comes after it, and
    /// is told that this has another history.
    pub(super) fn recover_topic_removed(&mut self, name: &Name, epoch: u64) {
        let Some(id) = self.topics.id_of(name) else { return };
        let mut evicted = Vec::new();
        while let Some(sequence) = self.topics.evict(id, Ring::pop) {
            evicted.push(sequence);
        }
        self.tell_trimmed(id, evicted);
        let Some(topic) = self.topics.by_id.get(id as usize) else { return };
        let (followers, map_followers) = (topic.followers, topic.map_followers);
        self.remove_topic(name);
        self.topics.epoch = self.topics.epoch.max(epoch);
        for dispatcher in followers.iter() {
            let event = self.follow_topic(dispatcher, name);
            self.round.events.push((dispatcher, event));
        }
        for dispatcher in map_followers.iter() {
            let event = self.follow_cell(dispatcher, CellKind::Map, name.clone());
            self.round.events.push((dispatcher, event));
        }
    }

    /// The first batch or group of a topic that was followed here before there was anything says in
    /// which epoch it is.
    pub(super) fn tell_new_epoch(&mut self, name: &Name) {
        let followers = self.topics.find(name).map(|topic| topic.followers).unwrap_or_default();
        for dispatcher in followers.iter() {
            let event = self.follow_topic(dispatcher, name);
            self.round.events.push((dispatcher, event));
        }
    }
}
