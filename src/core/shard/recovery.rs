//! A durable shard that is made again from what it has logged.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;

use super::log::LogEntry;
use super::topics::MAP_TOMBSTONES_MAX;
use super::{Dispatchers, Shard, Timer, groups};
use crate::cell::{Keyed, Tally};
use crate::partition_in;
use crate::snapshot::BadSnapshot;
use crate::topic::{Batch, CommitLog, LoggedBatch, Ring, TopicId};

/// Versions of cells begin anew after a restart, at the next multiple but one of this: above all that
/// were told before. They suffice for 2^44 restarts.
const VERSIONS_PER_LIFE: u64 = 1 << 20;

impl Shard {
    /// Repeats one change that was logged at this time. The changes come in their order; what the
    /// policies no longer keep leaves at once.
    ///
    /// # Errors
    /// When the change does not follow from those before it: something is missing, or damaged.
    pub fn recover(&mut self, entry: LogEntry, now_ms: u64) -> Result<(), BadSnapshot> {
        self.now_ms = self.now_ms.max(now_ms);
        match entry {
            LogEntry::Batch(LoggedBatch(batch)) => self.recover_batch(&batch),
            LogEntry::TopicRemoved { topic, epoch } => {
                self.recover_topic_removed(&topic, epoch);
                self.topics.epoch = self.topics.epoch.max(epoch);
                self.topics.raised_ms = now_ms;
                Ok(())
            }
            LogEntry::Truncated { topic, first } => {
                if let Some(id) = self.topics.id_of(&topic) {
                    let mut evicted = Vec::new();
                    while let Some(sequence) = self.topics.evict(id, |ring| ring.pop_before(first))
                    {
                        evicted.push(sequence);
                    }
                    self.tell_trimmed(id, evicted);
                }
                Ok(())
            }
            LogEntry::MapKey { topic, key, version, expires_at_ms, value } => {
                self.seen(version);
                let id = self.topic_to_recover(&topic);
                let map =
                    self.topics.by_id.get_mut(id as usize).and_then(|topic| topic.map.as_mut());
                match map {
                    Some(map) => map.put(&key, version, expires_at_ms, value),
                    // The policy keeps no map any more.
                    None => return self.lost_map(topic),
                }
                self.mark_if_followed(CellKind::Map, &topic);
                Ok(())
            }
            LogEntry::MapLost { topic } => {
                self.lost_maps.remove(&topic);
                if let Some(topic) = self.topics.find(&topic)
                    && let Some(map) = &mut topic.map
                {
                    *map = Keyed::new(topic.policy.map_keys_max, MAP_TOMBSTONES_MAX);
                }
                Ok(())
            }
            entry @ (LogEntry::Counter { .. }
            | LogEntry::CounterRemoved { .. }
            | LogEntry::Tally { .. }
            | LogEntry::TallyRemoved { .. }
            | LogEntry::Ballot { .. }
            | LogEntry::Invalidated { .. }) => self.recover_cell(entry, now_ms),
            entry @ (LogEntry::GroupMade { .. }
            | LogEntry::GroupRemoved { .. }
            | LogEntry::GroupReset { .. }
            | LogEntry::GroupSettled { .. }
            | LogEntry::GroupFailed { .. }) => {
                self.recover_group(entry);
                Ok(())
            }
            LogEntry::Produced { topic, step, place, count } => {
                let (limits, now_ms) = (self.config.limits.producers, self.now_ms);
                self.producers.record(&topic, step, place, count, &limits, now_ms);
                Ok(())
            }
        }
    }

    fn lost_map(&mut self, topic: Name) -> Result<(), BadSnapshot> {
        self.lost_maps.insert(topic);
        Ok(())
    }

    /// Repeats a change of a counter or a tally.
    fn recover_cell(&mut self, entry: LogEntry, now_ms: u64) -> Result<(), BadSnapshot> {
        match entry {
            LogEntry::Counter { name, change } => {
                self.seen(change.version());
                self.mark_if_followed(CellKind::Counter, &name);
                self.cells.counters.entry(name).or_default().recover(change, now_ms);
                Ok(())
            }
            LogEntry::CounterRemoved { name } => {
                self.cells.counters.remove(&name);
                self.mark_if_followed(CellKind::Counter, &name);
                Ok(())
            }
            LogEntry::Tally { name, head } => {
                self.seen(head.version());
                let seed = self.config.seed;
                let voters_max = self.config.limits.voters_max;
                self.mark_if_followed(CellKind::Tally, &name);
                match self.cells.tallies.get_mut(&name) {
                    Some(tally) => tally.recover_head(*head),
                    None => {
                        let tally = Tally::of_head(*head, voters_max, seed)?;
                        self.cells.tallies.insert(name, tally);
                    }
                }
                Ok(())
            }
            LogEntry::TallyRemoved { name } => {
                self.cells.tallies.remove(&name);
                self.mark_if_followed(CellKind::Tally, &name);
                Ok(())
            }
            LogEntry::Ballot { tally, voter, marks, revision, version } => {
                self.seen(version);
                self.mark_if_followed(CellKind::Tally, &tally);
                let Some(tally) = self.cells.tallies.get_mut(&tally) else {
                    return Err(BadSnapshot::new(format!("a ballot of no tally '{tally}'")));
                };
                tally.recover_ballot(voter, &marks, revision, version)
            }
            LogEntry::Invalidated { tally, voters, version } => {
                self.seen(version);
                self.mark_if_followed(CellKind::Tally, &tally);
                let Some(tally) = self.cells.tallies.get_mut(&tally) else {
                    return Err(BadSnapshot::new(format!("ballots of no tally '{tally}'")));
                };
                for voter in voters {
                    tally.invalidate(&voter, version);
                }
                Ok(())
            }
            LogEntry::Batch(_)
            | LogEntry::TopicRemoved { .. }
            | LogEntry::MapLost { .. }
            | LogEntry::MapKey { .. }
            | LogEntry::Produced { .. }
            | LogEntry::Truncated { .. }
            | LogEntry::GroupMade { .. }
            | LogEntry::GroupRemoved { .. }
            | LogEntry::GroupReset { .. }
            | LogEntry::GroupSettled { .. }
            | LogEntry::GroupFailed { .. } => Ok(()),
        }
    }

    /// A round with these changes has ended: no version up to this one is used again.
    pub fn recover_round(&mut self, version: u64, now_ms: u64) {
        self.seen(version);
        self.now_ms = self.now_ms.max(now_ms);
        self.enforce_shard_limits();
    }

    /// Ends the recovery: what has become due since the last change was logged is due now.
    pub fn end_recovery(&mut self, now_ms: u64) {
        self.prepare(now_ms);
        // What it told then, nobody waits for.
        self.round.events.clear();
    }

    /// What was repeated is the state from which it goes on.
    pub(super) fn prepare(&mut self, now_ms: u64) {
        let since_ms = self.now_ms;
        self.now_ms = self.now_ms.max(now_ms);
        // Watchers may have been told versions that changed nothing, so were not logged.
        let told = self.cells.version.div_ceil(VERSIONS_PER_LIFE);
        self.cells.version = (told + 1) * VERSIONS_PER_LIFE;
        for topic in core::mem::take(&mut self.lost_maps) {
            self.round.log.push(LogEntry::MapLost { topic });
        }
        self.count_tenants();
        self.schedule_all(since_ms);
    }

    fn seen(&mut self, version: u64) {
        self.cells.version = self.cells.version.max(version);
    }

    /// The topic of this name. What was there is there again, also if the limits are lower now.
    pub(super) fn topic_to_recover(&mut self, name: &Name) -> TopicId {
        self.topics.id_of(name).unwrap_or_else(|| self.make_topic(name))
    }

    fn recover_batch(&mut self, logged: &Arc<Batch>) -> Result<(), BadSnapshot> {
        let name = &logged.topic;
        let id = self.topic_to_recover(name);
        let log_next = self.topics.log.next();
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else {
            return Err(BadSnapshot::new(format!("topic '{name}' has vanished")));
        };
        let is_first = topic.ring.next() == 0 && topic.ring.batches() == 0;
        let is_other_epoch = is_first && (topic.epoch != logged.epoch || logged.base > 0);
        if is_first {
            topic.epoch = logged.epoch;
            topic.ring = Ring::starting_at(logged.base);
        }
        if topic.epoch != logged.epoch || topic.ring.next() != logged.base {
            let (epoch, next) = (topic.epoch, topic.ring.next());
            return Err(BadSnapshot::new(format!(
                "topic '{name}' goes on at offset {} of epoch {}, after {next} of epoch {epoch}",
                logged.base, logged.epoch
            )));
        }
        if self.topics.log.is_empty() && log_next == 0 {
            self.topics.log = CommitLog::starting_at(logged.sequence);
        }
        let batch = Arc::new(Batch {
            topic_id: id,
            topic: topic.name.clone(),
            shard: self.config.shard,
            ..Batch::clone(logged)
        });
        topic.active_ms = self.now_ms;
        self.topics.bytes += batch.body.len() as u64;
        self.topics.warm_bytes += batch.body.len() as u64;
        self.topics.batches += 1;
        let sequence = batch.sequence;
        if !topic.ring.append(Arc::clone(&batch)) || !self.topics.log.append(Arc::clone(&batch)) {
            let what = format!("the batch of sequence {sequence} does not continue the shard");
            return Err(BadSnapshot::new(what));
        }
        self.topics.epoch = self.topics.epoch.max(logged.epoch);
        let evicted = self.evict_by_policy(id);
        if is_other_epoch {
            self.tell_new_epoch(name);
        }
        self.tell_appended(id, &batch, evicted);
        Ok(())
    }

    /// Whether everything that is here belongs here under the policies.
    ///
    /// # Errors
    /// A name that the policies spread over other shards than it is in.
    pub fn check_partitions(&self) -> Result<(), Name> {
        let policies = &self.config.policies;
        let is_elsewhere = |name: &Name| {
            let is_stored = policies.explain(name).1.is_durable();
            is_stored && partition_in(name, self.config.shard) >= policies.partitions(name)
        };
        let of_other_shape = |(name, tally): &(&Name, &Tally)| {
            let is_part = policies.partitions(name) > 1;
            policies.explain(name).1.is_durable() && tally.incarnation().is_some() != is_part
        };
        let topic = self.topics.names().find(|name| is_elsewhere(name));
        let tally = || self.cells.tallies.keys().find(|name| is_elsewhere(name));
        let shape = || self.cells.tallies.iter().find(of_other_shape).map(|(name, _)| name);
        match topic.or_else(tally).or_else(shape) {
            None => Ok(()),
            Some(name) => Err(name.clone()),
        }
    }

    /// After a restart: nobody follows a topic, and its policy is that of the configuration.
    pub(super) fn resume_topics(&mut self) {
        for (_, topic) in &mut self.topics.by_id {
            topic.followers = Dispatchers::default();
            topic.map_followers = Dispatchers::default();
            topic.timer_ms = None;
            groups::resume(&mut topic.groups);
            topic.policy = self.config.policy_of(&topic.name);
            let keys_max = topic.policy.map_keys_max;
            topic.map = match topic.map.take() {
                Some(map) if keys_max > 0 => Some(map.with_keys_max(keys_max)),
                None if keys_max > 0 => Some(Keyed::new(keys_max, MAP_TOMBSTONES_MAX)),
                Some(map) => {
                    if map.version() > 0 {
                        self.lost_maps.insert(topic.name.clone());
                    }
                    None
                }
                None => None,
            };
        }
        // A topic that was followed only is nothing now.
        let names: Vec<Name> = self.topics.names().cloned().collect();
        for name in names {
            self.drop_unused_topic(&name);
        }
    }

    fn schedule_all(&mut self, since_ms: u64) {
        let topics: Vec<TopicId> =
            self.topics.by_id.iter().filter_map(|(id, _)| id.try_into().ok()).collect();
        for id in topics {
            if let Some(topic) = self.topics.by_id.get_mut(id as usize) {
                // Who followed it before the restart has its time to come back.
                topic.active_ms = self.now_ms;
                topic.map_told = topic.map.as_ref().map_or(0, Keyed::version);
            }
            let evicted = self.evict_by_policy(id);
            self.tell_trimmed(id, evicted);
            self.end_group_recovery(id);
            self.schedule_topic(id);
        }
        let counters = self.cells.counters.iter().filter_map(|(name, counter)| {
            Some((counter.expires_at_ms()?, Timer::Counter(name.clone())))
        });
        let tallies = self.cells.tallies.iter().filter_map(|(name, tally)| {
            Some((tally.next_transition_ms(since_ms)?, Timer::Tally(name.clone())))
        });
        self.timers.extend(counters.chain(tallies));
    }
}
