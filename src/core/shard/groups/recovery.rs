//! Groups that are made again from what was logged.

use tidewire_protocol::Name;

use crate::group::{Group, Groups};
use crate::shard::{LogEntry, Shard};
use crate::topic::TopicId;

impl Shard {
    /// Repeats what has happened to a group. One that went with its topic is passed over.
    pub(in crate::shard) fn recover_group(&mut self, entry: LogEntry) {
        match entry {
            LogEntry::GroupMade { topic: name, epoch, group, rules, next } => {
                let id = self.topic_to_recover(&name);
                self.topics.epoch = self.topics.epoch.max(epoch);
                let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
                let is_empty = topic.ring.next() == 0 && topic.ring.batches() == 0;
                let is_other_epoch = is_empty && topic.epoch != epoch;
                if is_other_epoch {
                    topic.epoch = epoch;
                }
                topic.groups.get_or_insert_default().insert(group, Group::new(rules, next));
                if is_other_epoch {
                    self.tell_new_epoch(&name);
                }
            }
            LogEntry::GroupRemoved { topic, group } => {
                if let Some(topic) = self.topics.find(&topic) {
                    topic.remove_group(&group);
                }
                self.drop_unused_topic(&topic);
            }
            LogEntry::GroupReset { topic, group, next } => {
                if let Ok((_, group)) = self.group_of(&topic, &group) {
                    group.reset(next);
                }
            }
            LogEntry::GroupSettled { topic, group, ranges } => {
                self.recover_group_first(&topic, &group);
                if let Ok((_, group)) = self.group_of(&topic, &group) {
                    ranges.iter().for_each(|(from, next)| group.recover_settled(*from, *next));
                }
            }
            LogEntry::GroupFailed { topic, group, failed } => {
                self.recover_group_first(&topic, &group);
                if let Ok((_, group)) = self.group_of(&topic, &group) {
                    failed.iter().for_each(|(offset, times)| group.recover_failed(*offset, *times));
                }
            }
            LogEntry::Batch(_)
            | LogEntry::TopicRemoved { .. }
            | LogEntry::MapLost { .. }
            | LogEntry::MapKey { .. }
            | LogEntry::Counter { .. }
            | LogEntry::CounterRemoved { .. }
            | LogEntry::Tally { .. }
            | LogEntry::TallyRemoved { .. }
            | LogEntry::Ballot { .. }
            | LogEntry::Invalidated { .. }
            | LogEntry::Produced { .. }
            | LogEntry::Truncated { .. } => {}
        }
    }

    /// Nothing more is repeated of the groups of a topic.
    pub(in crate::shard) fn end_group_recovery(&mut self, id: TopicId) {
        let topic = self.topics.by_id.get_mut(id as usize);
        let groups = topic.and_then(|topic| topic.groups.as_mut());
        for group in groups.into_iter().flat_map(|groups| groups.values_mut()) {
            group.end_recovery();
        }
    }

    /// A group may have jumped over what retention had removed, which is not logged.
    fn recover_group_first(&mut self, topic: &Name, group: &Name) {
        let first = self.topics.find(topic).map_or(0, |topic| topic.ring.first());
        if let Ok((_, group)) = self.group_of(topic, group) {
            group.recover_first(first);
        }
    }
}

/// After a restart nobody consumes, and what was out is ready.
pub(in crate::shard) fn resume(groups: &mut Option<Groups>) {
    for group in groups.iter_mut().flat_map(|groups| groups.values_mut()) {
        group.resume();
    }
}
