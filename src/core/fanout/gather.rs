//! Replies of several partitions, gathered into one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use tidewire_protocol::frame::{AckLevel, CellKind, Position};
use tidewire_protocol::group::{GroupInfo, SettleReply};
use tidewire_protocol::options::TopicInfo;
use tidewire_protocol::tally::{Standings, TallyInfo, TallyReply};
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use super::polls::{earlier, sum};
use super::reply::encoded;
use crate::cell::Profile;
use crate::shard::{Origin, Reply, TallyPart, Value};
use crate::{HashMap, hash_map};

/// Requests of clients have smaller ids; from here on they are the dispatcher's own.
const OWN_REQUESTS: u64 = 1 << 60;
/// Room for the number of a partition in such an id.
const PARTITION_BITS: u32 = 8;

/// Requests that several shards are answering. There is one for each such request in flight.
#[derive(Debug)]
pub(super) struct Gathers {
    by_number: HashMap<u64, Gather>,
    last: u64,
}

/// What is asked of several partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    Publish,
    Tally,
    Get(CellKind),
    Group,
    Topic,
    Settled,
}

#[derive(Debug)]
struct Gather {
    origin: Origin,
    kind: Gathered,
    missing: usize,
    replies: Vec<(u16, Reply)>,
}

/// The number of a gather.
#[derive(Clone, Copy, Debug)]
pub(super) struct GatherId(u64);

impl GatherId {
    /// The request id under which one partition is asked.
    pub(super) fn req(self, partition: u16) -> u64 {
        OWN_REQUESTS | self.0 << PARTITION_BITS | u64::from(partition)
    }
}

/// A request that has been answered by all it was asked of, or refused by one.
pub(super) struct Complete {
    pub(super) origin: Origin,
    /// `None`: no reply is wanted.
    pub(super) outcome: Result<Option<ServerFrame>, Refusal>,
}

impl Gathers {
    pub(super) fn new(seed: u64) -> Self {
        Self { by_number: hash_map(seed), last: 0 }
    }

    pub(super) fn begin(&mut self, origin: Origin, kind: Gathered, replies: usize) -> GatherId {
        self.last += 1;
        let gather = Gather { origin, kind, missing: replies, replies: Vec::new() };
        self.by_number.insert(self.last, gather);
        GatherId(self.last)
    }

    /// Whether a request id is one that a gather has given out.
    pub(super) fn owns(req: u64) -> bool {
        req >= OWN_REQUESTS
    }

    /// Takes one partition's reply. A refusal is the reply to the whole; what the others say after
    /// it is of no interest.
    pub(super) fn take(&mut self, req: u64, reply: Reply) -> Option<Complete> {
        let number = (req & !OWN_REQUESTS) >> PARTITION_BITS;
        let gather = self.by_number.get_mut(&number)?;
        let refusal = refusal_of(&reply)
            // A partition that has no records yet does not exist.
            .filter(|refusal| {
                let may_lack = [TOPIC, Gathered::Topic].contains(&gather.kind);
                !may_lack || refusal.code != ErrorCode::NotFound
            })
            .cloned();
        let partition = u16::try_from(req & ((1 << PARTITION_BITS) - 1)).unwrap_or(0);
        gather.replies.push((partition, reply));
        gather.missing = gather.missing.saturating_sub(1);
        if gather.missing > 0 && refusal.is_none() {
            return None;
        }
        let gather = self.by_number.remove(&number)?;
        let origin = gather.origin;
        let outcome = refusal.map_or_else(|| gather.frame(), Err);
        Some(Complete { origin, outcome })
    }
}

const TOPIC: Gathered = Gathered::Get(CellKind::Topic);

impl Gather {
    fn frame(mut self) -> Result<Option<ServerFrame>, Refusal> {
        self.replies.sort_unstable_by_key(|(partition, _)| *partition);
        let req = self.origin.req;
        match self.kind {
            Gathered::Publish => Ok(published(req, self.replies)),
            Gathered::Tally => {
                let result = Some(encoded(&changed(self.replies)));
                Ok(Some(ServerFrame::Ok { req, result }))
            }
            Gathered::Get(kind) => read(req, kind, self.replies).map(Some),
            Gathered::Settled => {
                let settled = |reply: &Reply| match reply {
                    Reply::Settled(records) => Some(*records),
                    Reply::Refused(_)
                    | Reply::Published { .. }
                    | Reply::Silent
                    | Reply::Counted { .. }
                    | Reply::Voted { .. }
                    | Reply::Tally(_)
                    | Reply::Group(_)
                    | Reply::Topic(_)
                    | Reply::Done
                    | Reply::Value { .. } => None,
                };
                let records = self.replies.iter().filter_map(|(_, reply)| settled(reply));
                let result = Some(encoded(&SettleReply { records: records.sum() }));
                Ok(Some(ServerFrame::Ok { req, result }))
            }
            Gathered::Topic => {
                let result = topic_of(self.replies).map(|info| encoded(&info));
                Ok(Some(ServerFrame::Ok { req, result }))
            }
            Gathered::Group => {
                let result = group_of(self.replies).map(|info| encoded(&info));
                Ok(Some(ServerFrame::Ok { req, result }))
            }
        }
    }
}

fn refusal_of(reply: &Reply) -> Option<&Refusal> {
    let Reply::Refused(refusal) = reply else { return None };
    Some(refusal)
}

fn published(req: u64, replies: Vec<(u16, Reply)>) -> Option<ServerFrame> {
    // All partitions of a topic are kept in the same way.
    let mut reached = AckLevel::Memory;
    let mut all_before = true;
    let position = |(partition, reply)| {
        let Reply::Published { epoch, offset, level, duplicate } = reply else { return None };
        reached = level;
        all_before &= duplicate;
        Some(Position(u64::from(partition), epoch, offset?))
    };
    let wants_reply = replies.iter().any(|(_, reply)| matches!(reply, Reply::Published { .. }));
    let positions: Vec<Position> = replies.into_iter().filter_map(position).collect();
    let level = reached as u64;
    // Positions are not known of what is acknowledged early.
    wants_reply.then_some(ServerFrame::PubAck {
        req,
        epoch: 0,
        offset: None,
        level,
        positions: Some(positions).filter(|positions| !positions.is_empty()),
        duplicate: all_before,
    })
}

/// What the partitions of a topic say together.
fn topic_of(replies: Vec<(u16, Reply)>) -> Option<TopicInfo> {
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
fn group_of(replies: Vec<(u16, Reply)>) -> Option<GroupInfo> {
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

fn changed(replies: Vec<(u16, Reply)>) -> TallyReply {
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

fn read(req: u64, kind: CellKind, replies: Vec<(u16, Reply)>) -> Result<ServerFrame, Refusal> {
    let mut sum_of = Values::default();
    let partitions = replies.len() as u64;
    for (_, reply) in replies {
        if let Reply::Value { epoch, version, value, .. } = reply {
            sum_of.add(epoch, version, value);
        } else if let Reply::Refused(refusal) = reply {
            sum_of.refusal = Some(refusal);
        }
    }
    let (epoch, version) = (sum_of.epoch, sum_of.version);
    let value = sum_of.encoded(partitions)?;
    Ok(ServerFrame::Value { req, kind: kind as u64, epoch, version, value: Some(value) })
}

/// The values that partitions have, on their way to being one.
#[derive(Default)]
struct Values {
    epoch: u64,
    version: u64,
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
