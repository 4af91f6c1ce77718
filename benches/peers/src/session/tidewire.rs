//! Tidewire's frames, over WebSocket or on a stream of QUIC.

mod requests;

pub(crate) use requests::{Envelope, put_increments, put_publish};

use bytes::Bytes;
use tidewire_protocol::record::Records;
use tidewire_protocol::wire::{Broken, value_len};
use tidewire_protocol::{ClientFrame, ServerFrame, WEBSOCKET_PATH, WEBSOCKET_PROTOCOL};

use super::{Item, Role, Session, Step, websocket};
use crate::connection::ELEMENT_BYTES_MAX;
use requests::{INCREMENT_REQ, introduction, put_frames, request};
use websocket::Front;

/// Numbers of the frames that are read without decoding them.
const PUBACK: u64 = 11;
const DELIVER: u64 = 14;
const COUNTED: u64 = 21;
const VOTED: u64 = 23;
const UPDATE: u64 = 28;

/// One connection, or one stream of it.
#[derive(Debug)]
pub(crate) struct Tidewire {
    role: Role,
    envelope: Envelope,
    opened: bool,
    /// Bytes of the message that are still to come, the body's included.
    left: u64,
    /// Bytes of a delivery's body that are still to come.
    body_left: u64,
    /// Records that the delivery still owes.
    owed: u64,
}

impl Tidewire {
    pub(crate) fn new(role: Role, envelope: Envelope) -> Self {
        Self {
            role,
            envelope,
            opened: envelope == Envelope::Length,
            left: 0,
            body_left: 0,
            owed: 0,
        }
    }

    /// Takes the head of a message, or of a frame's length.
    fn step_envelope<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        match self.envelope {
            Envelope::WebSocket => Ok(match websocket::front(bytes)? {
                None => None,
                Some(Front::Message { header, len }) => {
                    self.left = len;
                    Some((header, Item::Nothing))
                }
                Some(Front::Ping { whole, pong }) => Some((whole, Item::Answer(pong))),
                Some(Front::Pong { whole }) => Some((whole, Item::Nothing)),
            }),
            Envelope::Length => {
                let Some(digits) = bytes.first_chunk::<4>() else { return Ok(None) };
                self.left = u32::from_be_bytes(*digits).into();
                Ok(Some((4, Item::Nothing)))
            }
        }
    }

    /// Takes one record of a delivery's body.
    fn step_record<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let bytes = upto(bytes, self.body_left);
        let (payload, len) = match bytes {
            // A record without key and headers, with a payload below 256 bytes: as published here.
            [0x93, 0xc0, 0xc0, 0xc4, len, rest @ ..] => match rest.get(..usize::from(*len)) {
                Some(payload) => (payload, 5 + usize::from(*len)),
                None => return self.more(bytes, self.body_left, "a record"),
            },
            _ => match value_len(bytes) {
                Ok(len) => {
                    let record = Records::of(bytes.get(..len).unwrap_or_default()).next();
                    let record = record.ok_or("a body holds what is no record")?;
                    (record.payload.unwrap_or_default(), len)
                }
                Err(Broken::Truncated) => return self.more(bytes, self.body_left, "a record"),
                Err(broken) => return Err(format!("a record: {broken}")),
            },
        };
        self.body_left -= len as u64;
        self.left -= len as u64;
        self.owed = self.owed.checked_sub(1).ok_or("a delivery holds more than it says")?;
        if self.body_left == 0 && self.owed > 0 {
            return Err(format!("a delivery lacks {} records", self.owed));
        }
        Ok(Some((len, Item::Message(payload))))
    }

    /// Takes a frame, or a delivery's head.
    fn step_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let bytes = upto(bytes, self.left);
        let mut fields = bytes;
        if rmp::decode::read_array_len(&mut fields).is_ok()
            && matches!(rmp::decode::read_int(&mut fields), Ok(DELIVER))
        {
            return self.step_delivery(bytes, fields);
        }
        let len = match value_len(bytes) {
            Ok(len) => len,
            Err(Broken::Truncated) => return self.more(bytes, self.left, "a frame"),
            Err(broken) => return Err(format!("a frame: {broken}")),
        };
        self.left -= len as u64;
        let frame = bytes.get(..len).unwrap_or_default();
        Ok(Some((len, self.item(frame)?)))
    }

    /// `fields` begins behind the type.
    fn step_delivery<'a>(&mut self, bytes: &'a [u8], fields: &[u8]) -> Result<Step<'a>, String> {
        let Some(head) = Delivery::read(fields) else {
            return self.more(bytes, self.left, "a delivery's head");
        };
        let len = bytes.len() - fields.len() + head.len;
        let after = self.left.checked_sub(len as u64).filter(|left| *left >= head.body_bytes);
        self.left = after.ok_or("a delivery's body is longer than its message")?;
        self.body_left = head.body_bytes;
        self.owed = head.records;
        if head.body_bytes == 0 {
            return Err("a delivery holds no records".to_owned());
        }
        Ok(Some((len, Item::Nothing)))
    }

    fn item<'a>(&self, frame: &[u8]) -> Result<Item<'a>, String> {
        match Numbers::read(frame) {
            Some(Numbers(UPDATE, [_sub, version, ..])) => return Ok(Item::Update(version)),
            Some(Numbers(COUNTED | VOTED | PUBACK, [req, _epoch, version]))
                if matches!(self.role, Role::Writer(..)) =>
            {
                let id = req.checked_sub(INCREMENT_REQ).ok_or("a reply to no increment")?;
                return Ok(Item::Reply { id, version });
            }
            _ => {}
        }
        let decoded = ServerFrame::decode(&Bytes::copy_from_slice(frame));
        let decoded = decoded.map_err(|bad| format!("a frame: {}", bad.refusal.message))?;
        match decoded {
            ServerFrame::Welcome { .. } if request(&self.role).is_empty() => Ok(Item::Ready),
            ServerFrame::Subscribed { .. }
            | ServerFrame::Watching { .. }
            | ServerFrame::Ok { .. } => Ok(Item::Ready),
            ServerFrame::Ping { nonce } => {
                let mut pong = Vec::new();
                put_frames(&mut pong, self.envelope, &[ClientFrame::Pong { nonce }]);
                Ok(Item::Answer(pong))
            }
            ServerFrame::Welcome { .. } | ServerFrame::Pong { .. } | ServerFrame::PubAck { .. } => {
                Ok(Item::Nothing)
            }
            ServerFrame::Error { code, message, .. } => {
                Err(format!("Tidewire refuses with code {code}: {message}"))
            }
            ServerFrame::Gap { from, next, .. } => {
                Err(format!("Tidewire does not deliver the records {from} to {next}"))
            }
            other @ (ServerFrame::GoAway { .. }
            | ServerFrame::Progress { .. }
            | ServerFrame::Deliver { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Update { .. }
            | ServerFrame::Leased { .. }
            | ServerFrame::Value { .. }) => Err(format!("Tidewire sends {other:?}")),
        }
    }

    /// Waits for more bytes, if more belong to what is read.
    fn more<'a>(&self, bytes: &[u8], left: u64, what: &str) -> Result<Step<'a>, String> {
        if bytes.len() as u64 >= left {
            return Err(format!("{what} goes on beyond what holds it"));
        }
        if bytes.len() > ELEMENT_BYTES_MAX {
            return Err(format!("{what} is longer than {ELEMENT_BYTES_MAX} bytes"));
        }
        Ok(None)
    }
}

impl Session for Tidewire {
    fn opening(&self) -> Vec<u8> {
        match self.envelope {
            Envelope::WebSocket => websocket::request(WEBSOCKET_PATH, WEBSOCKET_PROTOCOL),
            Envelope::Length => introduction(&self.role, self.envelope),
        }
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        if bytes.is_empty() {
            Ok(None)
        } else if self.body_left > 0 {
            self.step_record(bytes)
        } else if self.left > 0 {
            self.step_frame(bytes)
        } else if self.opened {
            self.step_envelope(bytes)
        } else {
            let Some(len) = websocket::accepted(bytes)? else { return Ok(None) };
            self.opened = true;
            Ok(Some((len, Item::Answer(introduction(&self.role, self.envelope)))))
        }
    }
}

/// What a delivery's head says.
struct Delivery {
    /// Bytes from behind the type up to the body.
    len: usize,
    body_bytes: u64,
    records: u64,
}

impl Delivery {
    /// Reads `sub, topic, epoch, from, next, time_ms, position, offsets` and the body's length.
    /// `None` if it is cut off or wrong, which the caller tells apart by what may follow.
    fn read(fields: &[u8]) -> Option<Self> {
        let mut rest = fields;
        skip(&mut rest, 3)?;
        let from: u64 = rmp::decode::read_int(&mut rest).ok()?;
        let next: u64 = rmp::decode::read_int(&mut rest).ok()?;
        skip(&mut rest, 2)?;
        let mut records = next.checked_sub(from)?;
        let offsets = value_len(rest).ok()?;
        let mut listed = rest.get(..offsets)?;
        if let Ok(count) = rmp::decode::read_array_len(&mut listed) {
            records = count.into();
        }
        rest = rest.get(offsets..)?;
        let body_bytes = rmp::decode::read_bin_len(&mut rest).ok()?.into();
        Some(Self { len: fields.len() - rest.len(), body_bytes, records })
    }
}

/// A frame's type and its first three fields, if they are unsigned integers.
struct Numbers(u64, [u64; 3]);

impl Numbers {
    fn read(frame: &[u8]) -> Option<Self> {
        let mut rest = frame;
        rmp::decode::read_array_len(&mut rest).ok()?;
        let mut number = || rmp::decode::read_int::<u64, _>(&mut rest).ok();
        Some(Self(number()?, [number()?, number()?, number()?]))
    }
}

fn skip(rest: &mut &[u8], values: usize) -> Option<()> {
    for _ in 0..values {
        *rest = rest.get(value_len(rest).ok()?..)?;
    }
    Some(())
}

fn upto(bytes: &[u8], limit: u64) -> &[u8] {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    bytes.get(..limit).unwrap_or(bytes)
}

#[cfg(test)]
mod tests;
