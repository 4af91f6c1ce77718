//! Frames on their way into a file: length, checksum, kind, payload.

use std::io::{self, Write};

use serde::Serialize;
use tidewire_core::shard::ShardSnapshot;

use super::format::{FRAME_BYTES_MAX, HEAD_BYTES, MAGIC, PREAMBLE_BYTES, VERSION, kind};

/// Bytes of a snapshot in one frame: it is written piece by piece, however large it is.
const PIECE_BYTES: usize = 1024 * 1024;

/// Why a frame was not written. The file holds whole frames only as far as [`FramesOut`] says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// It does not fit within the bytes that the file may have.
    #[error("the frame does not fit within the bytes allowed")]
    Full,
    /// The system does not write it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has no encoding.
    #[error("a frame cannot be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Writes frames, never more than so many bytes.
#[derive(Debug)]
pub(crate) struct FramesOut<W> {
    file: W,
    bytes: u64,
    bytes_max: u64,
    payload: Vec<u8>,
}

impl<W: Write> FramesOut<W> {
    /// Begins a file.
    pub(crate) fn begin(mut file: W, bytes_max: u64) -> Result<Self, WriteError> {
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        Ok(Self { file, bytes: PREAMBLE_BYTES as u64, bytes_max, payload: Vec::new() })
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Allows so many bytes in all from now on.
    pub(crate) fn allow(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Writes a frame of this kind.
    pub(crate) fn put(&mut self, kind: u8, payload: &impl Serialize) -> Result<(), WriteError> {
        let mut bytes = std::mem::take(&mut self.payload);
        bytes.clear();
        rmp_serde::encode::write_named(&mut bytes, payload)?;
        let put = self.put_bytes(kind, &bytes);
        self.payload = bytes;
        put
    }

    /// Writes a snapshot as a row of frames.
    pub(crate) fn put_snapshot(&mut self, snapshot: &ShardSnapshot) -> Result<(), WriteError> {
        let mut pieces = Pieces::new(self, snapshot.shard());
        let encoded = rmp_serde::encode::write_named(&mut pieces, snapshot);
        // Why a piece was not written says more than what the encoder makes of it.
        if let Some(refused) = pieces.refused.take() {
            return Err(refused);
        }
        encoded?;
        pieces.finish()
    }

    /// Hands what is buffered to the system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// The file.
    pub(crate) fn file(&self) -> &W {
        &self.file
    }

    fn put_bytes(&mut self, kind: u8, payload: &[u8]) -> Result<(), WriteError> {
        let len = u32::try_from(payload.len() + 1).ok().filter(|len| *len <= FRAME_BYTES_MAX);
        let len = len.ok_or(WriteError::Full)?;
        let after = self.bytes + (HEAD_BYTES + payload.len()) as u64;
        if after > self.bytes_max {
            return Err(WriteError::Full);
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&[kind]);
        checksum.update(payload);
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(&checksum.finalize().to_le_bytes())?;
        self.file.write_all(&[kind])?;
        self.file.write_all(payload)?;
        self.bytes = after;
        Ok(())
    }
}

/// Takes a snapshot's encoding and writes it frame by frame: shard, whether it is the last one,
/// bytes.
struct Pieces<'a, W> {
    out: &'a mut FramesOut<W>,
    piece: Vec<u8>,
    shard: u16,
    refused: Option<WriteError>,
}

/// Bytes before those of a piece.
const PIECE_HEAD_BYTES: usize = 3;

impl<'a, W: Write> Pieces<'a, W> {
    fn new(out: &'a mut FramesOut<W>, shard: u16) -> Self {
        Self { out, piece: head(shard), shard, refused: None }
    }

    fn write_piece(&mut self, is_last: bool) -> Result<(), WriteError> {
        let mut piece = std::mem::replace(&mut self.piece, head(self.shard));
        if let Some(flag) = piece.get_mut(2) {
            *flag = u8::from(is_last);
        }
        self.out.put_bytes(kind::SNAPSHOT, &piece)
    }

    fn finish(mut self) -> Result<(), WriteError> {
        self.write_piece(true)
    }
}

fn head(shard: u16) -> Vec<u8> {
    let [low, high] = shard.to_le_bytes();
    vec![low, high, 0]
}

impl<W: Write> Write for Pieces<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (PIECE_HEAD_BYTES + PIECE_BYTES).saturating_sub(self.piece.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.piece.extend_from_slice(taken);
        if self.piece.len() == PIECE_HEAD_BYTES + PIECE_BYTES
            && let Err(refused) = self.write_piece(false)
        {
            let message = refused.to_string();
            self.refused = Some(refused);
            return Err(io::Error::other(message));
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
