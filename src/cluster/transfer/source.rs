//! Giving: a state of a shard, piece by piece.
//!
//! Nothing of it is gathered in memory but one piece and one block. Whoever takes the pieces says how fast
//! they come, by taking them; and which blocks it needs, once it has the state.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use tidewire_core::shard::ShardSnapshot;

use super::error::TransferError;
use super::kept::{Kept, Run, Search};
use super::piece::{BLOCK_PIECE_BYTES, Head, Piece};
use crate::journal::{Base, Checkpoint, STATE_PART_BYTES_MAX, without_commit};

/// Takes one piece after the other, and holds up who gives them while there is no room.
pub(super) type Out<'a> = dyn FnMut(Piece) -> Result<(), TransferError> + 'a;

/// A state of a shard, to be given to another node: the checkpoint that counts here.
#[derive(Debug)]
pub(crate) struct Source {
    checkpoint: Checkpoint,
    /// It is read when somebody takes it.
    snapshot: OnceLock<ShardSnapshot>,
}

impl Source {
    pub(crate) fn of(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, snapshot: OnceLock::new() }
    }

    /// What it stands on.
    pub(crate) fn base(&self) -> &Base {
        self.checkpoint.base()
    }

    pub(crate) fn shard(&self) -> u16 {
        self.checkpoint.shard()
    }

    fn snapshot(&self) -> io::Result<&ShardSnapshot> {
        if let Some(snapshot) = self.snapshot.get() {
            return Ok(snapshot);
        }
        let snapshot = self.checkpoint.read()?;
        Ok(self.snapshot.get_or_init(|| snapshot))
    }

    /// Gives the head and the state. Blocks.
    ///
    /// # Errors
    /// When it cannot be encoded, or nobody takes it.
    pub(super) fn give_state(&self, out: &mut Out<'_>) -> Result<(), TransferError> {
        // Encoded twice, so that its bytes need not be in memory: the same state gives the same.
        let (snapshot, mut sizes) = (self.snapshot()?, Sizes::default());
        encode(snapshot, &mut sizes)?;
        let blocks_bytes = snapshot.extents().iter().map(|extent| extent.bytes).sum();
        let head = Head::new(self.shard(), self.base());
        let Sizes { bytes: state_bytes, checksum: state_checksum } = sizes;
        let head = Head { state_bytes, state_checksum, blocks_bytes, ..head };
        out(Piece::Head(Box::new(head)))?;
        let mut parts = Parts { out, open: Vec::new(), failure: None };
        let encoded = encode(snapshot, &mut parts).and_then(|()| Ok(parts.flush()?));
        match parts.failure {
            Some(failure) => Err(failure),
            None => encoded,
        }
    }

    /// Gives the blocks of these ranges in which something is kept, and the end. Blocks.
    ///
    /// # Errors
    /// When one cannot be read, or nobody takes them.
    pub(super) fn give_blocks(
        &self,
        wanted: &[Range<u64>],
        out: &mut Out<'_>,
    ) -> Result<(), TransferError> {
        let kept = Kept::of(self.snapshot()?, self.base().covers())?;
        let (mut blocks, mut bytes) = (0, 0);
        for run in &kept.runs {
            let is_it =
                |range: &Range<u64>| range.start <= run.blocks.start && run.blocks.end <= range.end;
            let at = wanted.partition_point(|range| range.end < run.blocks.end);
            if run.blocks.is_empty() || !wanted.get(at).is_some_and(is_it) {
                continue;
            }
            let mut count = |block: &[u8]| {
                blocks += 1;
                bytes += block.len() as u64;
            };
            self.give_run(&kept, run, &mut count, out)?;
        }
        out(Piece::End { blocks, bytes })
    }

    fn give_run(
        &self,
        kept: &Kept,
        run: &Run,
        count: &mut dyn FnMut(&[u8]),
        out: &mut Out<'_>,
    ) -> Result<(), TransferError> {
        let mut search = Search::of(kept.in_run(run));
        for block in self.checkpoint.reads().scan(self.shard(), run.blocks.clone()) {
            let (key, block) = block?;
            let bad = |what| io::Error::other(format!("block {}: {what}", key.index));
            let has_any = search.look(&block, self.shard(), key.index).map_err(bad)?;
            if !has_any {
                continue;
            }
            let block = Bytes::from(without_commit(&block).map_err(bad)?);
            count(&block);
            let total = u32::try_from(block.len()).map_err(TransferError::malformed)?;
            let mut rest = block;
            while !rest.is_empty() {
                let bytes = rest.split_to(rest.len().min(BLOCK_PIECE_BYTES));
                out(Piece::Block { index: key.index, total, bytes })?;
            }
        }
        if search.is_whole() {
            return Ok(());
        }
        let (Range { start, end }, missing) = (&run.blocks, search.missing());
        let what =
            format!("shard {}: blocks {start} to {end} lack {missing} batches", self.shard());
        Err(io::Error::other(what).into())
    }
}

fn encode(snapshot: &ShardSnapshot, to: &mut impl Write) -> Result<(), TransferError> {
    let encoded = rmp_serde::encode::write_named(to, snapshot);
    encoded.map_err(|error| TransferError::Journal(io::Error::other(error)))
}

/// Counts what is written.
#[derive(Default)]
struct Sizes {
    bytes: u64,
    checksum: u32,
}

impl Write for Sizes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts what is written into pieces.
struct Parts<'a, 'b> {
    out: &'a mut Out<'b>,
    open: Vec<u8>,
    failure: Option<TransferError>,
}

impl Write for Parts<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = STATE_PART_BYTES_MAX.saturating_sub(self.open.len());
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.open.extend_from_slice(taken);
        if self.open.len() >= STATE_PART_BYTES_MAX {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let part = Bytes::from(std::mem::take(&mut self.open));
        (self.out)(Piece::State(part)).map_err(|failure| {
            self.failure = Some(failure);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })
    }
}
