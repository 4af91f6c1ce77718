//! A connection as its dispatcher knows it.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::length_prefix;
use tidewire_protocol::options::Filter;
use tidewire_protocol::{Refusal, ServerFrame};

use super::CursorId;
use super::filters::FilterId;
use super::ready::Waiting;
use crate::HashMap;
use crate::shard::{Origin, SessionId};
use crate::topic::PatternId;

/// How frames are delimited on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The transport's messages delimit them (WebSocket).
    Bare,
    /// Four bytes of length stand before each (QUIC streams).
    LengthPrefixed,
}

/// What a transport says about a new connection.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// How frames are delimited.
    pub framing: Framing,
    /// Whether cells may travel in datagrams.
    pub datagrams: bool,
}

/// One connection. What each delivery looks at stands first and fits a line of cache, since with
/// very many connections every line has to come from memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Its place among the dispatcher's turns.
    pub(super) waiting: Waiting,
    /// Whether anything is in `outbox`, `ended` or `progress`.
    pub(super) has_replies: bool,
    pub(super) options: SessionOptions,
    /// First and last of the cursors that have something to send, in turn.
    pub(super) queue: Option<(CursorId, CursorId)>,
    /// Replies that wait to be written, as runs of (stream, end of the run).
    outbox: Vec<u8>,
    runs: Vec<(u16, usize)>,
    /// Subscriptions that have ended and whose lanes are to be finished.
    pub(super) ended: Vec<u32>,
    /// Progress to report on the lanes of subscriptions.
    pub(super) progress: Vec<(u32, ServerFrame)>,
    pub(super) subs: HashMap<u32, SubId>,
    /// Requests that a shard has not answered yet.
    pub(super) in_flight: usize,
    /// Shards where the connection is present somewhere.
    pub(super) present: BTreeSet<u16>,
    pub(super) received_ms: u64,
    pub(super) pinged: bool,
}

/// Place of a subscription or watch among all of its dispatcher.
pub(super) type SubId = usize;

/// Whom a cursor belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// Slot of the session.
    pub(super) slot: usize,
    pub(super) entry: SubId,
    /// The client's number for the subscription.
    pub(super) sub: u32,
    /// As [`Sub::is_plain`] says, so that what is plain needs no look at the subscription.
    pub(super) is_plain: bool,
}

/// A subscription or watch.
#[derive(Debug)]
pub(super) struct Sub {
    /// Its cursors: one, or one per shard for a pattern.
    pub(super) cursors: Vec<CursorId>,
    /// Bytes of body that may still be sent; `None`: no limit.
    pub(super) credit: Option<i64>,
    pub(super) filter: Option<(FilterId, Arc<Filter>)>,
    pub(super) mode: Mode,
    pub(super) interval_ms: u64,
    pub(super) on_gap: OnGap,
    /// The reply that goes out on the subscription's lane before anything else.
    pub(super) opening: Option<Vec<u8>>,
    pub(super) origin: Origin,
    pub(super) pattern: Option<PatternId>,
}

/// What a subscription gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Every,
    Latest,
}

/// What happens when a cursor falls off what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnGap {
    Continue,
    Newest,
    End,
}

impl Sub {
    /// Whether it takes every record whenever there is room: no filter, no credit, no conflation.
    pub(super) fn is_plain(&self) -> bool {
        self.filter.is_none() && self.credit.is_none() && self.mode == Mode::Every
    }
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        options: SessionOptions,
        subs: HashMap<u32, SubId>,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            options,
            subs,
            outbox: Vec::new(),
            runs: Vec::new(),
            ended: Vec::new(),
            progress: Vec::new(),
            queue: None,
            has_replies: false,
            waiting: Waiting::default(),
            in_flight: 0,
            present: BTreeSet::new(),
            received_ms: now_ms,
            pinged: false,
        }
    }

    /// Puts a frame into the outbox of a stream.
    pub(super) fn push(&mut self, stream: u16, frame: &ServerFrame) {
        self.has_replies = true;
        let start = self.outbox.len();
        if self.options.framing == Framing::LengthPrefixed {
            self.outbox.extend_from_slice(&[0; 4]);
            frame.encode(&mut self.outbox);
            let prefix = length_prefix(self.outbox.len() - start - 4);
            if let Some(place) = self.outbox.get_mut(start..start + 4) {
                place.copy_from_slice(&prefix);
            }
        } else {
            frame.encode(&mut self.outbox);
        }
        let end = self.outbox.len();
        match self.runs.last_mut() {
            Some((last, run_end)) if *last == stream => *run_end = end,
            _ => self.runs.push((stream, end)),
        }
    }

    pub(super) fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        if origin.req != 0 {
            self.push(origin.stream, &ServerFrame::refuse(origin.req, refusal));
        }
    }

    pub(super) fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Hands over everything in the outbox. Its memory is given back when it has grown large.
    pub(super) fn drain_outbox(&mut self, mut each: impl FnMut(u16, &[u8])) {
        let mut start = 0;
        for (stream, end) in self.runs.drain(..) {
            each(stream, self.outbox.get(start..end).unwrap_or_default());
            start = end;
        }
        self.outbox.clear();
        self.outbox.shrink_to(OUTBOX_KEPT_BYTES);
        self.runs.shrink_to(4);
    }

    /// A subscription has ended.
    pub(super) fn end(&mut self, sub: u32) {
        self.has_replies = true;
        self.ended.push(sub);
    }

    /// A subscription is to hear how far it has come.
    pub(super) fn report(&mut self, sub: u32, progress: ServerFrame) {
        self.has_replies = true;
        self.progress.push((sub, progress));
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_replies || self.queue.is_some()
    }
}

/// Memory that an idle session keeps for its next replies.
const OUTBOX_KEPT_BYTES: usize = 256;
