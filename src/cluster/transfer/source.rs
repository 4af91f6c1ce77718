//! Giving: a state of a shard, piece by piece.
//!
//! Nothing of it is gathered in memory but one piece and one block. Whoever takes the pieces says how fast
//! they come, by taking them; and which blocks it needs, once it has the state.

use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire_core::shard::ShardSnapshot;

use super::error::TransferError;
use super::kept::{Kept, Run, Search};
use super::piece::{BLOCK_PIECE_BYTES, Head, Piece};
use crate::journal::{Base, Hold, Reads, STATE_PART_BYTES_MAX, without_commit};

/// How long a block of a committed entry may take to get to this node's own disk: others may have it before.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(10);
const BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Takes one piece after the other, and holds up who gives them while there is no room.
pub(super) type Out<'a> = dyn FnMut(Piece) -> Result<(), TransferError> + 'a;

/// A state of a shard, to be given to other nodes.
#[derive(Debug)]
pub(crate) struct Source {
    /// Nothing that it needs is removed while it is there.
    _hold: Hold,
    reads: Reads,
    snapshot: ShardSnapshot,
    base: Base,
}

impl Source {
    /// A state, as [`tidewire_core::shard::Shard::checkpoint`] makes it, that stands on an entry which is committed.
    /// `hold` is from before the state was made, so that all its blocks are there
    /// ([`crate::journal::State::hold_shard`]).
    pub(crate) fn new(hold: Hold, reads: Reads, snapshot: ShardSnapshot, base: Base) -> Self {
        Self { _hold: hold, reads, snapshot, base }
    }

    /// What it stands on.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    pub(crate) fn shard(&self) -> u16 {
        self.snapshot.shard()
    }

    /// Gives the head and the state. Blocks.
    ///
    /// # Errors
    /// When it cannot be encoded, or nobody takes it.
    pub(super) fn give_state(&self, out: &mut Out<'_>) -> Result<(), TransferError> {
        // Encoded twice, so that it need not be in memory: the same state gives the same bytes.
        let mut sizes = Sizes::default();
        encode(&self.snapshot, &mut sizes)?;
        let blocks_bytes = self.snapshot.extents().iter().map(|extent| extent.bytes).sum();
        let head = Head::new(self.shard(), &self.base);
        let Sizes { bytes: state_bytes, checksum: state_checksum } = sizes;
        let head = Head { state_bytes, state_checksum, blocks_bytes, ..head };
        out(Piece::Head(Box::new(head)))?;
        let mut parts = Parts { out, open: Vec::new(), failure: None };
        let encoded = encode(&self.snapshot, &mut parts).and_then(|()| Ok(parts.flush()?));
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
        let kept = Kept::of(&self.snapshot, self.base.covers())?;
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
        if run.is_last {
            self.wait_for(kept, run)?;
        }
        let mut search = Search::of(kept.in_run(run));
        for block in self.reads.scan(self.shard(), run.blocks.clone()) {
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

    /// Waits until the newest blocks are on this node's disk, as far as that takes.
    fn wait_for(&self, kept: &Kept, run: &Run) -> io::Result<()> {
        let began = Instant::now();
        loop {
            let mut search = Search::of(kept.in_run(run));
            for block in self.reads.scan(self.shard(), run.blocks.clone()) {
                let (key, block) = block?;
                search.look(&block, self.shard(), key.index).map_err(io::Error::other)?;
            }
            if search.is_whole() || began.elapsed() > BLOCK_TIMEOUT {
                return Ok(());
            }
            std::thread::sleep(BLOCK_PAUSE);
        }
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
