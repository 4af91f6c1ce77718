//! What the partitions of a topic say, as one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use tidewire_protocol::frame::{AsOf, CellKind};
use tidewire_protocol::group::GroupInfo;
use tidewire_protocol::options::TopicInfo;
use tidewire_protocol::tally::{Standings, TallyInfo, TallyReply};
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use crate::cell::Profile;
use crate::fanout::polls::{earlier, sum};
use crate::fanout::reply::encoded;
use crate::shard::{Reply, TallyPart, Value};

/// What the partitions of a topic say together.
pub(super) fn topic_of(replies: Vec<(u16, Reply)>) -> Option<TopicInfo> {
    let partitions = Some(replies.len() as u64);
    let each = replies.into_iter().filter_map(|(_, reply)| {
        let Reply::Topic(info) = reply else { return None };
        Some(*info)
    });
    let added = each.reduce(|one, other| TopicInfo {
        first: one.first + other.first,
        next: one.next + other.next,
        bytes: one.bytes + other.bytes,
        batches: one.batches + other.batches,
        ..one
    })?;
    Some(TopicInfo { partitions, ..added })
}

/// What the partitions of a group's topic say together.
pub(super) fn group_of(replies: Vec<(u16, Reply)>) -> Option<GroupInfo> {
    let partitions = Some(replies.len() as u64);
    let each = replies.into_iter().filter_map(|(_, reply)| {
        let Reply::Group(info) = reply else { return None };
        Some(*info)
    });
    let added = each.reduce(|one, other| GroupInfo {
        created: one.created || other.created,
        position: one.position + other.position,
        next: one.next + other.next,
        lag: one.lag + other.lag,
        leased: one.leased + other.leased,
        outstanding: one.outstanding + other.outstanding,
        consumers: one.consumers.max(other.consumers),
        missed: one.missed + other.missed,
        dead: one.dead + other.dead,
        redelivered: one.redelivered + other.redelivered,
        ..one
    })?;
    Some(GroupInfo { partitions, ..added })
}

pub(super) fn changed(replies: Vec<(u16, Reply)>) -> TallyReply {
    let each = replies.into_iter().filter_map(|(_, reply)| {
        let Reply::Tally(reply) = reply else { return None };
        Some(reply)
    });
    let added = each.reduce(|one, other| TallyReply {
        created: one.created || other.created,
        state: earlier(one.state, other.state),
        version: one.version + other.version,
    });
    added.unwrap_or_default()
}

pub(super) fn read(
    req: u64,
    kind: CellKind,
    replies: Vec<(u16, Reply)>,
) -> Result<ServerFrame, Refusal> {
    let mut sum_of = Values::default();
    let partitions = replies.len() as u64;
    for (_, reply) in replies {
        if let Reply::Value { epoch, version, value, as_of, .. } = reply {
            sum_of.add(epoch, version, value);
            sum_of.as_of = oldest(sum_of.as_of, as_of);
        } else if let Reply::Refused(refusal) = reply {
            sum_of.refusal = Some(refusal);
        }
    }
    let (epoch, version, as_of) = (sum_of.epoch, sum_of.version, sum_of.as_of);
    let value = Some(sum_of.encoded(partitions)?);
    Ok(ServerFrame::Value { req, kind: kind as u64, epoch, version, value, as_of })
}

/// As of when both of two values are what there is.
fn oldest(one: Option<AsOf>, other: Option<AsOf>) -> Option<AsOf> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(AsOf {
        as_of_ms: one.as_of_ms.min(other.as_of_ms),
        is_stale: one.is_stale || other.is_stale,
    })
}

/// The values that partitions have, on their way to being one.
#[derive(Default)]
struct Values {
    epoch: u64,
    version: u64,
    as_of: Option<AsOf>,
    incarnations: Vec<u64>,
    parts: Vec<TallyPart>,
    info: Option<Box<TallyInfo>>,
    profiles: Vec<Profile>,
    topic: Option<TopicInfo>,
    refusal: Option<Refusal>,
}

impl Values {
    fn add(&mut self, epoch: u64, version: u64, value: Value) {
        self.epoch = epoch;
        self.version += version;
        match value {
            Value::Part(part, info) => {
                self.incarnations.push(part.incarnation);
                self.parts.push(*part);
                self.info = Some(info);
            }
            Value::Ballots { incarnation, profile } => {
                self.incarnations.push(incarnation);
                self.profiles.push(*profile);
            }
            Value::Topic(info) => {
                let whole = self.topic.get_or_insert_default();
                whole.first += info.first;
                whole.next += info.next;
                whole.bytes += info.bytes;
                whole.batches += info.batches;
                whole.policy = info.policy;
            }
            Value::Absent
            | Value::Counter(_)
            | Value::Standings(..)
            | Value::Rounds(_)
            | Value::Entries(_)
            | Value::Bytes(_) => {}
        }
    }

    fn encoded(mut self, partitions: u64) -> Result<bytes::Bytes, Refusal> {
        if self.incarnations.windows(2).any(|pair| pair.first() != pair.last()) {
            let message = "the poll is being made anew: ask again";
            return Err(Refusal::new(ErrorCode::Unavailable, message).retry_after_ms(RETRY_MS));
        }
        if let Some(last) = self.profiles.pop() {
            return Ok(encoded(&last.rounds_with(&self.profiles)));
        }
        if let Some(info) = self.info {
            let (options, rules) = (Some(info.options), Some(info.rules));
            return Ok(encoded(&Standings { options, rules, ..sum(self.parts.iter()) }));
        }
        match (self.topic, self.refusal) {
            (Some(topic), _) => Ok(encoded(&TopicInfo { partitions: Some(partitions), ..topic })),
            (None, Some(refusal)) => Err(refusal),
            (None, None) => Err(Refusal::new(ErrorCode::Internal, "no partition has a value")),
        }
    }
}

/// When to ask again for a poll that is being made anew: it takes some rounds of shards.
const RETRY_MS: u64 = 10;
