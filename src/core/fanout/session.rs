//! A connection as its dispatcher knows it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::length_prefix;
use tidewire_protocol::options::Filter;
use tidewire_protocol::{Refusal, ServerFrame};

use super::CursorId;
use super::access::SessionAccess;
use super::consume::Consuming;
use super::filters::FilterId;
use super::ready::Waiting;
use crate::HashMap;
use crate::access::Operations;
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

/// One connection: what each delivery looks at. It fits a line of cache, and what is looked at less
/// often stands elsewhere, since with very many connections every line has to come from memory.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) options: SessionOptions,
    /// Its place among the dispatcher's turns.
    pub(super) waiting: Waiting,
    /// First and last of the cursors that have something to send, in turn.
    pub(super) queue: Option<(CursorId, CursorId)>,
    /// Whether there is something to send beside what the cursors have.
    pub(super) has_replies: bool,
    pub(super) received_ms: u64,
    pub(super) pinged: bool,
    pub(super) rest: Box<Rest>,
}

/// What requests and their replies need of a connection.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) subs: HashMap<u32, SubId>,
    /// Replies that wait to be written, as runs of (stream, end of the run).
    outbox: Vec<u8>,
    runs: Vec<(u16, usize)>,
    /// Subscriptions that have ended and whose lanes are to be finished.
    pub(super) ended: Vec<u32>,
    /// Progress to report on the lanes of subscriptions.
    pub(super) progress: Vec<(u32, ServerFrame)>,
    /// Requests that a shard has not answered yet.
    pub(super) in_flight: usize,
    /// Shards where the connection is present somewhere, or consumes something.
    pub(super) present: BTreeSet<u16>,
    /// Groups that it consumes, by its number for that.
    pub(super) consuming: BTreeMap<u32, Consuming>,
    /// What it may do; everything, if nothing was said.
    pub(super) access: Option<Box<SessionAccess>>,
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
    /// What it needs with the names that it is about.
    pub(super) needs: Operations,
    /// Whether its request has been answered, or the answer is on its lane.
    pub(super) is_open: bool,
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
        let rest = Rest {
            subs,
            outbox: Vec::new(),
            runs: Vec::new(),
            ended: Vec::new(),
            progress: Vec::new(),
            in_flight: 0,
            present: BTreeSet::new(),
            consuming: BTreeMap::new(),
            access: None,
        };
        Self {
            id,
            options,
            waiting: Waiting::default(),
            queue: None,
            has_replies: false,
            received_ms: now_ms,
            pinged: false,
            rest: Box::new(rest),
        }
    }

    /// Puts a frame into the outbox of a stream.
    pub(super) fn push(&mut self, stream: u16, frame: &ServerFrame) {
        self.has_replies = true;
        let Rest { outbox, runs, .. } = &mut *self.rest;
        let start = outbox.len();
        if self.options.framing == Framing::LengthPrefixed {
            outbox.extend_from_slice(&[0; 4]);
            frame.encode(outbox);
            let prefix = length_prefix(outbox.len() - start - 4);
            if let Some(place) = outbox.get_mut(start..start + 4) {
                place.copy_from_slice(&prefix);
            }
        } else {
            frame.encode(outbox);
        }
        let end = outbox.len();
        match runs.last_mut() {
            Some((last, run_end)) if *last == stream => *run_end = end,
            _ => runs.push((stream, end)),
        }
    }

    pub(super) fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        if origin.req != 0 {
            self.push(origin.stream, &ServerFrame::refuse(origin.req, refusal));
        }
    }

    pub(super) fn outbox_len(&self) -> usize {
        self.rest.outbox.len()
    }

    /// Hands over everything in the outbox. Its memory is given back when it has grown large.
    pub(super) fn drain_outbox(&mut self, mut each: impl FnMut(u16, &[u8])) {
        let Rest { outbox, runs, .. } = &mut *self.rest;
        let mut start = 0;
        for (stream, end) in runs.drain(..) {
            each(stream, outbox.get(start..end).unwrap_or_default());
            start = end;
        }
        outbox.clear();
        outbox.shrink_to(OUTBOX_KEPT_BYTES);
        runs.shrink_to(4);
    }

    /// A subscription has ended.
    pub(super) fn end(&mut self, sub: u32) {
        self.has_replies = true;
        self.rest.ended.push(sub);
    }

    /// A subscription is to hear how far it has come.
    pub(super) fn report(&mut self, sub: u32, progress: ServerFrame) {
        self.has_replies = true;
        self.rest.progress.push((sub, progress));
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_replies || self.queue.is_some()
    }
}

/// Memory that an idle session keeps for its next replies.
const OUTBOX_KEPT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_delivery_looks_at_fits_a_line_of_cache() {
        assert!(size_of::<Session>() <= 64, "{} bytes", size_of::<Session>());
    }

    #[test]
    fn a_cursor_fits_two_lines_of_cache() {
        let bytes = size_of::<crate::fanout::Cursor>();
        assert!(bytes <= 128, "{bytes} bytes");
    }
}
