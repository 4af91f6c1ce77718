//! Replies of shards, as frames in the outbox of the connection that asked.

use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::put_entry;
use tidewire_protocol::group::SettleReply;
use tidewire_protocol::tally::Standings;
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame, wire};

use super::Dispatcher;
use super::gather::{Complete, Gathers};
use crate::shard::{KeyedEntry, Origin, Reply, SessionId, Value};

impl Dispatcher {
    pub(super) fn answer(&mut self, id: SessionId, stream: u16, req: u64, reply: Reply) {
        if !Gathers::owns(req) {
            let is_refused = matches!(reply, Reply::Refused(_));
            return self.answer_with(id, stream, req, frame_of(req, reply), is_refused);
        }
        let Some(Complete { origin, outcome }) = self.gathers.take(req, reply) else { return };
        let Origin { session, stream, req } = origin;
        match outcome {
            Ok(frame) => self.answer_with(session, stream, req, frame, false),
            Err(refusal) => {
                let frame = Some(ServerFrame::refuse(req, refusal));
                self.answer_with(session, stream, req, frame, true);
            }
        }
    }

    fn answer_with(
        &mut self,
        id: SessionId,
        stream: u16,
        req: u64,
        frame: Option<ServerFrame>,
        is_refused: bool,
    ) {
        let (req, frame) = self.audit_answered(req, frame);
        let Some(slot) = self.slot(id) else { return };
        if is_refused {
            self.refused_by(id, frame.as_ref());
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.rest.in_flight = session.rest.in_flight.saturating_sub(1);
        if req != 0
            && let Some(frame) = frame
        {
            session.push(stream, &fitting(frame, self.limits.max_frame_bytes));
        }
        let consumes = !session.rest.consuming.is_empty();
        self.mark_replied(slot);
        if consumes && req != 0 {
            self.consume_answered(slot, req, is_refused);
        }
    }
}

/// Bytes that a VALUE needs beside its value, at most.
const VALUE_HEAD_BYTES: usize = 64;

/// The frame, or a refusal if its value is too large for one.
fn fitting(frame: ServerFrame, max_frame_bytes: usize) -> ServerFrame {
    if let ServerFrame::Value { req, value: Some(value), .. } = &frame
        && value.len() + VALUE_HEAD_BYTES > max_frame_bytes
    {
        let message = format!(
            "the value has {} bytes, and a frame at most {max_frame_bytes}: \
             watch it, which brings it in parts, read single keys, or raise max_frame_bytes",
            value.len()
        );
        return ServerFrame::refuse(*req, Refusal::new(ErrorCode::LimitExceeded, message));
    }
    frame
}

fn frame_of(req: u64, reply: Reply) -> Option<ServerFrame> {
    Some(match reply {
        Reply::Silent => return None,
        Reply::Refused(refusal) => ServerFrame::refuse(req, refusal),
        Reply::Published { epoch, offset, level, duplicate } => {
            let (level, positions) = (level as u64, None);
            ServerFrame::PubAck { req, epoch, offset, level, positions, duplicate }
        }
        Reply::Counted { epoch, counted, as_of } => ServerFrame::Counted {
            req,
            epoch,
            version: counted.version,
            value: counted.value,
            applied: counted.applied,
            duplicate: counted.duplicate,
            as_of,
        },
        Reply::Voted { epoch, voted, partition } => ServerFrame::Voted {
            req,
            epoch,
            version: voted.version,
            status: voted.status as u64,
            revision: voted.revision,
            partition: partition.map(u64::from),
        },
        Reply::Tally(result) => ServerFrame::Ok { req, result: Some(encoded(&result)) },
        Reply::Done => ServerFrame::Ok { req, result: None },
        Reply::Topic(info) => ServerFrame::Ok { req, result: Some(encoded(&*info)) },
        Reply::Group(info) => ServerFrame::Ok { req, result: Some(encoded(&*info)) },
        Reply::Settled(records) => {
            ServerFrame::Ok { req, result: Some(encoded(&SettleReply { records })) }
        }
        Reply::Value { kind, epoch, version, value, as_of } => {
            let (kind, value) = (kind as u64, value_of(value));
            ServerFrame::Value { req, kind, epoch, version, value, as_of }
        }
    })
}

fn value_of(value: Value) -> Option<Bytes> {
    Some(match value {
        Value::Absent => return None,
        Value::Counter(value) => encoded(&value),
        Value::Standings(standings, info) => {
            let (options, rules) = (Some(info.options), Some(info.rules));
            encoded(&Standings { options, rules, ..*standings })
        }
        // One partition alone is never asked: its replies are gathered.
        Value::Part(..) | Value::Ballots { .. } => return None,
        Value::Rounds(rounds) => encoded(&rounds),
        Value::Entries(entries) => entries_of(&entries),
        Value::Bytes(bytes) => {
            let mut out = Vec::with_capacity(bytes.len() + 5);
            wire::put_bin(&mut out, &bytes);
            out.into()
        }
        Value::Topic(info) => encoded(&*info),
    })
}

fn entries_of(entries: &[KeyedEntry]) -> Bytes {
    let mut out = Vec::new();
    wire::put_array(&mut out, entries.len());
    for entry in entries {
        put_entry(&mut out, &entry.key, entry.version, entry.value.as_deref());
    }
    out.into()
}

pub(super) fn encoded<T: serde::Serialize>(value: &T) -> Bytes {
    let mut out = Vec::new();
    wire::put_value(&mut out, value);
    out.into()
}
