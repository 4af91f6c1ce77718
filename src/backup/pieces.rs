//! The state of a shard in a backup: pieces, and a frame that ends them.

use std::fs::File;
use std::io::{BufReader, Read};

use tidewire_core::shard::ShardSnapshot;

use super::frames::{self, Kind};

/// Reads the state of a shard, of which the first piece is there.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_shard(pieces: &mut Pieces<'_>) -> Result<ShardSnapshot, String> {
    let snapshot: ShardSnapshot =
        rmp_serde::from_read(&mut *pieces).map_err(|error| error.to_string())?;
    let shard = snapshot.shard();
    if pieces.at < pieces.piece.len() {
        return Err(format!("shard {shard} does not end where it ends"));
    }
    if pieces.last.is_none() {
        pieces.advance()?;
    }
    if pieces.last == Some((shard, pieces.bytes)) {
        return Ok(snapshot);
    }
    Err(format!("shard {shard} does not end where it ends"))
}

/// The state of one shard, put together from its frames.
pub(super) struct Pieces<'a> {
    file: &'a mut BufReader<File>,
    piece: Vec<u8>,
    at: usize,
    /// The frame behind the pieces: number of the shard, bytes of its state.
    last: Option<(u16, u64)>,
    pub(super) bytes: u64,
}

impl<'a> Pieces<'a> {
    /// The pieces of a state, of which this is the first.
    pub(super) fn new(file: &'a mut BufReader<File>, first: &[u8]) -> Result<Self, String> {
        let mut pieces = Self { file, piece: Vec::new(), at: 0, last: None, bytes: 0 };
        pieces.begin(first)?;
        Ok(pieces)
    }

    fn begin(&mut self, payload: &[u8]) -> Result<(), String> {
        let (_shard, piece) = payload.split_first_chunk::<2>().ok_or_else(short)?;
        self.bytes += piece.len() as u64;
        self.piece = piece.to_vec();
        self.at = 0;
        Ok(())
    }

    /// Reads the next frame.
    fn advance(&mut self) -> Result<(), String> {
        let (kind, payload) = frames::read(self.file)?;
        match kind {
            Kind::Piece => self.begin(&payload),
            Kind::ShardEnd => {
                let (shard, rest) = payload.split_first_chunk().ok_or_else(short)?;
                let (bytes, _) = rest.split_first_chunk().ok_or_else(short)?;
                self.last = Some((u16::from_be_bytes(*shard), u64::from_be_bytes(*bytes)));
                Ok(())
            }
            Kind::Header | Kind::Block | Kind::End => {
                Err("the state of a shard does not end".to_owned())
            }
            Kind::Failed => Err(ended_early(&payload)),
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() && self.last.is_none() {
            self.advance().map_err(std::io::Error::other)?;
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

/// What the server has said, which could not go on.
pub(super) fn ended_early(payload: &[u8]) -> String {
    format!("the server has ended it: {}", String::from_utf8_lossy(payload))
}

pub(super) fn short() -> String {
    "a frame is too short".to_owned()
}
