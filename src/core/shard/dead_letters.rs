//! Dead letters: records that no consumer of a group manages, on their way to another topic.
//!
//! That topic may be in another shard. The letter goes there by way of a dispatcher; its arrival is
//! told once it is committed, and settles the record. A letter whose arrival is not told in time is
//! sent again, so one may be there twice after a crash, never not at all.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::{BodyBuilder, HEADERS_BYTES_MAX, HEADERS_MAX, Record, Records};
use tidewire_protocol::{Name, partition_of};

use super::Shard;
use super::append::Append;
use super::message::{Command, Event, Terms};
use super::polls::FORWARDING;
use crate::group::Dead;
use crate::shard_of_partition;
use crate::topic::TopicId;

/// A dead letter on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it comes from.
    pub of: DeadOf,
    /// The topic that it goes to.
    pub to: Name,
    /// One record.
    pub body: Bytes,
}

/// The record that a dead letter stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadOf {
    /// The shard of its topic.
    pub shard: u16,
    /// Its topic.
    pub topic: Name,
    /// The group that does not manage it.
    pub group: Name,
    /// Its offset.
    pub offset: u64,
}

impl Shard {
    /// Sends the dead letters of a topic's groups.
    pub(super) fn send_dead_letters(&mut self, id: TopicId) {
        let now_ms = self.now_ms;
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let (name, names) = (topic.name.clone(), topic.group_names());
        for group in names {
            let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
            let found = topic.groups.as_mut().and_then(|groups| groups.get_mut(&group));
            let Some(found) = found else { continue };
            let Some(to) = found.rules().dead_letter.clone() else { continue };
            let (dead, cold) = found.take_dead(&topic.ring, now_ms);
            if let Some(sequence) = cold {
                self.recall_for_group(id, group.clone(), sequence);
            }
            for dead in dead {
                let (shard, offset) = (self.config.shard, dead.offset);
                let (topic, group) = (name.clone(), group.clone());
                self.send_dead_letter(id, &DeadOf { shard, topic, group, offset }, &to, &dead);
            }
        }
    }

    fn send_dead_letter(&mut self, id: TopicId, of: &DeadOf, to: &Name, dead: &Dead) {
        let ring = self.topics.by_id.get(id as usize).map(|topic| &topic.ring);
        let batch = ring.and_then(|ring| ring.find(dead.offset));
        let record = batch.and_then(|batch| {
            let at = usize::try_from(dead.offset - batch.base).ok()?;
            Records::of(batch.body.warm()?).nth(at)
        });
        let Some(record) = record else { return self.bury(of, false) };
        let partitions = self.config.policies.partitions(to);
        let partition = record.key.map_or(0, |key| partition_of(key, partitions));
        let home = self.config.policies.home(to);
        let target = if partitions > 1 { shard_of_partition(home, partition) } else { home };
        let body = letter(&record, of, dead);
        let letter = Box::new(DeadLetter { of: of.clone(), to: to.clone(), body });
        let commands = Vec::from([(target, Command::DeadLetter(letter))]);
        self.round.events.push((FORWARDING, Event::Forward(commands)));
    }

    /// Takes a dead letter in, and says that it has arrived. One that is refused is sent again.
    pub(super) fn take_dead_letter(&mut self, letter: DeadLetter) {
        let DeadLetter { of, to, body } = letter;
        let (ack, terms) = (AckLevel::Memory, Terms::default());
        let taken = self.append(&to, Append { ack, body: &body, count: 1, terms: &terms });
        match taken {
            Ok(_) => {
                let commands = Vec::from([(of.shard, Command::Buried(Box::new(of)))]);
                self.round.events.push((FORWARDING, Event::Forward(commands)));
            }
            Err(_) => self.drop_unused_topic(&to),
        }
    }

    /// A dead letter has arrived, or its record has left the topic: it is settled.
    pub(super) fn bury(&mut self, of: &DeadOf, arrived: bool) {
        let DeadOf { topic, group, offset, .. } = of;
        let Ok((id, found)) = self.group_of(topic, group) else { return };
        if found.buried(*offset, arrived) {
            self.log_settled(topic, group, Vec::from([(*offset, offset + 1)]));
            self.offer_later(id);
        }
    }
}

/// The record with headers that say what became of it; its own ones as far as there is room.
fn letter(record: &Record<'_>, of: &DeadOf, dead: &Dead) -> Bytes {
    let (offset, deliveries) = (dead.offset.to_string(), dead.deliveries.to_string());
    let said: [(&str, &str); 5] = [
        ("dead-topic", of.topic.as_str()),
        ("dead-group", of.group.as_str()),
        ("dead-offset", &offset),
        ("dead-deliveries", &deliveries),
        ("dead-reason", dead.reason.as_str()),
    ];
    let mut headers: Vec<(&str, &str)> = said.to_vec();
    headers.retain(|(name, _)| *name != "dead-deliveries" || dead.deliveries > 0);
    // Each text takes up to five bytes more.
    let cost = |(name, value): &(&str, &str)| name.len() + value.len() + 10;
    let mut bytes: usize = headers.iter().map(cost).sum();
    for header in record.headers() {
        bytes += cost(&header);
        if headers.len() >= HEADERS_MAX as usize || bytes > HEADERS_BYTES_MAX - 16 {
            break;
        }
        if !headers.iter().any(|(name, _)| *name == header.0) {
            headers.push(header);
        }
    }
    let mut body = BodyBuilder::new();
    body.push(record.key.map(String::from).as_deref(), &headers, record.payload);
    body.finish()
}
