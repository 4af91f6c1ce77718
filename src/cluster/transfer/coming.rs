//! The blocks of a state as they come: put together from their pieces, checked, and written.

use super::error::TransferError;
use super::kept::{Kept, Search};
use super::reuse::{Reuse, WRITTEN_BYTES, is_wanted};
use crate::journal::Taking;

/// No block is longer: a round of a shard is one, however large.
const BLOCK_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// What is to come, and what has.
#[derive(Debug)]
pub(super) struct Coming {
    kept: Kept,
    /// The run that comes.
    run: usize,
    /// Batches of the run that have been found.
    found: usize,
    /// A block of which something is missing: index, bytes that it has.
    open: Option<(u64, u32)>,
    open_bytes: Vec<u8>,
    /// The first index that may come.
    next: u64,
    gathered: Vec<(u64, Vec<u8>)>,
    gathered_bytes: usize,
    blocks: u64,
    bytes: u64,
    /// Runs that were here.
    pub(super) reused: u64,
}

impl Coming {
    pub(super) fn of(mut kept: Kept, reuse: Reuse) -> Self {
        kept.runs.retain(|run| is_wanted(&reuse.wanted, &run.blocks));
        Self {
            kept,
            run: 0,
            found: 0,
            open: None,
            open_bytes: Vec::new(),
            next: 0,
            gathered: Vec::new(),
            gathered_bytes: 0,
            blocks: 0,
            bytes: 0,
            reused: reuse.reused,
        }
    }

    /// Takes a piece of a block.
    ///
    /// # Errors
    /// When it is not the one that is to come, or is damaged, or cannot be written.
    pub(super) fn put(
        &mut self,
        taking: &Taking,
        index: u64,
        total: u32,
        bytes: &[u8],
    ) -> Result<(), TransferError> {
        let bad = |what: &str| TransferError::malformed(format!("block {index}: {what}"));
        if total > BLOCK_BYTES_MAX || bytes.is_empty() {
            return Err(bad("its length cannot be"));
        }
        match self.open {
            Some(open) if open == (index, total) => {}
            Some(_) => return Err(bad("the block before it is cut off")),
            None if index < self.next => return Err(bad("it comes after one behind it")),
            None => self.open = Some((index, total)),
        }
        self.open_bytes.extend_from_slice(bytes);
        match self.open_bytes.len().cmp(&(total as usize)) {
            std::cmp::Ordering::Less => Ok(()),
            std::cmp::Ordering::Greater => Err(bad("it is longer than was said")),
            std::cmp::Ordering::Equal => {
                self.open = None;
                self.next = index.saturating_add(1);
                let block = std::mem::take(&mut self.open_bytes);
                self.block(taking, index, block)
            }
        }
    }

    fn block(&mut self, taking: &Taking, index: u64, block: Vec<u8>) -> Result<(), TransferError> {
        let bad = |what: &str| TransferError::malformed(format!("block {index}: {what}"));
        while self.kept.runs.get(self.run).is_some_and(|run| run.blocks.end <= index) {
            self.end_run()?;
        }
        let run = self.kept.runs.get(self.run).filter(|run| run.blocks.contains(&index));
        let run = run.ok_or_else(|| bad("it was not asked for"))?;
        let batches = self.kept.in_run(run).get(self.found..).unwrap_or_default();
        let mut search = Search::of(batches);
        search.look(&block, taking.shard(), index).map_err(|what| bad(&what))?;
        if search.is_broken() {
            return Err(bad("its records are not those that come next"));
        }
        self.found += batches.len() - search.missing();
        (self.blocks, self.bytes) = (self.blocks + 1, self.bytes + block.len() as u64);
        self.gathered_bytes += block.len();
        self.gathered.push((index, block));
        if self.gathered_bytes >= WRITTEN_BYTES {
            self.gathered_bytes = 0;
            taking.write(std::mem::take(&mut self.gathered))?;
        }
        Ok(())
    }

    /// The run that came is over: all of it has to be there.
    fn end_run(&mut self) -> Result<(), TransferError> {
        if let Some(run) = self.kept.runs.get(self.run) {
            let missing = self.kept.in_run(run).len() - self.found;
            if missing > 0 {
                let (start, end) = (run.blocks.start, run.blocks.end);
                let what = format!("blocks {start} to {end} lack {missing} batches");
                return Err(TransferError::malformed(what));
            }
        }
        (self.run, self.found) = (self.run + 1, 0);
        Ok(())
    }

    /// Nothing more comes. It is all on the disk when this returns.
    ///
    /// # Errors
    /// When something is missing, or cannot be written.
    pub(super) fn finish(
        &mut self,
        taking: &Taking,
        blocks: u64,
        bytes: u64,
    ) -> Result<(), TransferError> {
        if self.open.is_some() || (blocks, bytes) != (self.blocks, self.bytes) {
            let what = format!("{blocks} blocks were given, and {} have come", self.blocks);
            return Err(TransferError::malformed(what));
        }
        while self.run < self.kept.runs.len() {
            self.end_run()?;
        }
        // Also if there is nothing: the state is on the disk with it.
        Ok(taking.write(std::mem::take(&mut self.gathered))?)
    }
}
