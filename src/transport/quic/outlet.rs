//! The outbound side of a QUIC connection: request streams, subscription streams, datagrams.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use quinn::SendStream;
use tidewire_core::fanout::{Lane, Sink};
use tidewire_core::shard::SessionId;
use tidewire_protocol::frame::length_prefix;

use super::webtransport::Way;
use crate::server::Core;

/// Bytes that a connection takes before the next one has its turn.
const SLICE_BYTES: usize = 256 * 1024;
/// Bytes that wait on a lane beyond which it takes no more.
const LANE_BYTES_MAX: usize = 128 * 1024;
/// Shared pieces up to this size are copied behind their heads.
const COPIED_BYTES_MAX: usize = 2048;
/// Chunks of one write.
const CHUNKS_MAX: usize = 64;
/// The control stream.
const CONTROL: u16 = 0;

pub(in crate::transport) struct Outlet {
    way: Way,
    streams: HashMap<u16, StreamOut>,
    lanes: HashMap<u32, StreamOut>,
}

/// One stream and what waits for it.
struct StreamOut {
    send: SendStream,
    chunks: VecDeque<Bytes>,
    /// Small pieces that will be one chunk.
    small: BytesMut,
    bytes: usize,
    /// Nothing more will come; the stream is finished when all is written.
    ended: bool,
    finished: bool,
}

impl StreamOut {
    fn new(send: SendStream) -> Self {
        let chunks = VecDeque::new();
        Self { send, chunks, small: BytesMut::new(), bytes: 0, ended: false, finished: false }
    }

    fn push(&mut self, head: &[u8], shared: &Bytes) {
        self.small.extend_from_slice(head);
        self.bytes += head.len() + shared.len();
        if shared.len() <= COPIED_BYTES_MAX {
            self.small.extend_from_slice(shared);
        } else {
            self.chunks.push_back(self.small.split().freeze());
            self.chunks.push_back(shared.clone());
        }
    }

    fn is_idle(&self) -> bool {
        self.bytes == 0 && self.ended == self.finished
    }

    /// Writes what the stream takes; pending while something is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
        let mut total = 0;
        while !self.chunks.is_empty() {
            let chunks = self.chunks.make_contiguous();
            let count = chunks.len().min(CHUNKS_MAX);
            let Some(chunks) = chunks.get_mut(..count) else { break };
            let written = match pin!(self.send.write_chunks(chunks)).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(Ok(written)) => written,
            };
            self.bytes -= written.bytes;
            total += written.bytes;
            // Chunks that were written in part have been advanced by the library.
            self.chunks.drain(..written.chunks);
        }
        if self.ended && !self.finished {
            self.finished = true;
            drop(self.send.finish());
        }
        Poll::Ready(Ok(total))
    }
}

impl Outlet {
    pub(super) fn new(way: Way, control: SendStream) -> Self {
        let streams = HashMap::from([(CONTROL, StreamOut::new(control))]);
        Self { way, streams, lanes: HashMap::new() }
    }

    pub(super) fn add_stream(&mut self, stream: u16, send: SendStream) {
        self.streams.insert(stream, StreamOut::new(send));
    }

    /// The client has finished a request stream: so do we, once its replies are written.
    pub(super) fn end_stream(&mut self, stream: u16) {
        if let Some(out) = self.streams.get_mut(&stream) {
            out.ended = true;
        }
    }

    /// Whether replies wait because the client does not read them.
    pub(in crate::transport) fn control_is_backlogged(&self) -> bool {
        self.streams.values().any(|out| out.bytes > LANE_BYTES_MAX)
    }

    /// Puts the last words on the control stream.
    pub(super) fn say(&mut self, frame: &[u8]) {
        if let Some(out) = self.streams.get_mut(&CONTROL) {
            out.push(&length_prefix(frame.len()), &Bytes::new());
            out.push(frame, &Bytes::new());
            out.ended = true;
        }
    }

    /// Completes when the client has everything of the ended control stream.
    pub(super) fn control_received(&self) -> Option<impl Future<Output = ()> + use<>> {
        let received = self.streams.get(&CONTROL)?.send.stopped();
        Some(async move { drop(received.await) })
    }

    /// Lets the session fill the streams, up to a slice.
    pub(in crate::transport) fn pump(
        &mut self,
        core: &Core,
        id: SessionId,
        now_ms: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // Lanes that are full hold up only themselves, so the outcome is not waited for.
        if let Poll::Ready(Err(error)) = self.flush(core, id, cx) {
            return Poll::Ready(Err(error));
        }
        {
            let mut head = core.head.borrow_mut();
            let mut dispatcher = core.dispatcher.borrow_mut();
            dispatcher.pull(id, SLICE_BYTES, now_ms, &mut head, self);
        }
        self.flush(core, id, cx)
    }

    /// Writes what waits. Lanes that have room again are reported to the dispatcher.
    pub(in crate::transport) fn flush(
        &mut self,
        core: &Core,
        id: SessionId,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut all_written = true;
        let mut written = 0;
        for out in self.streams.values_mut().filter(|out| !out.is_idle()) {
            match out.poll_write(cx) {
                Poll::Ready(bytes) => written += bytes?,
                Poll::Pending => all_written = false,
            }
        }
        self.streams.retain(|stream, out| *stream == CONTROL || !out.finished);
        for (sub, out) in self.lanes.iter_mut().filter(|(_, out)| !out.is_idle()) {
            let was_full = out.bytes > LANE_BYTES_MAX;
            match out.poll_write(cx) {
                Poll::Ready(Ok(bytes)) => written += bytes,
                // The client does not want this stream any more; it will unsubscribe.
                Poll::Ready(Err(_stopped)) => {
                    out.chunks.clear();
                    out.bytes = 0;
                }
                Poll::Pending => all_written = false,
            }
            if was_full
                && out.bytes <= LANE_BYTES_MAX
                && let Ok(mut dispatcher) = core.dispatcher.try_borrow_mut()
            {
                dispatcher.lane_opened(id, *sub);
            }
        }
        self.lanes.retain(|_, out| !out.finished);
        if let Some(figures) = core.figures().filter(|_| written > 0) {
            figures.writes.fetch_add(1, Relaxed);
            figures.written_bytes.fetch_add(written as u64, Relaxed);
        }
        if all_written { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The stream of a subscription, opened with its first frame; the control stream if the
    /// client allows no more.
    fn lane(&mut self, sub: u32) -> Option<&mut StreamOut> {
        if !self.lanes.contains_key(&sub)
            && let Some(Ok(send)) = self.way.quic.open_uni().now_or_never()
        {
            let mut out = StreamOut::new(send);
            out.push(&self.way.stream_head(), &Bytes::new());
            self.lanes.insert(sub, out);
        }
        if self.lanes.contains_key(&sub) {
            self.lanes.get_mut(&sub)
        } else {
            self.streams.get_mut(&CONTROL)
        }
    }
}

impl Sink for Outlet {
    fn is_open(&mut self, lane: Lane) -> bool {
        let (Lane::Sub(sub) | Lane::Datagram(sub)) = lane;
        let out = self.lanes.get(&sub).or_else(|| self.streams.get(&CONTROL));
        out.is_none_or(|out| out.bytes <= LANE_BYTES_MAX)
    }

    fn control(&mut self, stream: u16, frames: &[u8]) {
        let stream = if self.streams.contains_key(&stream) { stream } else { CONTROL };
        if let Some(out) = self.streams.get_mut(&stream) {
            out.push(frames, &Bytes::new());
        }
    }

    fn frame(&mut self, lane: Lane, head: &[u8], shared: &Bytes) {
        match lane {
            Lane::Datagram(sub) => {
                let datagram = Bytes::from([self.way.datagram_head(), head, shared].concat());
                // A datagram that does not fit is lost like any other: the value follows.
                if self.way.quic.send_datagram(datagram).is_err() {
                    tracing::trace!(sub, "a datagram was not sent");
                }
            }
            Lane::Sub(sub) => {
                if let Some(out) = self.lane(sub) {
                    out.push(&length_prefix(head.len() + shared.len()), &Bytes::new());
                    out.push(head, shared);
                }
            }
        }
    }

    fn finish(&mut self, sub: u32) {
        if let Some(out) = self.lanes.get_mut(&sub) {
            out.ended = true;
        }
    }
}
