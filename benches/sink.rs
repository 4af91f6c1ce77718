//! Where the output goes: it is counted and forgotten.

use bytes::Bytes;
use tidewire_core::fanout::{Lane, Sink};

/// A transport that always has room and counts what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCount {
    /// Bytes of heads, shared bodies and replies.
    pub bytes: u64,
}

impl Sink for ByteCount {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        self.bytes += frames.len() as u64;
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        self.bytes += (head.len() + shared.len()) as u64;
    }

    fn finish(&mut self, _sub: u32) {}
}
