//! The outbound side of a WebSocket: frames packed into messages, messages into vectored writes.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidewire_core::fanout::{Lane, Sink};
use tidewire_core::shard::SessionId;
use tidewire_protocol::{CLOSE_STATUS_BASE, Refusal};

use super::{End, last_frame};
use crate::server::Core;
use crate::transport::OutBuf;
use crate::transport::outbuf::Reserved;
use crate::transport::stream::Halves;

/// Bytes that a connection takes before the next one has its turn.
const SLICE_BYTES: usize = 256 * 1024;
/// Bytes beyond which frames go into another message.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Longest head of a message: two bytes and a 64-bit length (RFC 6455, section 5.2).
const HEAD_BYTES_MAX: usize = 10;
/// Control frames that may wait to be written, in bytes.
const REPLIES_BYTES_MAX: usize = 64 * 1024;
/// First byte of a whole binary message.
const BINARY: u8 = 0x82;
/// First byte of a close frame.
const CLOSE: u8 = 0x88;
/// Longest reason in a close frame.
const REASON_BYTES_MAX: usize = 120;

pub(in crate::transport) struct Outlet {
    halves: Halves,
    /// Whole control frames that wait to be written: pongs, the answer to a close.
    replies: Vec<u8>,
    /// Output that the socket has not taken yet.
    pending: Option<OutBuf>,
    /// Encrypted output that the socket has not taken yet.
    unflushed: bool,
}

impl Outlet {
    pub(super) fn new(halves: Halves) -> Self {
        Self { halves, replies: Vec::new(), pending: None, unflushed: false }
    }

    /// Queues control frames; `false` if too many wait already.
    pub(super) fn reply(&mut self, frames: &[u8]) -> bool {
        self.replies.extend_from_slice(frames);
        self.replies.len() <= REPLIES_BYTES_MAX
    }

    /// Lets the session fill the socket, up to a slice.
    pub(in crate::transport) fn pump(
        &mut self,
        core: &Core,
        id: SessionId,
        now_ms: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.flush(core, cx))?;
        let mut out = core.spare.borrow_mut().pop().unwrap_or_default();
        out.copy(&std::mem::take(&mut self.replies));
        let mut messages = Messages { out: &mut out, open: None };
        let mut head = core.head.borrow_mut();
        core.dispatcher.borrow_mut().pull(id, SLICE_BYTES, now_ms, &mut head, &mut messages);
        messages.close();
        self.pending = Some(out);
        self.flush(core, cx)
    }

    pub(in crate::transport) fn flush(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(out) = &mut self.pending {
            let figures = core.figures();
            let halves = &self.halves;
            let unflushed = &mut self.unflushed;
            ready!(out.poll_write(|slices| {
                let outcome = halves.poll_write_vectored(cx, slices);
                if let (Some(figures), Poll::Ready(Ok(written))) = (figures, &outcome) {
                    figures.writes.fetch_add(1, Relaxed);
                    figures.written_bytes.fetch_add(*written as u64, Relaxed);
                    *unflushed = true;
                }
                outcome
            }))?;
            if let Some(out) = self.pending.take() {
                let mut spare = core.spare.borrow_mut();
                if spare.len() < SPARE_MAX {
                    spare.push(out);
                }
            }
        }
        if self.unflushed {
            ready!(self.halves.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Puts the last words behind what is still on its way.
    pub(super) fn say(&mut self, end: &End) {
        let out = self.pending.get_or_insert_default();
        out.copy(&std::mem::take(&mut self.replies));
        match end {
            End::Gone | End::Closed => {}
            End::Refused(Refusal { code, message, .. }) => {
                if let End::Refused(refusal) = end {
                    let frame = last_frame(refusal);
                    let mut messages = Messages { out, open: None };
                    messages.message(frame.len()).copy(&frame);
                    messages.close();
                }
                let out = self.pending.get_or_insert_default();
                put_close(out, CLOSE_STATUS_BASE + code.number(), message);
            }
            End::Status(status, reason) => put_close(out, *status, reason),
        }
    }

    /// Writes the rest and ends the stream.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(out) = &mut self.pending {
            let halves = &self.halves;
            ready!(out.poll_write(|slices| halves.poll_write_vectored(cx, slices)))?;
            self.pending = None;
        }
        ready!(self.halves.poll_flush(cx))?;
        self.halves.poll_shutdown(cx)
    }
}

/// Output buffers that a core keeps for the next connections.
const SPARE_MAX: usize = 8;

fn put_close(out: &mut OutBuf, status: u16, reason: &str) {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    let len = u8::try_from(reason.len() + 2).unwrap_or(2);
    out.copy(&[CLOSE, len]);
    out.copy(&status.to_be_bytes());
    out.copy(reason.as_bytes());
}

/// Packs frames into messages: one message takes frames until it is large enough.
struct Messages<'a> {
    out: &'a mut OutBuf,
    open: Option<Reserved>,
}

impl Messages<'_> {
    /// The message that takes a frame of this length.
    fn message(&mut self, len: usize) -> &mut OutBuf {
        let full = |open: Reserved| match self.out.since(&open) {
            0 => false,
            used => used + len > MESSAGE_BYTES,
        };
        if self.open.is_some_and(full) {
            self.close();
        }
        if self.open.is_none() {
            self.open = Some(self.out.reserve(HEAD_BYTES_MAX));
        }
        self.out
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let len = self.out.since(&open);
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short < 126 => self.out.fill(&open, &[BINARY, short]),
            (_, Ok(medium)) => {
                let [high, low] = medium.to_be_bytes();
                self.out.fill(&open, &[BINARY, 126, high, low]);
            }
            _ => {
                let mut head = [BINARY, 127, 0, 0, 0, 0, 0, 0, 0, 0];
                if let Some(place) = head.get_mut(2..) {
                    place.copy_from_slice(&(len as u64).to_be_bytes());
                }
                self.out.fill(&open, &head);
            }
        }
    }
}

impl Sink for Messages<'_> {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        self.message(frames.len()).copy(frames);
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        let out = self.message(head.len() + shared.len());
        out.copy(head);
        out.share(shared);
    }

    fn finish(&mut self, _sub: u32) {}
}

#[cfg(test)]
mod autobahn;
