//! The pieces that a state is given in.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::TransferError;
use super::frame;
use crate::journal::{Base, EntryId, STATE_PART_BYTES_MAX};

/// The version of the format: head, pieces, and what a state is made of.
pub(super) const FORMAT: u16 = 1;
/// Bytes of a block in one piece.
pub(super) const BLOCK_PIECE_BYTES: usize = 240 * 1024;
/// Ranges of blocks that are asked for; of more than that some that are there already come again.
pub(super) const WANTED_MAX: usize = 8 * 1024;

/// The numbers of the kinds are part of the protocol.
const HEAD: u8 = 1;
const STATE: u8 = 2;
const WANTED: u8 = 3;
const BLOCK: u8 = 4;
const END: u8 = 5;

/// What is said of a state before it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) format: u16,
    /// The shard, or [`crate::journal::META`].
    pub(super) shard: u16,
    /// The last entry in it: term, index.
    pub(super) last: (u64, u64),
    /// Bytes of the state without its blocks, and their CRC-32C.
    pub(super) state_bytes: u64,
    pub(super) state_checksum: u32,
    /// Bytes of the blocks that its records lie in, about.
    pub(super) blocks_bytes: u64,
}

/// One of the pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Head(Box<Head>),
    /// Bytes of the state.
    State(Bytes),
    /// The answer to the state: the blocks that have not come yet.
    Wanted(Vec<Range<u64>>),
    /// Bytes of a block: it has so many, and what comes before them has come.
    Block {
        index: u64,
        total: u32,
        bytes: Bytes,
    },
    /// It is all there: blocks that were given, and their bytes.
    End {
        blocks: u64,
        bytes: u64,
    },
}

impl Head {
    pub(super) fn new(shard: u16, base: &Base) -> Self {
        let last = (base.last.term, base.last.index);
        let (state_bytes, state_checksum, blocks_bytes) = (0, 0, 0);
        Self { format: FORMAT, shard, last, state_bytes, state_checksum, blocks_bytes }
    }

    /// The entry that the state stands on.
    pub(super) fn last(&self) -> EntryId {
        let (term, index) = self.last;
        EntryId { term, index }
    }
}

impl Piece {
    /// Bytes of what it carries.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::State(bytes) | Self::Block { bytes, .. } => bytes.len(),
            Self::Head(_) | Self::Wanted(_) | Self::End { .. } => 0,
        }
    }

    /// The frame of it.
    ///
    /// # Errors
    /// When it is too long.
    pub(super) fn encode(&self) -> Result<Vec<u8>, TransferError> {
        match self {
            Self::Head(head) => {
                let payload = rmp_serde::to_vec_named(head).map_err(TransferError::malformed)?;
                frame::encode(HEAD, &payload)
            }
            Self::State(bytes) => frame::encode(STATE, bytes),
            Self::Wanted(ranges) => {
                let numbers = ranges.iter().flat_map(|range| [range.start, range.end]);
                let payload: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
                frame::encode(WANTED, &payload)
            }
            Self::Block { index, total, bytes } => {
                let mut payload = Vec::with_capacity(12 + bytes.len());
                payload.extend_from_slice(&index.to_be_bytes());
                payload.extend_from_slice(&total.to_be_bytes());
                payload.extend_from_slice(bytes);
                frame::encode(BLOCK, &payload)
            }
            Self::End { blocks, bytes } => {
                frame::encode(END, &[blocks.to_be_bytes(), bytes.to_be_bytes()].concat())
            }
        }
    }

    /// The piece in a frame whose checksum is right.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn decode(kind: u8, payload: Bytes) -> Result<Self, TransferError> {
        let short = || TransferError::malformed("a piece is too short");
        match kind {
            HEAD => {
                let head = rmp_serde::from_slice(&payload).map_err(TransferError::malformed)?;
                Ok(Self::Head(Box::new(head)))
            }
            STATE if !payload.is_empty() && payload.len() <= STATE_PART_BYTES_MAX => {
                Ok(Self::State(payload))
            }
            STATE => Err(TransferError::malformed("a part of a state has a wrong length")),
            WANTED => {
                let (ranges, []) = payload.as_chunks::<16>() else { return Err(short()) };
                if ranges.len() > WANTED_MAX {
                    return Err(TransferError::malformed("too many ranges are wanted"));
                }
                let range = |bytes: &[u8; 16]| {
                    let (start, end) = bytes.split_first_chunk::<8>()?;
                    let end = end.first_chunk::<8>()?;
                    Some(u64::from_be_bytes(*start)..u64::from_be_bytes(*end))
                };
                Ok(Self::Wanted(ranges.iter().filter_map(range).collect()))
            }
            BLOCK => {
                let (index, rest) = payload.split_first_chunk().ok_or_else(short)?;
                let (total, rest) = rest.split_first_chunk().ok_or_else(short)?;
                let (index, total) = (u64::from_be_bytes(*index), u32::from_be_bytes(*total));
                Ok(Self::Block { index, total, bytes: payload.slice_ref(rest) })
            }
            END => {
                let (blocks, rest) = payload.split_first_chunk().ok_or_else(short)?;
                let Ok(bytes) = <[u8; 8]>::try_from(rest) else { return Err(short()) };
                Ok(Self::End {
                    blocks: u64::from_be_bytes(*blocks),
                    bytes: u64::from_be_bytes(bytes),
                })
            }
            other => Err(TransferError::malformed(format!("a piece of kind {other}"))),
        }
    }
}
