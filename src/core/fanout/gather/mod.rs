//! Replies of several partitions, gathered into one.

use alloc::format;
use alloc::vec::Vec;

use tidewire_protocol::frame::{AckLevel, CellKind, Position};
use tidewire_protocol::group::SettleReply;
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};

use super::reply::encoded;
use crate::shard::{Origin, Reply};
use crate::{HashMap, hash_map};

mod sums;

use sums::{changed, group_of, read, topic_of};

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
        let is_refused = refusal_of(&reply).is_some_and(|refusal| gather.ends_with(refusal));
        let partition = u16::try_from(req & ((1 << PARTITION_BITS) - 1)).unwrap_or(0);
        gather.replies.push((partition, reply));
        gather.missing = gather.missing.saturating_sub(1);
        if gather.missing > 0 && !is_refused {
            return None;
        }
        let gather = self.by_number.remove(&number)?;
        let origin = gather.origin;
        Some(Complete { origin, outcome: gather.frame() })
    }
}

const TOPIC: Gathered = Gathered::Get(CellKind::Topic);

impl Gather {
    /// Whether a refusal of one partition is the reply to the whole, whatever the others say.
    fn ends_with(&self, refusal: &Refusal) -> bool {
        match self.kind {
            // What the others have done decides what it means.
            Gathered::Publish | Gathered::Group => false,
            // A partition that has no records yet does not exist.
            TOPIC | Gathered::Topic => refusal.code != ErrorCode::NotFound,
            Gathered::Tally | Gathered::Get(_) | Gathered::Settled => true,
        }
    }

    /// The refusal that is the reply to the whole, if there is one.
    fn refusal(&self) -> Option<Refusal> {
        let is_done = |reply: &Reply| match self.kind {
            Gathered::Publish => !matches!(reply, Reply::Refused(_)),
            Gathered::Group | Gathered::Topic => matches!(reply, Reply::Group(_) | Reply::Topic(_)),
            TOPIC => matches!(reply, Reply::Value { .. }),
            Gathered::Tally | Gathered::Get(_) | Gathered::Settled => false,
        };
        let some_have = self.replies.iter().any(|(_, reply)| is_done(reply));
        // A partition without it has nothing to say if others have it.
        let may_lack = some_have && self.kind != Gathered::Publish;
        let refusals = self.replies.iter().filter_map(|(_, reply)| refusal_of(reply));
        let mut refusals = refusals.filter(|one| !may_lack || one.code != ErrorCode::NotFound);
        let first = refusals.next()?.clone();
        if first.code != ErrorCode::ProducerUnknown || !some_have {
            return Some(first);
        }
        // Of a first attempt nothing was appended, says that code; here some was.
        let message = format!("some partitions have appended their records: {}", first.message);
        Some(Refusal { code: ErrorCode::OutcomeUnknown, message, ..first })
    }

    fn frame(mut self) -> Result<Option<ServerFrame>, Refusal> {
        self.replies.sort_unstable_by_key(|(partition, _)| *partition);
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
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

#[cfg(test)]
mod tests {
    use tidewire_protocol::group::GroupInfo;

    use super::*;
    use crate::shard::SessionId;

    const DONE: Reply =
        Reply::Published { epoch: 1, offset: Some(7), level: AckLevel::Memory, duplicate: false };

    fn no(code: ErrorCode) -> Reply {
        Reply::Refused(Refusal::new(code, "no"))
    }

    /// The reply to a request to two partitions, of which the second one answers first.
    fn whole(
        kind: Gathered,
        [first, second]: [Reply; 2],
    ) -> Result<Option<ServerFrame>, ErrorCode> {
        let mut gathers = Gathers::new(1);
        let session = SessionId { dispatcher: 0, slot: 0, generation: 0 };
        let origin = Origin { session, stream: 0, req: 5 };
        let id = gathers.begin(origin, kind, 2);
        let early = gathers.take(id.req(1), second);
        let complete = gathers.take(id.req(0), first).or(early).expect("both have answered");
        complete.outcome.map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_publish_that_some_partitions_have_appended_is_not_simply_refused() {
        let publish = |first, second| whole(Gathered::Publish, [first, second]);
        let unknown = || no(ErrorCode::ProducerUnknown);
        for replies in [[DONE, unknown()], [unknown(), DONE]] {
            assert_eq!(whole(Gathered::Publish, replies), Err(ErrorCode::OutcomeUnknown));
        }
        assert_eq!(publish(unknown(), unknown()), Err(ErrorCode::ProducerUnknown));
        assert_eq!(publish(no(ErrorCode::NotFound), DONE), Err(ErrorCode::NotFound));
        assert!(publish(DONE, DONE).is_ok_and(|frame| frame.is_some()));
    }

    #[test]
    fn a_partition_that_has_no_group_says_nothing_and_one_that_fails_does() {
        let group = || Reply::Group(GroupInfo::default().into());
        let missing = || no(ErrorCode::NotFound);
        let ask = |first, second| whole(Gathered::Group, [first, second]);
        assert!(ask(missing(), group()).is_ok() && ask(group(), missing()).is_ok());
        assert_eq!(ask(missing(), missing()), Err(ErrorCode::NotFound));
        assert_eq!(ask(group(), no(ErrorCode::StorageFull)), Err(ErrorCode::StorageFull));
    }
}
