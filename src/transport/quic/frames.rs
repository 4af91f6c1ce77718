//! The inbound side of a stream: length-prefixed frames, cut from what has come.

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, RecvStream};
use tidewire_protocol::wire::value_len;
use tidewire_protocol::{ErrorCode, Refusal};

use super::webtransport::read_head;

/// Bytes of a frame's length prefix.
const PREFIX_BYTES: usize = 4;
/// Pieces of a stream that are taken at once: about a packet each.
const PIECES: usize = 16;
/// What is set aside for a frame that has begun, before more of it has come.
const FIRST_BYTES_MAX: usize = 16 * 1024;

/// The frames of one stream. Between reads it holds what is incomplete, and nothing else.
pub(super) struct Frames {
    recv: RecvStream,
    /// The WebTransport session that the stream has to say it is part of first.
    session: Option<u64>,
    /// What has come and was not taken yet.
    pieces: std::vec::IntoIter<Bytes>,
    piece: Bytes,
    /// A frame that lies in several pieces, with its prefix.
    begun: BytesMut,
    frame_bytes_max: usize,
}

impl Frames {
    /// `session`: the WebTransport session that the stream has to say it is part of.
    pub(super) fn new(recv: RecvStream, session: Option<u64>, frame_bytes_max: usize) -> Self {
        let pieces = Vec::new().into_iter();
        let (piece, begun) = (Bytes::new(), BytesMut::new());
        Self { recv, session, pieces, piece, begun, frame_bytes_max }
    }

    /// The next frame, waiting for it; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// What breaks a rule, also an end within a frame.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            if let Some(frame) = self.cut()? {
                return Ok(Some(frame));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The next frame, if all of it has come.
    ///
    /// # Errors
    ///
    /// What breaks a rule.
    pub(super) fn cut(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            if self.piece.is_empty() {
                match self.pieces.next() {
                    Some(piece) => self.piece = piece,
                    None => return Ok(None),
                }
            }
            let whole = match self.begun.is_empty() {
                true => self.cut_piece()?,
                false => self.continue_begun()?,
            };
            if let Some(frame) = whole {
                return check(frame).map(Some);
            }
        }
    }

    /// Waits for more of the stream; false at its end.
    ///
    /// # Errors
    ///
    /// The end lies within a frame.
    pub(super) async fn more(&mut self) -> Result<bool, Refusal> {
        if let Some(session) = self.session {
            read_head(&mut self.recv, session).await?;
            self.session = None;
        }
        let mut pieces: [Bytes; PIECES] = Default::default();
        match self.recv.read_chunks(&mut pieces).await {
            Ok(Some(come)) => {
                self.pieces = pieces.into_iter().take(come).collect::<Vec<_>>().into_iter();
                Ok(true)
            }
            Ok(None) if self.begun.is_empty() => Ok(false),
            Ok(None) => Err(malformed("the stream ends within a frame")),
            Err(ReadError::IllegalOrderedRead) => {
                Err(malformed("the stream was read out of order"))
            }
            Err(_lost) => Ok(false),
        }
    }

    /// A frame from the piece itself, without a copy; begins one that goes on in the next piece.
    fn cut_piece(&mut self) -> Result<Option<Bytes>, Refusal> {
        let needed = match self.piece.first_chunk() {
            Some(prefix) => self.needed(*prefix)?,
            None => PREFIX_BYTES,
        };
        if self.piece.len() >= PREFIX_BYTES && self.piece.len() >= needed {
            let mut frame = self.piece.split_to(needed);
            frame.advance(PREFIX_BYTES);
            return Ok(Some(frame));
        }
        // Grows with what really comes, whatever the prefix promises.
        self.begun.reserve(needed.min(FIRST_BYTES_MAX));
        self.begun.extend_from_slice(&std::mem::take(&mut self.piece));
        Ok(None)
    }

    /// Adds to a frame that has begun.
    fn continue_begun(&mut self) -> Result<Option<Bytes>, Refusal> {
        self.add_until(PREFIX_BYTES);
        let Some(prefix) = self.begun.first_chunk() else { return Ok(None) };
        let needed = self.needed(*prefix)?;
        self.add_until(needed);
        if self.begun.len() < needed {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.begun).freeze();
        frame.advance(PREFIX_BYTES);
        Ok(Some(frame))
    }

    fn add_until(&mut self, len: usize) {
        let missing = len.saturating_sub(self.begun.len()).min(self.piece.len());
        self.begun.extend_from_slice(&self.piece.split_to(missing));
    }

    /// Bytes of a frame and its prefix.
    fn needed(&self, prefix: [u8; PREFIX_BYTES]) -> Result<usize, Refusal> {
        let len = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        if len > self.frame_bytes_max {
            let max = self.frame_bytes_max;
            let message = format!("a frame of {len} bytes: at most {max} are allowed");
            return Err(Refusal::new(ErrorCode::FrameTooLarge, message));
        }
        Ok(PREFIX_BYTES + len)
    }
}

/// A frame fills its length exactly.
fn check(frame: Bytes) -> Result<Bytes, Refusal> {
    match value_len(&frame) {
        Ok(len) if len == frame.len() => Ok(frame),
        Ok(_) => Err(malformed("a length prefix covers exactly one frame")),
        Err(broken) => Err(malformed(&broken.to_string())),
    }
}

fn malformed(rule: &str) -> Refusal {
    Refusal::new(ErrorCode::Malformed, rule)
}
