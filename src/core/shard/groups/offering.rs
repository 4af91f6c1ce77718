//! Handing out what groups have, and doing what is due in them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::{Name, Refusal};

use crate::group::Failed;
use crate::partition_in;
use crate::shard::Shard;
use crate::shard::message::Event;
use crate::topic::TopicId;

impl Shard {
    /// What is due in the groups of a topic.
    pub(in crate::shard) fn groups_due(&mut self, id: TopicId) {
        let now_ms = self.now_ms;
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let Some(groups) = &mut topic.groups else { return };
        let name = topic.name.clone();
        let failed: Vec<(Name, Vec<Failed>)> = groups
            .iter_mut()
            .map(|(group, found)| (group.clone(), found.handle_timeout(now_ms)))
            .collect();
        for (group, failed) in failed {
            self.log_failed(&name, &group, failed);
        }
        self.offer_later(id);
    }

    /// The topic's groups may have something for somebody.
    pub(in crate::shard) fn offer_later(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.by_id.get_mut(id as usize)
            && topic.groups.is_some()
            && !core::mem::replace(&mut topic.offers, true)
        {
            self.topics.offering.push(id);
        }
    }

    /// Hands out what the groups have, once the round's batches are sealed.
    pub(in crate::shard) fn offer_groups(&mut self) {
        // A dead letter whose record is gone may make room for another record of its key.
        while let Some(id) = self.topics.offering.pop() {
            if let Some(topic) = self.topics.by_id.get_mut(id as usize) {
                topic.offers = false;
            }
            self.offer(id);
            self.send_dead_letters(id);
            self.schedule_topic(id);
        }
    }

    fn offer(&mut self, id: TopicId) {
        let (now_ms, shard) = (self.now_ms, self.config.shard);
        let policies = Arc::clone(&self.config.policies);
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let (name, epoch) = (&topic.name, topic.epoch);
        let partition = (policies.partitions(name) > 1).then(|| partition_in(name, shard));
        let mut cold = Vec::new();
        for (group_name, group) in topic.groups.iter_mut().flat_map(|groups| groups.iter_mut()) {
            if !group.has_members() {
                continue;
            }
            let (leases, sequence) = group.offer(&topic.ring, now_ms);
            cold.extend(sequence.map(|sequence| (group_name.clone(), sequence)));
            for lease in leases {
                let to = lease.member.0.dispatcher;
                let event = Event::Leased { topic: name.clone(), epoch, partition, lease };
                self.round.events.push((to, event));
            }
        }
        for (group, sequence) in cold {
            self.recall_for_group(id, group, sequence);
        }
    }

    /// Nobody consumes a group any more if it has come to these records, because they cannot be read;
    /// if they are dead letters, they are sent later.
    pub(in crate::shard) fn end_consumers(
        &mut self,
        id: TopicId,
        group: &Name,
        (from, next): (u64, u64),
        refusal: &Refusal,
    ) {
        let now_ms = self.now_ms;
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let name = topic.name.clone();
        let found = topic.groups.as_mut().and_then(|groups| groups.get_mut(group));
        let Some(found) = found else { return };
        found.put_letters_off((from, next), now_ms);
        let members = if found.has_come_to(from, next) { found.member_ids() } else { Vec::new() };
        for member @ (session, sub) in members {
            let event = Event::ConsumerEnded { member, refusal: refusal.clone() };
            self.round.events.push((session.dispatcher, event));
            if let Some(consuming) = self.consuming.get_mut(&session) {
                consuming.remove(&(name.clone(), group.clone(), sub));
            }
            self.leave_group(&name, group, member);
        }
        self.consuming.retain(|_, consuming| !consuming.is_empty());
        self.offer_later(id);
    }
}
