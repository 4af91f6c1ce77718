//! The inbound side of a WebSocket: frames taken apart and unmasked (RFC 6455, section 5).
//!
//! Pure: bytes in, payloads out. One read may hold hundreds of frames; their payloads are copied
//! together into one piece of memory. Between reads only what is incomplete is held, so that an
//! idle connection holds nothing.

use bytes::{Bytes, BytesMut};
use tidewire_protocol::frame::split_first;
use tidewire_protocol::wire::Broken;

/// Longest payload of a control frame in bytes.
const CONTROL_BYTES_MAX: usize = 125;
/// Close status for a frame that breaks a rule.
const STATUS_PROTOCOL: u16 = 1002;
/// Close status for text.
const STATUS_UNSUPPORTED_DATA: u16 = 1003;
/// Close status for a message over the limit.
const STATUS_TOO_BIG: u16 = 1009;
/// First byte of a whole close frame, and of a whole pong.
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8A;

/// What came with one read.
#[derive(Debug)]
pub(super) struct Received {
    /// The message that is being taken.
    message: Bytes,
    /// The payloads of the messages behind it.
    rest: Bytes,
    /// Where each message ended among all payloads.
    ends: std::vec::IntoIter<usize>,
    taken: usize,
    /// How the connection ends after these messages.
    pub(super) end: Option<Ended>,
}

/// Why no more messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has closed, and the answer stands in the replies.
    Closed,
    /// A rule is broken: the close status and the rule.
    Broken(u16, &'static str),
}

impl Received {
    /// The next message.
    pub(super) fn next_message(&mut self) -> Option<Bytes> {
        let end = self.ends.next()?;
        let len = (end - self.taken).min(self.rest.len());
        self.taken = end;
        Some(self.rest.split_to(len))
    }

    /// The next frame of the protocol: a message holds any number of them, and no part of one.
    pub(super) fn next_frame(&mut self) -> Option<Result<Bytes, Broken>> {
        while self.message.is_empty() {
            self.message = self.next_message()?;
        }
        Some(split_first(&mut self.message))
    }
}

/// What a read has brought so far.
#[derive(Default)]
struct Gathered {
    payloads: BytesMut,
    ends: Vec<usize>,
    end: Option<Ended>,
}

impl Gathered {
    fn finish(self) -> Received {
        Received {
            message: Bytes::new(),
            rest: self.payloads.freeze(),
            ends: self.ends.into_iter(),
            taken: 0,
            end: self.end,
        }
    }
}

/// Takes one client's frames apart.
#[derive(Debug)]
pub(super) struct Unframer {
    message_bytes_max: usize,
    /// Bytes of a frame whose end has not come.
    held: Vec<u8>,
    /// The message whose last fragment has not come.
    fragments: Option<Vec<u8>>,
}

/// The head of a frame.
struct Head {
    finished: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the head itself.
    size: usize,
    payload_len: usize,
}

/// The close status and the rule that is broken.
type Fault = (u16, &'static str);

impl Unframer {
    /// For messages of up to so many bytes.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, held: Vec::new(), fragments: None }
    }

    /// Takes in what was read. Answers to pings and closes are appended to `replies`.
    pub(super) fn take(&mut self, input: &[u8], replies: &mut Vec<u8>) -> Received {
        let mut received = Gathered::default();
        if self.held.is_empty() {
            let used = self.frames(input, &mut received, replies);
            self.held = input.get(used..).unwrap_or_default().to_vec();
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(input);
            let used = self.frames(&held, &mut received, replies);
            self.held = match used {
                0 => held,
                used => held.get(used..).unwrap_or_default().to_vec(),
            };
        }
        if received.end.is_some() {
            self.held = Vec::new();
        }
        received.finish()
    }

    /// Takes every whole frame; returns the bytes used.
    fn frames(&mut self, input: &[u8], received: &mut Gathered, replies: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while received.end.is_none() {
            let rest = input.get(at..).unwrap_or_default();
            let head = match head(rest) {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err((status, rule)) => {
                    received.end = Some(Ended::Broken(status, rule));
                    break;
                }
            };
            let limit = self.message_bytes_max;
            let begun = self.fragments.as_ref().map_or(0, Vec::len);
            if head.payload_len > limit || begun + head.payload_len > limit {
                let rule = "a message is at most max_frame_bytes";
                received.end = Some(Ended::Broken(STATUS_TOO_BIG, rule));
                break;
            }
            let Some(payload) = rest.get(head.size..head.size + head.payload_len) else { break };
            at += head.size + head.payload_len;
            // One allocation for all that this read brings.
            if received.payloads.capacity() == 0 {
                received.payloads.reserve(rest.len());
            }
            if let Err((status, rule)) = self.frame(&head, payload, received, replies) {
                received.end = Some(Ended::Broken(status, rule));
            }
        }
        at
    }

    fn frame(
        &mut self,
        head: &Head,
        payload: &[u8],
        received: &mut Gathered,
        replies: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match (head.opcode, self.fragments.as_mut()) {
            (0x0, None) => Err((STATUS_PROTOCOL, "a continuation without a beginning")),
            (0x0, Some(fragments)) => {
                let start = fragments.len();
                fragments.extend_from_slice(payload);
                unmask(fragments.get_mut(start..).unwrap_or_default(), head.mask);
                if head.finished {
                    received.payloads.extend_from_slice(fragments);
                    received.ends.push(received.payloads.len());
                    self.fragments = None;
                }
                Ok(())
            }
            (0x1, None) => Err((STATUS_UNSUPPORTED_DATA, "frames travel in binary messages")),
            (0x2, None) if head.finished => {
                let start = received.payloads.len();
                received.payloads.extend_from_slice(payload);
                unmask(received.payloads.get_mut(start..).unwrap_or_default(), head.mask);
                received.ends.push(received.payloads.len());
                Ok(())
            }
            (0x2, None) => {
                let mut begun = payload.to_vec();
                unmask(&mut begun, head.mask);
                self.fragments = Some(begun);
                Ok(())
            }
            (0x1 | 0x2, Some(_)) => Err((STATUS_PROTOCOL, "a message within a message")),
            (0x8..=0xA, _) => control(head, payload, received, replies),
            _ => Err((STATUS_PROTOCOL, "a reserved opcode")),
        }
    }
}

/// Answers a control frame.
fn control(
    head: &Head,
    payload: &[u8],
    received: &mut Gathered,
    replies: &mut Vec<u8>,
) -> Result<(), Fault> {
    if !head.finished || payload.len() > CONTROL_BYTES_MAX {
        return Err((STATUS_PROTOCOL, "a control frame is whole and has at most 125 bytes"));
    }
    let mut content = payload.to_vec();
    unmask(&mut content, head.mask);
    let len = u8::try_from(content.len()).unwrap_or(0);
    match head.opcode {
        0x8 => {
            check_close(&content)?;
            replies.extend_from_slice(&[CLOSE, len]);
            replies.extend_from_slice(&content);
            received.end = Some(Ended::Closed);
        }
        0x9 => {
            replies.extend_from_slice(&[PONG, len]);
            replies.extend_from_slice(&content);
        }
        _ => {}
    }
    Ok(())
}

/// A close is empty, or a status that may be sent and a reason in UTF-8 (section 7.4).
fn check_close(content: &[u8]) -> Result<(), Fault> {
    if content.is_empty() {
        return Ok(());
    }
    let Some((status, reason)) = content.split_first_chunk() else {
        return Err((STATUS_PROTOCOL, "a close of one byte"));
    };
    match u16::from_be_bytes(*status) {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err((STATUS_PROTOCOL, "a close status that must not be sent")),
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_not_text) => Err((STATUS_PROTOCOL, "a close reason that is not UTF-8")),
    }
}

/// The head at the front of the bytes; `None` if it is not whole yet.
fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err((STATUS_PROTOCOL, "a reserved bit is set"));
    }
    if second & 0x80 == 0 {
        return Err((STATUS_PROTOCOL, "a client masks its frames"));
    }
    let (payload_len, mask_at) = match second & 0x7F {
        126 => match bytes.get(2..4).and_then(|len| len.try_into().ok()) {
            Some(len) => (u64::from(u16::from_be_bytes(len)), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|len| len.try_into().ok()) {
            Some(len) => (u64::from_be_bytes(len), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let Some(mask) = bytes.get(mask_at..mask_at + 4).and_then(|mask| mask.try_into().ok()) else {
        return Ok(None);
    };
    Ok(Some(Head {
        finished: first & 0x80 != 0,
        opcode: first & 0x0F,
        mask,
        size: mask_at + 4,
        payload_len: usize::try_from(payload_len).unwrap_or(usize::MAX),
    }))
}

/// Takes the mask off (section 5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(fuzzing)]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
