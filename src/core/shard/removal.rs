//! Topics that clients delete or truncate, where their policy allows it.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use tidewire_protocol::frame::TopicOp;
use tidewire_protocol::options::TopicOptions;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::log::LogEntry;
use super::message::Reply;
use super::{Shard, refuse};
use crate::topic::{Ring, TopicId};

impl Shard {
    pub(super) fn change_topic(
        &mut self,
        name: &Name,
        op: TopicOp,
        options: &TopicOptions,
    ) -> Result<Reply, Refusal> {
        let missing = || refuse(ErrorCode::NotFound, format!("there is no topic '{name}'"));
        let id = self.topics.id_of(name).ok_or_else(missing)?;
        let (pattern, policy) = self.config.policies.explain(name);
        if !policy.allow_delete {
            let of = pattern.map_or_else(
                || "no policy matches it".into(),
                |pattern| format!("the policy for '{pattern}' has allow_delete = false"),
            );
            let message =
                format!("topic '{name}' is neither deleted nor truncated by clients: {of}");
            return Err(refuse(ErrorCode::Forbidden, message));
        }
        self.seal_batch(id);
        match op {
            TopicOp::Delete => self.delete_topic(id, name),
            TopicOp::Truncate => self.truncate_topic(id, name, options),
        }
    }

    /// Removes records, map and groups. A topic that somebody follows stays, and its offsets go on.
    fn delete_topic(&mut self, id: TopicId, name: &Name) -> Result<Reply, Refusal> {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return Ok(Reply::Done) };
        let groups = topic.group_names();
        for group in &groups {
            self.forget_group(name, group);
        }
        let info = self.topic_info(name)?;
        let mut evicted = Vec::new();
        while let Some(sequence) = self.topics.evict(id, Ring::pop) {
            evicted.push(sequence);
        }
        self.tell_trimmed(id, evicted);
        let is_followed =
            self.topics.by_id.get(id as usize).is_some_and(super::topics::Topic::is_followed);
        if is_followed {
            self.clear_map(id);
            self.log(|| LogEntry::Truncated { topic: name.clone(), first: info.next });
        } else {
            self.remove_emptied(id);
        }
        Ok(Reply::Topic(Box::new(info)))
    }

    fn clear_map(&mut self, id: TopicId) {
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return };
        let Some(map) = &mut topic.map else { return };
        let mut gone = Vec::new();
        let keys: Vec<_> = map.changes_since(None).map(|change| change.key.clone()).collect();
        for key in keys {
            let version = self.cells.next_version();
            map.remove(&key, version);
            gone.push((key, version, None));
        }
        let name = topic.name.clone();
        if map.version() > topic.map_told {
            self.cells.mark(tidewire_protocol::frame::CellKind::Map, &name);
        }
        if self.is_durable() {
            self.log_map_keys(&name, None, gone);
        }
    }

    /// Removes whole batches from the front.
    fn truncate_topic(
        &mut self,
        id: TopicId,
        name: &Name,
        options: &TopicOptions,
    ) -> Result<Reply, Refusal> {
        let Some(topic) = self.topics.by_id.get(id as usize) else { return Ok(Reply::Done) };
        let next = topic.ring.next();
        let first = match (options.before_offset, options.before_time_ms) {
            (Some(offset), None) if offset <= next => offset,
            (Some(offset), None) => {
                let message =
                    format!("offset {offset} is beyond topic '{name}', which ends at {next}");
                return Err(refuse(ErrorCode::OutOfRange, message).actual(next));
            }
            (None, Some(time_ms)) => topic.ring.offset_at_time(time_ms),
            (None, None) | (Some(_), Some(_)) => {
                let rule = "truncate: say 'before_offset' or 'before_time_ms', one of them";
                return Err(refuse(ErrorCode::InvalidArgument, rule.into()));
            }
        };
        let mut evicted = Vec::new();
        while let Some(sequence) = self.topics.evict(id, |ring| ring.pop_before(first)) {
            evicted.push(sequence);
        }
        if !evicted.is_empty() {
            self.log(|| LogEntry::Truncated { topic: name.clone(), first });
        }
        self.tell_trimmed(id, evicted);
        self.schedule_topic(id);
        Ok(Reply::Topic(Box::new(self.topic_info(name)?)))
    }
}
