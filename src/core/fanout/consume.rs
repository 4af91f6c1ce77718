//! Consumers of groups: CONSUME, SETTLE and GROUP on their way to the shards, LEASED on its way back.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use tidewire_protocol::frame::SettleOp;
use tidewire_protocol::group::{ConsumeOptions, RANGES_MAX, REASON_BYTES_MAX, SettleOptions};
use tidewire_protocol::record::Records;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Refusal, ServerFrame};

use super::gather::Gathered;
use super::group_rules::{ask_of, check_time};
use super::request::{check_len, writable};
use super::{Dispatcher, invalid};
use crate::group::{Leased, Member, MemberId, Reason};
use crate::shard::{Command, GroupAsk, GroupRequest, Origin, Request, SessionId};
use crate::shard_of_partition;

/// Consumptions of one connection.
const CONSUMING_MAX: usize = 16;
/// Records that a consumer has at once, unless it asks for another number, and at most.
const IN_FLIGHT: u64 = 64;
const IN_FLIGHT_MAX: u64 = 4_096;
/// Bytes that a consumer has at once: what is leased waits in its connection's memory.
const IN_FLIGHT_BYTES: u64 = 1024 * 1024;
/// Bytes of a LEASED beside its deliveries and its body, at most; and of each delivery.
const LEASED_HEAD_BYTES: usize = 512;
const DELIVERY_BYTES: usize = 15;
/// Longest name of a group in bytes.
const GROUP_BYTES_MAX: usize = 64;

/// A group that a connection consumes.
#[derive(Clone, Debug)]
pub(super) struct Consuming {
    pub(super) topic: Name,
    pub(super) group: Name,
    /// The request that has asked for it, until it is answered.
    pub(super) req: u64,
    /// Where what is leased goes.
    pub(super) stream: u16,
    pub(super) home: u16,
    pub(super) partitions: u16,
    /// Why it ends as soon as its request has been answered.
    pub(super) ends: Option<Refusal>,
}

impl Consuming {
    fn leave(&self, sub: u32) -> Request {
        let (topic, group) = (self.topic.clone(), self.group.clone());
        Request::Group(Box::new(GroupRequest { topic, group, ask: GroupAsk::Leave { sub } }))
    }
}

impl Dispatcher {
    /// Takes a frame that concerns a group; returns what the shards have to do.
    pub(super) fn group_frame(
        &mut self,
        origin: Origin,
        frame: ClientFrame,
    ) -> Result<Option<(u16, Command)>, Refusal> {
        match frame {
            ClientFrame::Group { op, topic, group, options, .. } => {
                let ask = ask_of(op, &topic, &options)?;
                self.check_dead_letter(origin.session, &options)?;
                check_len("group", group.as_str(), GROUP_BYTES_MAX)?;
                writable(&topic)?;
                let (home, partitions) = self.route(&topic);
                if partitions > 1 && ask.starts_at_offset() {
                    let message = format!(
                        "topic '{topic}' has {partitions} partitions, each with offsets of its own: \
                         start at a time, or so many records before the end"
                    );
                    return Err(invalid(message));
                }
                let request = GroupRequest { topic, group, ask };
                Ok(self.ask_group(origin, home, partitions, request))
            }
            ClientFrame::Consume { sub, topic, group, options, .. } => {
                self.consume(origin, sub, topic, group, &options)
            }
            ClientFrame::Settle { sub, op, offsets, options, .. } => {
                self.settle(origin, sub, op, offsets, options)
            }
            ClientFrame::Hello { .. }
            | ClientFrame::Auth { .. }
            | ClientFrame::Ping { .. }
            | ClientFrame::Pong { .. }
            | ClientFrame::Credit { .. }
            | ClientFrame::Publish { .. }
            | ClientFrame::Subscribe { .. }
            | ClientFrame::Unsubscribe { .. }
            | ClientFrame::Incr { .. }
            | ClientFrame::Vote { .. }
            | ClientFrame::Get { .. }
            | ClientFrame::Watch { .. }
            | ClientFrame::Presence { .. }
            | ClientFrame::Tally { .. }
            | ClientFrame::Topic { .. }
            | ClientFrame::Invalidate { .. }
            | ClientFrame::Producer { .. } => Ok(None),
        }
    }

    fn consume(
        &mut self,
        origin: Origin,
        sub: u32,
        topic: Name,
        group: Name,
        options: &ConsumeOptions,
    ) -> Result<Option<(u16, Command)>, Refusal> {
        let slot = self.check_sub(origin.session, sub)?;
        let in_flight = options.in_flight.unwrap_or(IN_FLIGHT);
        if in_flight == 0 || in_flight > IN_FLIGHT_MAX {
            return Err(invalid(format!("option 'in_flight': 1 to {IN_FLIGHT_MAX}")));
        }
        let (home, partitions) = self.route(&topic);
        // Each partition hands out its share.
        let share = |all: u64| (all / u64::from(partitions)).max(1);
        let records_max = u32::try_from(share(in_flight)).unwrap_or(u32::MAX);
        let takes = Member { records_max, bytes_max: share(IN_FLIGHT_BYTES) };
        let Some(session) = self.sessions.get_mut(slot) else { return Ok(None) };
        if session.rest.consuming.len() >= CONSUMING_MAX {
            let message = format!("a connection consumes at most {CONSUMING_MAX} times at once");
            return Err(Refusal::new(ErrorCode::LimitExceeded, message));
        }
        for partition in 0..partitions {
            session.rest.present.insert(shard_of_partition(home, partition));
        }
        let Origin { req, stream, .. } = origin;
        let (name, of) = (topic.clone(), group.clone());
        let consuming =
            Consuming { topic: name, group: of, req, stream, home, partitions, ends: None };
        session.rest.consuming.insert(sub, consuming);
        let request = GroupRequest { topic, group, ask: GroupAsk::Consume { sub, takes } };
        Ok(self.ask_group(origin, home, partitions, request))
    }

    fn settle(
        &mut self,
        origin: Origin,
        sub: u32,
        op: SettleOp,
        ranges: Vec<(u64, u64)>,
        options: SettleOptions,
    ) -> Result<Option<(u16, Command)>, Refusal> {
        let session = self.slot(origin.session).and_then(|slot| self.sessions.get(slot));
        let consuming = session.and_then(|session| session.rest.consuming.get(&sub));
        let Some(Consuming { topic, group, home, partitions, .. }) = consuming.cloned() else {
            let message = format!("this connection consumes nothing under id {sub}");
            return Err(Refusal::new(ErrorCode::SubscriptionUnknown, message));
        };
        let SettleOptions { delay_ms, reason, partition } = options;
        if ranges.len() > RANGES_MAX {
            return Err(invalid(format!("offsets: at most {RANGES_MAX} ranges")));
        }
        if let Some((from, next)) = ranges.iter().find(|(from, next)| from >= next) {
            return Err(invalid(format!("offsets: [{from}, {next}) holds nothing")));
        }
        if ranges.iter().zip(ranges.iter().skip(1)).any(|(one, other)| one.1 > other.0) {
            return Err(invalid("offsets: ranges in ascending order, without overlaps".into()));
        }
        let partition = match (partitions, partition) {
            (1, None | Some(0)) => 0,
            (_, Some(partition)) if partition < u64::from(partitions) => partition,
            (_, Some(_)) => {
                let message = format!("topic '{topic}' has {partitions} partitions, from 0 on");
                return Err(Refusal::new(ErrorCode::OutOfRange, message));
            }
            (_, None) => {
                let message = format!("topic '{topic}' has partitions: say which, as in LEASED");
                return Err(invalid(message));
            }
        };
        let delay_ms = check_time("delay_ms", delay_ms, 0)?;
        if let Some(reason) = &reason {
            check_len("option 'reason'", reason, REASON_BYTES_MAX)?;
        }
        let reason = reason.unwrap_or_else(|| String::from("refused by its consumer"));
        let reason = Reason::Said(reason.into());
        let ask = GroupAsk::Settle { sub, op, ranges, delay_ms, reason };
        let shard = shard_of_partition(home, u16::try_from(partition).unwrap_or(0));
        self.count_in_flight(origin.session);
        let request = Request::Group(Box::new(GroupRequest { topic, group, ask }));
        Ok(Some((shard, Command::Request(origin, request))))
    }

    /// Whether the connection consumes something under this number.
    pub(super) fn consumes(&self, id: SessionId, sub: u32) -> bool {
        let session = self.slot(id).and_then(|slot| self.sessions.get(slot));
        session.is_some_and(|session| session.rest.consuming.contains_key(&sub))
    }

    /// Ends a consumption, if the connection has one of this number; returns what its shards have to
    /// do, which answers UNSUBSCRIBE.
    pub(super) fn stop_consuming(&mut self, origin: Origin, sub: u32) -> Option<(u16, Command)> {
        let session = self.slot(origin.session).and_then(|slot| self.sessions.get_mut(slot));
        let consuming = session.and_then(|session| session.rest.consuming.remove(&sub))?;
        let Request::Group(request) = consuming.leave(sub) else { return None };
        self.ask_group(origin, consuming.home, consuming.partitions, *request)
    }

    /// A consumer that was to end may go on after all.
    pub(super) fn keep_consumer(&mut self, id: SessionId, sub: u32) {
        let session = self.slot(id).and_then(|slot| self.sessions.get_mut(slot));
        if let Some(consuming) = session.and_then(|session| session.rest.consuming.get_mut(&sub)) {
            consuming.ends = None;
        }
    }

    /// Ends a consumer that may not go on.
    pub(super) fn stop_consumer(&mut self, id: SessionId, sub: u32, refusal: Refusal) {
        let session = self.slot(id).and_then(|slot| self.sessions.get_mut(slot));
        let Some(consuming) = session.and_then(|session| session.rest.consuming.get_mut(&sub))
        else {
            return;
        };
        if consuming.req != 0 {
            // Who leaves before the shard has taken them in would stay.
            consuming.ends = Some(refusal);
            return;
        }
        let leave = consuming.leave(sub);
        let (home, partitions, stream) = (consuming.home, consuming.partitions, consuming.stream);
        let origin = Origin { session: id, stream, req: 0 };
        for partition in 0..partitions {
            self.count_in_flight(id);
            let shard = shard_of_partition(home, partition);
            self.outgoing.push_back((shard, Command::Request(origin, leave.clone())));
        }
        self.consumer_ended((id, sub), refusal);
    }

    /// A shard says that a consumer gets nothing more. The partitions say so one by one.
    pub(super) fn consumer_ended(&mut self, (id, sub): MemberId, refusal: Refusal) {
        let Some(slot) = self.slot(id) else { return };
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(gone) = session.rest.consuming.remove(&sub) else { return };
        self.refused(id, &refusal);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let mut frame = ServerFrame::refuse(0, refusal);
        if let ServerFrame::Error { sub: ended, .. } = &mut frame {
            *ended = Some(sub);
        }
        session.push(gone.stream, &frame);
        self.mark_replied(slot);
    }

    /// Asks all partitions of a group's topic.
    fn ask_group(
        &mut self,
        origin: Origin,
        home: u16,
        partitions: u16,
        request: GroupRequest,
    ) -> Option<(u16, Command)> {
        self.count_in_flight(origin.session);
        let request = Request::Group(Box::new(request));
        if partitions <= 1 {
            return Some((home, Command::Request(origin, request)));
        }
        let gather = self.gathers.begin(origin, Gathered::Group, usize::from(partitions));
        for partition in 0..partitions {
            let origin = Origin { req: gather.req(partition), ..origin };
            let shard = shard_of_partition(home, partition);
            self.more_commands.push_back((shard, Command::Request(origin, request.clone())));
        }
        self.more_commands.pop_front()
    }

    fn count_in_flight(&mut self, id: SessionId) {
        if let Some(session) = self.slot(id).and_then(|slot| self.sessions.get_mut(slot)) {
            session.rest.in_flight += 1;
        }
    }

    /// A request of the connection has been answered: it may be a CONSUME.
    pub(super) fn consume_answered(&mut self, slot: usize, req: u64, is_refused: bool) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let id = session.id;
        let found = session.rest.consuming.iter_mut().find(|(_, consuming)| consuming.req == req);
        let Some((sub, consuming)) = found else { return };
        consuming.req = 0;
        let (sub, ends) = (*sub, consuming.ends.take());
        if !is_refused {
            if let Some(refusal) = ends {
                self.stop_consumer(id, sub, refusal);
            }
            return;
        }
        let Some(gone) = session.rest.consuming.remove(&sub) else { return };
        // Some partitions may have taken it in.
        let origin = Origin { session: id, stream: gone.stream, req: 0 };
        for partition in (0..gone.partitions).filter(|_| gone.partitions > 1) {
            self.count_in_flight(id);
            let shard = shard_of_partition(gone.home, partition);
            self.outgoing.push_back((shard, Command::Request(origin, gone.leave(sub))));
        }
    }

    /// Passes records on to their consumer. If it has gone meanwhile, its shard hears of that.
    pub(super) fn leased(
        &mut self,
        topic: &Name,
        epoch: u64,
        partition: Option<u16>,
        lease: Leased,
    ) {
        let Leased { member: (id, sub), time_ms, deliveries, body } = lease;
        let Some(slot) = self.slot(id) else { return };
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(consuming) = session.rest.consuming.get(&sub) else { return };
        if consuming.ends.is_some() {
            return;
        }
        let (stream, bytes_max) = (consuming.stream, self.limits.max_frame_bytes);
        let partition = partition.map(u64::from);
        for (deliveries, body) in frames_of(&deliveries, &body, bytes_max) {
            self.stats.deliveries += 1;
            self.stats.records += deliveries.len() as u64;
            self.stats.body_bytes += body.len() as u64;
            let topic = topic.clone();
            let frame =
                ServerFrame::Leased { sub, topic, epoch, time_ms, partition, deliveries, body };
            session.push(stream, &frame);
        }
        self.mark_replied(slot);
    }
}

/// Deliveries of one LEASED, and the body that goes with them.
type Part = (Vec<(u64, u64)>, Bytes);

/// Cuts what is leased into frames that are no larger than they may be. One record alone always
/// makes a frame.
fn frames_of(deliveries: &[(u64, u32)], body: &Bytes, frame_bytes_max: usize) -> Vec<Part> {
    let body_bytes_max = frame_bytes_max.saturating_sub(LEASED_HEAD_BYTES);
    let mut parts: Vec<Part> = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut open = Vec::new();
    for ((offset, times), record) in deliveries.iter().zip(Records::of(body)) {
        let bytes = record.encoded.len() + DELIVERY_BYTES * (open.len() + 1);
        if !open.is_empty() && end - start + bytes > body_bytes_max {
            parts.push((core::mem::take(&mut open), body.slice(start..end)));
            start = end;
        }
        open.push((*offset, u64::from(*times)));
        end += record.encoded.len();
    }
    parts.push((open, body.slice(start..end)));
    parts
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;
    use tidewire_protocol::record::BodyBuilder;

    use super::*;

    proptest! {
        /// The parts are the whole, in order, and only a part of one record is too large.
        #[test]
        fn what_is_leased_is_cut_between_records(
            sizes in proptest::collection::vec(0_usize..3_000, 1..40),
            frame_bytes_max in 600_usize..6_000,
        ) {
            let mut body = BodyBuilder::new();
            for size in &sizes {
                body.push(None, &[], Some(&vec![7; *size]));
            }
            let body = body.finish();
            let deliveries: Vec<(u64, u32)> = (10..).zip(1..).take(sizes.len()).collect();
            let parts = frames_of(&deliveries, &body, frame_bytes_max);
            let whole: Vec<u8> = parts.iter().flat_map(|(_, body)| body.to_vec()).collect();
            prop_assert_eq!(&whole[..], &body[..]);
            let told: Vec<(u64, u32)> = parts
                .iter()
                .flat_map(|(told, _)| told.iter().map(|(at, times)| (*at, *times as u32)))
                .collect();
            prop_assert_eq!(told, deliveries);
            for (told, body) in &parts {
                prop_assert_eq!(Records::of(body).count(), told.len());
                let bytes = body.len() + DELIVERY_BYTES * told.len() + LEASED_HEAD_BYTES;
                prop_assert!(told.len() == 1 || bytes <= frame_bytes_max);
            }
        }
    }
}
