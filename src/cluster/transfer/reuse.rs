//! What of a state's blocks is here already: from an attempt that was broken, or from the state that counts here.
//!
//! A run of blocks is not asked for again if every record that the state keeps in it is found there: same
//! sequence, topic, offsets and length. That is enough, whoever has given them and of whichever state. All that
//! lies in either place was committed: the sequence of a record in the shard's committed history says which
//! record it is, and an index which entry. So a block that was given as part of an earlier state, or packed anew
//! since, can only hold the same records, or fewer; and whether they are all there is what is looked at.

use std::io;
use std::ops::Range;

use super::error::TransferError;
use super::kept::{Kept, Run, Search};
use super::piece::WANTED_MAX;
use crate::journal::{Taking, without_commit};

/// Bytes of blocks that are written together.
pub(super) const WRITTEN_BYTES: usize = 2 * 1024 * 1024;

/// What is here, and what is not.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// The blocks that are to come.
    pub(super) wanted: Vec<Range<u64>>,
    /// Runs that are here.
    pub(super) reused: u64,
}

type Blocks = Vec<(u64, Vec<u8>)>;

/// Looks for the runs of a state, and removes what has come that is not among them. Blocks.
///
/// # Errors
/// When the disk fails.
pub(super) fn look(taking: &Taking, kept: &Kept) -> Result<Reuse, TransferError> {
    let mut reuse = Reuse::default();
    let mut next = 0;
    let mut here: Vec<bool> = Vec::with_capacity(kept.runs.len());
    for run in &kept.runs {
        taking.remove(next..run.blocks.start)?;
        next = run.blocks.end;
        here.push(run.blocks.is_empty() || is_here(taking, kept, run)?);
    }
    taking.remove(next..u64::MAX)?;
    for (run, is_here) in kept.runs.iter().zip(&here) {
        if !is_here {
            reuse.wanted.push(run.blocks.clone());
        }
    }
    join(&mut reuse.wanted);
    for (run, is_here) in kept.runs.iter().zip(&here) {
        let comes = is_wanted(&reuse.wanted, &run.blocks);
        if comes {
            taking.remove(run.blocks.clone())?;
        }
        reuse.reused += u64::from(*is_here && !comes && !run.blocks.is_empty());
    }
    Ok(reuse)
}

/// Whether a run is to come.
pub(super) fn is_wanted(wanted: &[Range<u64>], blocks: &Range<u64>) -> bool {
    let at = wanted.partition_point(|range| range.end < blocks.end);
    let found = wanted.get(at);
    !blocks.is_empty() && found.is_some_and(|range| range.start <= blocks.start)
}

/// Whether a run has come, or can be had from what counts here.
fn is_here(taking: &Taking, kept: &Kept, run: &Run) -> Result<bool, TransferError> {
    let mut search = Search::of(kept.in_run(run));
    let mut are_whole = true;
    for block in taking.come(run.blocks.clone()) {
        let (index, block) = block?;
        are_whole &= search.look(&block, taking.shard(), index).is_ok();
    }
    if are_whole && search.is_whole() {
        return Ok(true);
    }
    taking.remove(run.blocks.clone())?;
    copy(taking, kept, run)
}

/// Copies the blocks of a run from those of the state that counts here, if they hold all of it.
fn copy(taking: &Taking, kept: &Kept, run: &Run) -> Result<bool, TransferError> {
    let mut search = Search::of(kept.in_run(run));
    let (mut open, mut bytes): (Blocks, usize) = (Vec::new(), 0);
    for block in taking.known(run.blocks.clone()) {
        let (index, block) = block?;
        let Ok(has_any) = search.look(&block, taking.shard(), index) else { return Ok(false) };
        if !has_any {
            continue;
        }
        let block = without_commit(&block).map_err(io::Error::other)?;
        bytes += block.len();
        open.push((index, block));
        if bytes >= WRITTEN_BYTES {
            bytes = 0;
            taking.write(std::mem::take(&mut open))?;
        }
    }
    if search.is_whole() {
        taking.write(open)?;
    }
    Ok(search.is_whole())
}

/// Joins ranges that meet, and if there are too many also some that do not.
fn join(ranges: &mut Vec<Range<u64>>) {
    ranges.dedup_by(|next, range| {
        let meets = next.start <= range.end;
        if meets {
            range.end = next.end;
        }
        meets
    });
    while ranges.len() > WANTED_MAX {
        let pairs = ranges.chunks(2);
        let joined = pairs.filter_map(|pair| Some(pair.first()?.start..pair.last()?.end)).collect();
        *ranges = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_are_one_and_there_are_not_too_many() {
        let mut ranges = vec![0..3, 3..5, 7..9];
        join(&mut ranges);
        assert_eq!(ranges, [0..5, 7..9]);
        assert!(is_wanted(&ranges, &(3..5)) && is_wanted(&ranges, &(7..9)));
        assert!(!is_wanted(&ranges, &(5..7)) && !is_wanted(&ranges, &(9..9)));
        let many = 100_000_u64;
        let mut ranges: Vec<_> = (0..many).map(|at| 3 * at..3 * at + 1).collect();
        join(&mut ranges);
        assert!(ranges.len() <= WANTED_MAX, "{}", ranges.len());
        assert!((0..many).all(|at| is_wanted(&ranges, &(3 * at..3 * at + 1))));
    }
}
