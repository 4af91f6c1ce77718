//! Writing the frames that a server sends, whole or as a header before shared bytes.

use super::{AsOf, ServerFrame};
use crate::frame::{Position, head, number};
use crate::name::Name;
use crate::wire;

impl ServerFrame {
    /// Appends the frame's encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Deliver { sub, topic, epoch, from, next, time_ms, position, offsets, body } => {
                let header = DeliverHeader {
                    sub: *sub,
                    topic: topic.as_str(),
                    epoch: *epoch,
                    from: *from,
                    next: *next,
                    time_ms: *time_ms,
                    position: *position,
                    offsets: offsets.as_deref(),
                    body_len: body.len(),
                };
                put_deliver_header(out, &header);
                out.extend_from_slice(body);
            }
            Self::Gap { sub, topic, epoch, from, next, reason, position } => {
                head(out, number::GAP, 6 + usize::from(position.is_some()));
                wire::put_uint(out, u64::from(*sub));
                wire::put_opt(out, topic.as_ref().map(Name::as_str), wire::put_str);
                put_uints(out, &[*epoch, *from, *next, *reason]);
                put_trailing(out, *position, put_position);
            }
            Self::Progress { sub, topic, epoch, next, position } => {
                head(out, number::PROGRESS, 5);
                wire::put_uint(out, u64::from(*sub));
                wire::put_opt(out, topic.as_ref().map(Name::as_str), wire::put_str);
                put_uints(out, &[*epoch, *next]);
                wire::put_opt(out, *position, put_position);
            }
            Self::Leased { sub, topic, epoch, time_ms, partition, deliveries, body } => {
                head(out, number::LEASED, 7);
                wire::put_uint(out, u64::from(*sub));
                wire::put_str(out, topic.as_str());
                put_uints(out, &[*epoch, *time_ms]);
                wire::put_opt(out, *partition, wire::put_uint);
                wire::put_value(out, deliveries);
                wire::put_bin(out, body);
            }
            Self::Update { sub, version, flags, value } => {
                put_update_header(out, *sub, *version, *flags);
                put_raw(out, value.as_deref());
            }
            Self::Welcome { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Error { .. }
            | Self::GoAway { .. }
            | Self::Ok { .. }
            | Self::PubAck { .. }
            | Self::Subscribed { .. }
            | Self::Counted { .. }
            | Self::Voted { .. }
            | Self::Value { .. }
            | Self::Watching { .. } => self.encode_reply(out),
        }
    }

    /// Encodes the types that answer or keep the connection.
    fn encode_reply(&self, out: &mut Vec<u8>) {
        match self {
            Self::Deliver { .. }
            | Self::Gap { .. }
            | Self::Progress { .. }
            | Self::Leased { .. }
            | Self::Update { .. } => {}
            Self::Counted { .. } | Self::Value { .. } => self.encode_cell(out),
            Self::Welcome { version, capabilities, session, info } => {
                head(out, number::WELCOME, 4);
                wire::put_uint(out, *version);
                wire::put_value(out, capabilities);
                wire::put_str(out, session);
                wire::put_value(out, info);
            }
            Self::Ping { nonce } => numbers(out, number::PING, &[*nonce]),
            Self::Pong { nonce } => numbers(out, number::PONG, &[*nonce]),
            Self::Error { req, code, message, retry_after_ms, sub, actual } => {
                head(out, number::ERROR, 5 + usize::from(actual.is_some()));
                put_uints(out, &[*req, *code]);
                wire::put_str(out, message);
                wire::put_opt(out, *retry_after_ms, wire::put_uint);
                wire::put_opt(out, sub.map(u64::from), wire::put_uint);
                put_trailing(out, *actual, wire::put_uint);
            }
            Self::GoAway { code, message, grace_ms, nodes } => {
                let told = Some(nodes).filter(|nodes| !nodes.is_empty());
                head(out, number::GOAWAY, 3 + usize::from(told.is_some()));
                wire::put_uint(out, *code);
                wire::put_str(out, message);
                wire::put_uint(out, *grace_ms);
                put_trailing(out, told, wire::put_value);
            }
            Self::Ok { req, result } => {
                head(out, number::OK, 2);
                wire::put_uint(out, *req);
                put_raw(out, result.as_deref());
            }
            Self::PubAck { req, epoch, offset, level, positions, duplicate } => {
                let optional = usize::from(positions.is_some());
                head(out, number::PUBACK, if *duplicate { 6 } else { 4 + optional });
                put_uints(out, &[*req, *epoch]);
                wire::put_opt(out, *offset, wire::put_uint);
                put_places(out, *level, positions.as_deref(), *duplicate);
            }
            Self::Subscribed { req, sub, status, epoch, offset, missing, positions } => {
                head(out, number::SUBSCRIBED, 7);
                put_uints(out, &[*req, u64::from(*sub), *status, *epoch, *offset]);
                wire::put_opt(out, missing.as_ref(), wire::put_value);
                wire::put_opt(out, positions.as_ref(), wire::put_value);
            }
            Self::Voted { req, epoch, version, status, revision, partition } => {
                head(out, number::VOTED, 5 + usize::from(partition.is_some()));
                put_uints(out, &[*req, *epoch, *version, *status, *revision]);
                put_trailing(out, *partition, wire::put_uint);
            }
            Self::Watching { req, sub, epoch, version, info } => {
                head(out, number::WATCHING, 5);
                put_uints(out, &[*req, u64::from(*sub), *epoch, *version]);
                put_raw(out, info.as_deref());
            }
        }
    }

    /// Encodes what is said of a counter that was changed, or of a cell that was read.
    fn encode_cell(&self, out: &mut Vec<u8>) {
        if let Self::Counted { req, epoch, version, value, applied, duplicate, as_of } = self {
            head(out, number::COUNTED, 6 + usize::from(as_of.is_some()));
            put_uints(out, &[*req, *epoch, *version]);
            wire::put_int(out, *value);
            wire::put_int(out, *applied);
            wire::put_bool(out, *duplicate);
            put_trailing(out, as_of.as_ref(), wire::put_value);
        }
        if let Self::Value { req, kind, epoch, version, value, as_of } = self {
            head(out, number::VALUE, if as_of.is_some() { 7 } else { 5 });
            put_uints(out, &[*req, *kind, *epoch, *version]);
            put_raw(out, value.as_deref());
            put_trailing(out, *as_of, |out, AsOf { as_of_ms, is_stale }| {
                wire::put_uint(out, as_of_ms);
                wire::put_bool(out, is_stale);
            });
        }
    }
}

/// What stands before the body in a DELIVER.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "every field is described in PROTOCOL.md under DELIVER")]
pub struct DeliverHeader<'a> {
    pub sub: u32,
    pub topic: &'a str,
    pub epoch: u64,
    pub from: u64,
    pub next: u64,
    pub time_ms: u64,
    pub position: Option<Position>,
    pub offsets: Option<&'a [u64]>,
    /// Length of the body that the caller sends behind the header.
    pub body_len: usize,
}

/// Appends everything of a DELIVER but the body's bytes, which the caller shares.
pub fn put_deliver_header(out: &mut Vec<u8>, header: &DeliverHeader<'_>) {
    head(out, number::DELIVER, 9);
    wire::put_uint(out, u64::from(header.sub));
    wire::put_str(out, header.topic);
    wire::put_uint(out, header.epoch);
    wire::put_uint(out, header.from);
    wire::put_uint(out, header.next);
    wire::put_uint(out, header.time_ms);
    wire::put_opt(out, header.position, put_position);
    wire::put_opt(out, header.offsets, |out, offsets| {
        wire::put_array(out, offsets.len());
        for offset in offsets {
            wire::put_uint(out, *offset);
        }
    });
    wire::put_bin_len(out, header.body_len);
}

/// Appends everything of an UPDATE but its value, one encoded value that the caller shares.
pub fn put_update_header(out: &mut Vec<u8>, sub: u32, version: u64, flags: u64) {
    head(out, number::UPDATE, 4);
    wire::put_uint(out, u64::from(sub));
    wire::put_uint(out, version);
    wire::put_uint(out, flags);
}

/// Like [`put_update_header`], for a value of so many entries that the caller sends behind it.
pub fn put_update_entries_header(
    out: &mut Vec<u8>,
    sub: u32,
    version: u64,
    flags: u64,
    entries: usize,
) {
    put_update_header(out, sub, version, flags);
    wire::put_array(out, entries);
}

/// Appends one entry of a map or presence set; a value of `None` says that the key is gone.
pub fn put_entry(out: &mut Vec<u8>, key: &str, version: u64, value: Option<&[u8]>) {
    wire::put_array(out, 3);
    wire::put_str(out, key);
    wire::put_uint(out, version);
    wire::put_opt(out, value, wire::put_bin);
}

fn put_uints(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        wire::put_uint(out, *number);
    }
}

fn numbers(out: &mut Vec<u8>, kind: u64, numbers: &[u64]) {
    head(out, kind, numbers.len());
    put_uints(out, numbers);
}

fn put_position(out: &mut Vec<u8>, Position(shard, epoch, sequence): Position) {
    wire::put_array(out, 3);
    put_uints(out, &[shard, epoch, sequence]);
}

/// Appends a last field that is left out when there is nothing to say in it.
fn put_trailing<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    if let Some(value) = value {
        put(out, value);
    }
}

/// The level of PUBACK, and what follows it as far as that says something.
fn put_places(out: &mut Vec<u8>, level: u64, positions: Option<&[Position]>, duplicate: bool) {
    wire::put_uint(out, level);
    if duplicate {
        wire::put_opt(out, positions, |out, positions| wire::put_value(out, &positions));
        wire::put_bool(out, true);
    } else {
        put_trailing(out, positions, |out, positions| wire::put_value(out, &positions));
    }
}

fn put_raw(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => out.extend_from_slice(value),
        None => wire::put_nil(out),
    }
}
