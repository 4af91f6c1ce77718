//! Consumer groups of a shard's topics: what is asked of them, and what they hand out.

mod of_topic;
mod offering;
mod recovery;

pub(super) use recovery::resume;

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::SettleOp;
use tidewire_protocol::group::GroupInfo;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::log::LogEntry;
use super::message::{Event, Reply, SessionId};
use super::topics::Topic;
use super::{Shard, refuse};
use crate::group::{Failed, Group, GroupRules, Member, MemberId, Reason};
use crate::topic::TopicId;

/// Groups of one topic at most.
const GROUPS_MAX: usize = 64;

/// What is asked of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRequest {
    /// Its topic.
    pub topic: Name,
    /// Its name.
    pub group: Name,
    /// What is to be done.
    pub ask: GroupAsk,
}

/// See the frames of the same names in PROTOCOL.md.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the frames in PROTOCOL.md")]
pub enum GroupAsk {
    Create {
        rules: Arc<GroupRules>,
        start: GroupStart,
    },
    Delete,
    Reset {
        start: GroupStart,
    },
    Status,
    Consume {
        sub: u32,
        takes: Member,
    },
    Leave {
        sub: u32,
    },
    Settle {
        sub: u32,
        op: SettleOp,
        ranges: Vec<(u64, u64)>,
        delay_ms: Option<u64>,
        reason: Reason,
    },
}

impl GroupAsk {
    /// Whether it begins at an offset that it names.
    #[must_use]
    pub fn starts_at_offset(&self) -> bool {
        match self {
            Self::Create { start, .. } | Self::Reset { start } => {
                matches!(start, GroupStart::Offset(..))
            }
            Self::Delete
            | Self::Status
            | Self::Consume { .. }
            | Self::Leave { .. }
            | Self::Settle { .. } => false,
        }
    }

    /// Whether it changes something that is kept.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Delete | Self::Reset { .. } | Self::Settle { .. } => true,
            Self::Status | Self::Consume { .. } | Self::Leave { .. } => false,
        }
    }
}

/// Where a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupStart {
    /// With what is appended from now on.
    Latest,
    /// With the oldest record that is kept.
    Earliest,
    /// At an offset of an epoch; 0 stands for any.
    Offset(u64, u64),
    /// With the first batch appended at or after this Unix time in milliseconds.
    Time(u64),
    /// So many records before the end.
    Last(u64),
}

impl Shard {
    pub(super) fn group_request(
        &mut self,
        session: SessionId,
        request: GroupRequest,
    ) -> Result<Reply, Refusal> {
        let GroupRequest { topic, group, ask } = request;
        match ask {
            GroupAsk::Create { rules, start } => self.create_group(&topic, group, rules, start),
            GroupAsk::Delete => self.delete_group(&topic, &group),
            GroupAsk::Reset { start } => self.reset_group(&topic, &group, start),
            GroupAsk::Status => {
                let topic = self.topic_of(&topic)?;
                let info = topic.group_info(&group)?;
                Ok(Reply::Group(Box::new(info)))
            }
            GroupAsk::Consume { sub, takes } => {
                let now_ms = self.now_ms;
                let (id, found) = self.group_of(&topic, &group)?;
                found.join((session, sub), takes);
                self.topics.keep_active(id, now_ms);
                self.consuming.entry(session).or_default().insert((topic, group, sub));
                self.offer_later(id);
                Ok(Reply::Done)
            }
            GroupAsk::Leave { sub } => {
                if let Some(consuming) = self.consuming.get_mut(&session) {
                    consuming.remove(&(topic.clone(), group.clone(), sub));
                    if consuming.is_empty() {
                        self.consuming.remove(&session);
                    }
                }
                self.leave_group(&topic, &group, (session, sub));
                Ok(Reply::Done)
            }
            GroupAsk::Settle { sub, op, ranges, delay_ms, reason } => {
                let settle = Settle { op, ranges: &ranges, delay_ms, reason: &reason };
                self.settle(&topic, &group, (session, sub), &settle)
            }
        }
    }

    fn create_group(
        &mut self,
        name: &Name,
        group: Name,
        rules: Arc<GroupRules>,
        start: GroupStart,
    ) -> Result<Reply, Refusal> {
        let id = self.topic_id(name)?;
        let Some(topic) = self.topics.by_id.get_mut(id as usize) else { return Ok(Reply::Done) };
        if let Some(known) = topic.groups.as_ref().and_then(|groups| groups.get(&group)) {
            if *known.rules() != *rules {
                let message = format!(
                    "group '{group}' of topic '{name}' exists with other rules: delete it first, \
                     or ask for it as it is"
                );
                return Err(refuse(ErrorCode::AlreadyExists, message));
            }
            return Ok(Reply::Group(Box::new(topic.group_info(&group)?)));
        }
        let count = topic.groups.as_ref().map_or(0, |groups| groups.len());
        let next = match topic.offset_of(start) {
            Ok(_) if count >= GROUPS_MAX => {
                let message = format!("topic '{name}' has {GROUPS_MAX} groups, which is the limit");
                Err(refuse(ErrorCode::LimitExceeded, message))
            }
            offset => offset,
        };
        let next = match next {
            Ok(next) => next,
            Err(refusal) => {
                self.drop_unused_topic(name);
                return Err(refusal);
            }
        };
        topic
            .groups
            .get_or_insert_default()
            .insert(group.clone(), Group::new(Arc::clone(&rules), next));
        let info = GroupInfo { created: true, ..topic.group_info(&group)? };
        let (topic, epoch) = (name.clone(), topic.epoch);
        self.log(|| LogEntry::GroupMade { topic, epoch, group, rules, next });
        Ok(Reply::Group(Box::new(info)))
    }

    fn delete_group(&mut self, name: &Name, group: &Name) -> Result<Reply, Refusal> {
        let info = self.topic_of(name)?.group_info(group)?;
        self.forget_group(name, group);
        self.drop_unused_topic(name);
        Ok(Reply::Group(Box::new(info)))
    }

    /// Removes a group; nobody consumes it any more.
    pub(super) fn forget_group(&mut self, name: &Name, group: &Name) {
        let gone = self.group_of(name, group).map(|(_, found)| found.member_ids());
        for member in gone.unwrap_or_default() {
            let refusal = refuse(
                ErrorCode::NotFound,
                format!("group '{group}' of topic '{name}' was deleted: nothing more comes"),
            );
            let event = Event::ConsumerEnded { member, refusal };
            self.round.events.push((member.0.dispatcher, event));
        }
        if let Some(topic) = self.topics.find(name) {
            topic.remove_group(group);
        }
        for consuming in self.consuming.values_mut() {
            consuming.retain(|(of, gone, _)| of != name || gone != group);
        }
        self.consuming.retain(|_, consuming| !consuming.is_empty());
        self.log(|| LogEntry::GroupRemoved { topic: name.clone(), group: group.clone() });
    }

    fn reset_group(
        &mut self,
        name: &Name,
        group: &Name,
        start: GroupStart,
    ) -> Result<Reply, Refusal> {
        let topic = self.topic_of(name)?;
        topic.group_info(group)?;
        let next = topic.offset_of(start)?;
        let (id, found) = self.group_of(name, group)?;
        found.reset(next);
        self.offer_later(id);
        let (topic, group) = (name.clone(), group.clone());
        self.log(|| LogEntry::GroupReset { topic, group: group.clone(), next });
        Ok(Reply::Group(Box::new(self.topic_of(name)?.group_info(&group)?)))
    }

    fn settle(
        &mut self,
        name: &Name,
        group: &Name,
        member: MemberId,
        settle: &Settle<'_>,
    ) -> Result<Reply, Refusal> {
        let now_ms = self.now_ms;
        let (id, found) = self.group_of(name, group)?;
        if !found.has_member(member) {
            let message =
                format!("nobody consumes group '{group}' of topic '{name}' here any more");
            return Err(refuse(ErrorCode::NotFound, message));
        }
        if settle.op == SettleOp::Reject && found.rules().dead_letter.is_none() {
            let message = format!(
                "group '{group}' of topic '{name}' has no topic for dead letters: acknowledge the \
                 record, or make the group with one"
            );
            return Err(refuse(ErrorCode::InvalidArgument, message));
        }
        let (mut records, mut settled, mut failed) = (0, Vec::new(), Vec::new());
        for (from, next) in settle.ranges {
            match settle.op {
                SettleOp::Ack => {
                    let done = found.settle(member, *from, *next);
                    records += done.records;
                    settled.extend(done.ranges);
                }
                SettleOp::Nack => {
                    let (delay_ms, reason) = (settle.delay_ms, settle.reason);
                    let refused = found.refuse(member, (*from, *next), delay_ms, reason, now_ms);
                    records += refused.0;
                    failed.extend(refused.1);
                }
                SettleOp::Extend => records += found.extend(member, *from, *next, now_ms),
                SettleOp::Reject => {
                    let rejected = found.reject(member, (*from, *next), settle.reason);
                    records += rejected.0;
                    failed.extend(rejected.1);
                }
            }
        }
        self.log_settled(name, group, settled);
        self.log_failed(name, group, failed);
        self.offer_later(id);
        Ok(Reply::Settled(records))
    }

    /// A connection has ended: what it consumed goes to others.
    pub(super) fn stop_consuming(&mut self, session: SessionId) {
        for (topic, group, sub) in self.consuming.remove(&session).unwrap_or_default() {
            self.leave_group(&topic, &group, (session, sub));
        }
    }

    fn leave_group(&mut self, name: &Name, group: &Name, member: MemberId) {
        let now_ms = self.now_ms;
        let Ok((id, found)) = self.group_of(name, group) else { return };
        let failed = found.leave(member);
        self.log_failed(name, group, failed);
        self.topics.keep_active(id, now_ms);
        self.offer_later(id);
    }

    pub(super) fn log_settled(&mut self, topic: &Name, group: &Name, ranges: Vec<(u64, u64)>) {
        if !ranges.is_empty() {
            let (topic, group) = (topic.clone(), group.clone());
            self.log(|| LogEntry::GroupSettled { topic, group, ranges });
        }
    }

    pub(super) fn log_failed(&mut self, topic: &Name, group: &Name, failed: Vec<Failed>) {
        if !failed.is_empty() {
            let (topic, group) = (topic.clone(), group.clone());
            self.log(|| LogEntry::GroupFailed { topic, group, failed });
        }
    }

    fn topic_of(&mut self, name: &Name) -> Result<&mut Topic, Refusal> {
        let missing = || refuse(ErrorCode::NotFound, format!("there is no topic '{name}'"));
        self.topics.find(name).ok_or_else(missing)
    }

    pub(super) fn group_of(
        &mut self,
        name: &Name,
        group: &Name,
    ) -> Result<(TopicId, &mut Group), Refusal> {
        let missing = || no_group(name, group);
        let id = self.topics.id_of(name).ok_or_else(missing)?;
        let topic = self.topics.by_id.get_mut(id as usize);
        let found = topic.and_then(|topic| topic.groups.as_mut()?.get_mut(group));
        Ok((id, found.ok_or_else(missing)?))
    }
}

/// What a consumer says about records that it has.
struct Settle<'a> {
    op: SettleOp,
    ranges: &'a [(u64, u64)],
    delay_ms: Option<u64>,
    reason: &'a Reason,
}

pub(super) fn no_group(topic: &Name, group: &Name) -> Refusal {
    let message = format!("topic '{topic}' has no group '{group}': create it first");
    refuse(ErrorCode::NotFound, message)
}
