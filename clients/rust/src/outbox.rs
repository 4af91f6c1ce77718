//! Frames that wait to be written, gathered into as few writes as possible.

use std::collections::VecDeque;

use tidewire_protocol::frame::length_prefix;
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal};

/// Frames are gathered up to so many bytes per write.
const SEGMENT_BYTES_MAX: usize = 128 * 1024;
/// A segment starts with so much capacity.
const SEGMENT_START_BYTES: usize = 4 * 1024;
/// Requests wait for room while more bytes than this are unwritten.
const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the connection's own frames (PONG, CREDIT) may take beyond that.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;

/// How frames are told apart on the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One after the other in a message.
    Message,
    /// Each preceded by its length.
    Prefixed,
}

/// Encoded frames in order. Each segment becomes one write.
#[derive(Debug)]
pub(crate) struct Outbox {
    segments: VecDeque<Vec<u8>>,
    bytes: usize,
    framing: Framing,
    /// Largest frame that the server takes.
    frame_bytes_max: usize,
    /// Whether a segment that was taken is not yet written.
    writing: bool,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            bytes: 0,
            framing: Framing::Message,
            frame_bytes_max: tidewire_protocol::FRAME_BYTES_MAX,
            writing: false,
        }
    }

    /// Starts over for a new connection.
    pub(crate) fn begin(&mut self, framing: Framing, frame_bytes_max: usize) {
        self.clear();
        (self.framing, self.frame_bytes_max) = (framing, frame_bytes_max);
    }

    /// The connection is gone, and with it what was to be written.
    pub(crate) fn clear(&mut self) {
        self.segments.clear();
        self.bytes = 0;
        self.writing = false;
    }

    /// Whether requests may be added.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < OUTBOX_BYTES_MAX
    }

    /// Whether the connection's own frames may be added. A peer that asks for PONGs and does not
    /// take them gets no more.
    pub(crate) fn has_control_room(&self) -> bool {
        self.bytes < OUTBOX_BYTES_MAX + CONTROL_BYTES_MAX
    }

    /// Whether everything has been written.
    pub(crate) fn is_idle(&self) -> bool {
        self.segments.is_empty() && !self.writing
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// `frame_too_large` when the server would not take it. Nothing is appended.
    pub(crate) fn push(&mut self, frame: &ClientFrame) -> Result<(), Refusal> {
        let mut segment =
            self.segments.pop_back().unwrap_or_else(|| Vec::with_capacity(SEGMENT_START_BYTES));
        let start = segment.len();
        self.encode(frame, &mut segment);
        let len = segment.len() - start;
        let frame_len = len - self.prefix_len();
        if frame_len > self.frame_bytes_max {
            segment.truncate(start);
            if start > 0 {
                self.segments.push_back(segment);
            }
            return Err(too_large(frame_len, self.frame_bytes_max));
        }
        // A message as a whole is bounded like a frame.
        if start > 0 && segment.len() > SEGMENT_BYTES_MAX.min(self.frame_bytes_max) {
            let split = segment.split_off(start);
            self.segments.push_back(segment);
            segment = split;
        }
        self.segments.push_back(segment);
        self.bytes += len;
        Ok(())
    }

    fn prefix_len(&self) -> usize {
        match self.framing {
            Framing::Message => 0,
            Framing::Prefixed => 4,
        }
    }

    fn encode(&self, frame: &ClientFrame, segment: &mut Vec<u8>) {
        let start = segment.len();
        if self.framing == Framing::Prefixed {
            segment.extend_from_slice(&[0; 4]);
        }
        let body = segment.len();
        frame.encode(segment);
        let len = segment.len() - body;
        if let Some(prefix) = segment.get_mut(start..body).filter(|prefix| !prefix.is_empty()) {
            prefix.copy_from_slice(&length_prefix(len));
        }
    }

    /// The next segment to write. [`Self::written`] follows when it is written.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let segment = self.segments.pop_front()?;
        self.bytes = self.bytes.saturating_sub(segment.len());
        self.writing = true;
        Some(segment)
    }

    pub(crate) fn written(&mut self) {
        self.writing = false;
    }
}

fn too_large(len: usize, max: usize) -> Refusal {
    let message = format!(
        "the request takes {len} bytes and the server accepts {max}: split it into smaller ones"
    );
    Refusal::new(ErrorCode::FrameTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(nonce: u64) -> ClientFrame {
        ClientFrame::Ping { nonce }
    }

    #[test]
    fn frames_share_a_write_until_it_is_full() {
        let mut outbox = Outbox::new();
        for nonce in 0..100_000 {
            outbox.push(&ping(nonce)).unwrap();
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| outbox.take()).map(|s| s.len()).collect();
        assert!(sizes.iter().all(|size| *size <= SEGMENT_BYTES_MAX), "{sizes:?}");
        assert!(sizes.len() <= 6, "{sizes:?}");
        assert!(!outbox.is_idle());
        outbox.written();
        assert!(outbox.is_idle());
    }

    #[test]
    fn a_frame_over_the_servers_limit_is_refused_and_leaves_nothing_behind() {
        for framing in [Framing::Message, Framing::Prefixed] {
            let mut outbox = Outbox::new();
            outbox.begin(framing, 20);
            outbox.push(&ping(1)).unwrap();
            let hello = ClientFrame::Hello {
                version: 1,
                capabilities: vec!["x".repeat(30)],
                token: None,
                client: None,
            };
            assert!(outbox.push(&hello).is_err());
            assert_eq!(outbox.take().unwrap().len(), 3 + outbox.prefix_len());
            assert!(outbox.take().is_none());
        }
    }

    #[test]
    fn a_prefix_states_the_length_of_the_frame_behind_it() {
        let mut outbox = Outbox::new();
        outbox.begin(Framing::Prefixed, 1_000);
        outbox.push(&ping(1)).unwrap();
        assert_eq!(outbox.take().unwrap(), [0, 0, 0, 3, 0x92, 3, 1]);
    }
}
