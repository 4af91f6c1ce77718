//! Taking: a state that comes piece by piece, into the journal beside what is there.
//!
//! Everything is checked before it counts: that the state is one of this shard, and that every record which it
//! keeps lies in a block where it says. It may come from anybody; what is wrong with it is an error.

use std::ops::Range;

use tidewire_core::shard::{Shard, ShardConfig, ShardSnapshot};

use super::coming::Coming;
use super::error::TransferError;
use super::kept::Kept;
use super::piece::{FORMAT, Head, Piece};
use super::reuse;
use crate::journal::{Base, GroupLog, Taking};

/// Bytes of a state after which it is waited until they are on the disk.
const WRITTEN_BYTES: u64 = 4 * 1024 * 1024;

/// A state that is being taken. All of it blocks. After an error it is of no use.
pub(crate) struct Sink {
    log: GroupLog,
    /// The entry that it has to stand on, as was said before it came.
    expected: Base,
    stage: Stage,
}

enum Stage {
    Nothing,
    State { taking: Taking, head: Box<Head>, checksum: u32, written: u64 },
    Blocks { taking: Taking, snapshot: Box<ShardSnapshot>, coming: Coming },
    Over,
}

/// What is to be done after a piece.
#[derive(Debug)]
pub(crate) enum Step {
    /// More is to come.
    More,
    /// The state is there; blocks in these ranges are to come.
    Wants(Vec<Range<u64>>),
    /// It is all there.
    Whole(Box<Taken>),
}

/// A state that was taken, and is on the disk. It does not count yet.
pub(crate) struct Taken {
    taking: Taking,
    snapshot: Box<ShardSnapshot>,
    blocks: u64,
    reused: u64,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken").field("base", self.base()).finish_non_exhaustive()
    }
}

impl Sink {
    /// For the shard of this log, and a state that stands on this entry.
    pub(crate) fn new(log: GroupLog, expected: Base) -> Self {
        Self { log, expected, stage: Stage::Nothing }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When it does not belong there, or something in it is wrong, or the disk fails or is full.
    pub(super) fn put(&mut self, piece: Piece) -> Result<Step, TransferError> {
        match (std::mem::replace(&mut self.stage, Stage::Over), piece) {
            (Stage::Nothing, Piece::Head(head)) => self.begin(head),
            (Stage::State { mut taking, head, checksum, mut written }, Piece::State(part)) => {
                let checksum = crc32c::crc32c_append(checksum, &part);
                taking.put_part(&part)?;
                if taking.state_bytes() > head.state_bytes {
                    return Err(TransferError::malformed("the state is longer than was said"));
                }
                if taking.state_bytes() - written >= WRITTEN_BYTES {
                    taking.write(Vec::new())?;
                    written = taking.state_bytes();
                }
                if taking.state_bytes() < head.state_bytes {
                    self.stage = Stage::State { taking, head, checksum, written };
                    return Ok(Step::More);
                }
                if checksum != head.state_checksum {
                    return Err(TransferError::malformed("the state has another checksum"));
                }
                self.state_is_there(taking)
            }
            (
                Stage::Blocks { taking, snapshot, mut coming },
                Piece::Block { index, total, bytes },
            ) => {
                coming.put(&taking, index, total, &bytes)?;
                self.stage = Stage::Blocks { taking, snapshot, coming };
                Ok(Step::More)
            }
            (Stage::Blocks { taking, snapshot, mut coming }, Piece::End { blocks, bytes }) => {
                let reused = coming.reused;
                coming.finish(&taking, blocks, bytes)?;
                Ok(Step::Whole(Box::new(Taken { taking, snapshot, blocks, reused })))
            }
            (_, piece) => {
                let what = format!("a piece that does not belong there: {}", name_of(&piece));
                Err(TransferError::malformed(what))
            }
        }
    }

    fn begin(&mut self, head: Box<Head>) -> Result<Step, TransferError> {
        if head.format != FORMAT {
            let what = format!(
                "its format is {}, and {FORMAT} is known here: update this node",
                head.format
            );
            return Err(TransferError::malformed(what));
        }
        let (base, shard) = (self.expected.clone(), self.log.shard());
        if head.shard != shard {
            let what = format!("it is of shard {}, and {shard} was said", head.shard);
            return Err(TransferError::malformed(what));
        }
        if head.last() != base.last {
            let what = format!("it stands on {:?}, and {:?} was said", head.last(), base.last);
            return Err(TransferError::malformed(what));
        }
        if head.state_bytes == 0 {
            return Err(TransferError::malformed("it is empty"));
        }
        let taking = self.log.begin_taking(base)?;
        self.stage = Stage::State { taking, head, checksum: 0, written: 0 };
        Ok(Step::More)
    }

    fn state_is_there(&mut self, taking: Taking) -> Result<Step, TransferError> {
        let snapshot = Box::new(taking.read().map_err(TransferError::malformed)?);
        if snapshot.shard() != taking.shard() {
            let what = format!("it says that it is of shard {}", snapshot.shard());
            return Err(TransferError::malformed(what));
        }
        let kept = Kept::of(&snapshot, taking.base().covers())?;
        let reuse = reuse::look(&taking, &kept)?;
        let wanted = reuse.wanted.clone();
        let coming = Coming::of(kept, reuse);
        self.stage = Stage::Blocks { taking, snapshot, coming };
        Ok(Step::Wants(wanted))
    }
}

impl Taken {
    /// What it stands on.
    pub(crate) fn base(&self) -> &Base {
        self.taking.base()
    }

    #[cfg(test)]
    pub(super) fn snapshot_hash(&self, config: ShardConfig) -> String {
        let shard = Shard::resume((*self.snapshot).clone(), config).unwrap();
        format!("{:?}", shard.durable_hash())
    }

    /// Blocks that have come in this attempt, and runs of blocks that were there already.
    pub(crate) fn blocks(&self) -> (u64, u64) {
        (self.blocks, self.reused)
    }

    /// Puts it into the place of the state that counts here; returns the shard, which goes on recovering, and
    /// the bytes of the state, for its room ([`crate::journal::DiskRoom::taken_over`]). Whoever serves the shard
    /// from before has stopped, for its cold records are not where they were. When it fails, that one counts
    /// still. Blocks.
    ///
    /// # Errors
    /// When it is no state of a shard after all, or what is here is as new, or the journal has failed.
    pub(crate) fn install(self, config: ShardConfig) -> Result<(Shard, u64), TransferError> {
        let Self { taking, snapshot, .. } = self;
        let state_bytes = taking.state_bytes();
        let shard = Shard::resume((*snapshot).clone(), config).map_err(TransferError::malformed)?;
        taking.take_over(&snapshot)?;
        Ok((shard, state_bytes))
    }
}

fn name_of(piece: &Piece) -> &'static str {
    match piece {
        Piece::Head(_) => "a head",
        Piece::State(_) => "a part of the state",
        Piece::Wanted(_) => "an answer",
        Piece::Block { .. } => "a block",
        Piece::End { .. } => "the end",
    }
}
