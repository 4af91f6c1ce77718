//! A durable shard that is made again from what it has logged.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::Name;

use super::log::LogEntry;
use super::topics::MAP_TOMBSTONES_MAX;
use super::{Dispatchers, Shard, Timer};
use crate::cell::{Keyed, Tally};
use crate::snapshot::BadSnapshot;
use crate::topic::{Batch, CommitLog, LoggedBatch, Ring, TopicId};

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
                self.recover_topic_removed(&topic);
                self.topics.epoch = self.topics.epoch.max(epoch);
                self.topics.raised_ms = now_ms;
                Ok(())
            }
            LogEntry::MapKey { topic, key, version, expires_at_ms, value } => {
                self.seen(version);
                let id = self.topic_to_recover(&topic);
                // The policy may keep no map any more: then the records alone are there.
                if let Some(topic) = self.topics.by_id.get_mut(id as usize)
                    && let Some(map) = &mut topic.map
                {
                    map.recover(&key, version, expires_at_ms, value);
                    topic.map_told = map.version();
                }
                Ok(())
            }
            LogEntry::Counter { name, change } => {
                self.seen(change.version());
                self.cells.counters.entry(name).or_default().recover(change, now_ms);
                Ok(())
            }
            LogEntry::CounterRemoved { name } => {
                self.cells.counters.remove(&name);
                Ok(())
            }
            LogEntry::Tally { name, head } => {
                self.seen(head.version());
                let seed = self.config.seed;
                let voters_max = self.config.limits.voters_max;
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
                Ok(())
            }
            LogEntry::Ballot { tally, voter, marks, revision, version } => {
                self.seen(version);
                let Some(tally) = self.cells.tallies.get_mut(&tally) else {
                    return Err(BadSnapshot::new(format!("a ballot of no tally '{tally}'")));
                };
                tally.recover_ballot(voter, &marks, revision, version)
            }
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
        let since_ms = self.now_ms;
        self.now_ms = self.now_ms.max(now_ms);
        self.schedule_all(since_ms);
        // What it told then, nobody waits for.
        self.round.events.clear();
    }

    fn seen(&mut self, version: u64) {
        self.cells.version = self.cells.version.max(version);
    }

    /// The topic of this name. What was there is there again, also if the limits are lower now.
    fn topic_to_recover(&mut self, name: &Name) -> TopicId {
        self.topics.id_of(name).unwrap_or_else(|| self.make_topic(name))
    }

    fn recover_topic_removed(&mut self, name: &Name) {
        let Some(id) = self.topics.id_of(name) else { return };
        while self.topics.evict(id, Ring::pop).is_some() {}
        self.remove_topic(name);
    }

    fn recover_batch(&mut self, logged: &Arc<Batch>) -> Result<(), BadSnapshot> {
        let name = &logged.topic;
        let id = self.topic_to_recover(name);
        let log_next = self.topics.log.next();
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else {
            return Err(BadSnapshot::new(format!("topic '{name}' has vanished")));
        };
        let is_first = topic.ring.next() == 0 && topic.ring.batches() == 0;
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
        self.topics.batches += 1;
        let sequence = batch.sequence;
        if !topic.ring.append(Arc::clone(&batch)) || !self.topics.log.append(batch) {
            let what = format!("the batch of sequence {sequence} does not continue the shard");
            return Err(BadSnapshot::new(what));
        }
        self.topics.epoch = self.topics.epoch.max(logged.epoch);
        self.evict_by_policy(id);
        Ok(())
    }

    /// After a restart: nobody follows a topic, and its policy is that of the configuration.
    pub(super) fn resume_topics(&mut self) {
        for (_, topic) in &mut self.topics.by_id {
            topic.followers = Dispatchers::default();
            topic.map_followers = Dispatchers::default();
            topic.timer_ms = None;
            topic.policy = self.config.policies.explain(&topic.name).1.clone();
            let keys_max = topic.policy.map_keys_max;
            topic.map = match topic.map.take() {
                Some(map) if keys_max > 0 => Some(map.with_keys_max(keys_max)),
                None if keys_max > 0 => Some(Keyed::new(keys_max, MAP_TOMBSTONES_MAX)),
                Some(_) | None => None,
            };
            topic.map_told = topic.map.as_ref().map_or(0, Keyed::version);
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
            self.evict_by_policy(id);
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
