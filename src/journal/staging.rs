//! One commit as it is put together: what goes, what comes, and where the logs end then.
//!
//! Several writes of a group may be in it. They take effect in their order, and what one of them takes
//! back that an earlier one brought is not written at all.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::block::{self, Body, Head};
use super::ends::Ends;
use super::group_state::GroupState;
use super::key::Key;
use super::message::{Change, GroupEntry, GroupWrite, Reach, TakenBlocks};

/// What is written together.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Blocks that go, by shard.
    pub(crate) removed: Vec<(u16, Range<u64>)>,
    /// Blocks that come, also in the place of ones that go.
    pub(crate) blocks: Vec<(Key, Vec<u8>)>,
    /// What is remembered of groups.
    pub(crate) states: Vec<(u16, GroupState)>,
    /// Blocks of states that do not count yet.
    pub(crate) taken: Vec<TakenBlocks>,
}

impl Writes {
    pub(super) fn of(blocks: Vec<(Key, Vec<u8>)>) -> Self {
        Self { blocks, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        let taken = self.taken.iter().flat_map(|taken| &taken.blocks);
        self.blocks.iter().chain(taken).map(|(_, block)| block.len() as u64).sum()
    }
}

/// A block without its place in the commit.
#[derive(Debug)]
struct Open {
    head: Head,
    body: Bytes,
    /// Of a round: sequence behind its last batch.
    next_sequence: Option<u64>,
    is_of_round: bool,
}

/// A commit that is being put together.
#[derive(Debug)]
pub(super) struct Staging {
    ends: Ends,
    before: Ends,
    open: Vec<Open>,
    removed: Vec<(u16, Range<u64>)>,
    states: Vec<(u16, GroupState)>,
    taken: Vec<TakenBlocks>,
}

/// A commit, put together.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) writes: Writes,
    /// Where the logs end when it is written.
    pub(super) ends: Ends,
    /// How far the logs go of shards that have rounds in it.
    pub(super) reached: Vec<(u16, Vec<Reach>)>,
}

impl Staging {
    /// Behind these ends.
    pub(super) fn behind(ends: &Ends) -> Self {
        let (ends, before) = (ends.clone(), ends.clone());
        let (removed, states, taken) = (Vec::new(), Vec::new(), Vec::new());
        Self { ends, before, open: Vec::new(), removed, states, taken }
    }

    /// Blocks of rounds, in order.
    pub(super) fn add_rounds(&mut self, bodies: Vec<(u16, Body)>) {
        for (shard, body) in bodies {
            let index = self.ends.next(shard);
            self.ends.set_next(shard, index + 1);
            let (version, time_ms, next_sequence) =
                (body.version, body.time_ms, body.next_sequence);
            let (bytes, entries) = body.into_bytes();
            let head = Head { shard, index, version, time_ms, entries, ..Head::default() };
            self.open.push(Open { head, body: bytes.into(), next_sequence, is_of_round: true });
        }
    }

    /// The next write of a group.
    ///
    /// # Errors
    /// When it does not go on where the group's log ends.
    pub(super) fn add_group(&mut self, write: &mut GroupWrite) -> io::Result<()> {
        let shard = write.shard;
        match &mut write.change {
            Change::State | Change::Note => {}
            Change::Append(entries) => {
                entries.iter().try_for_each(|entry| self.append(shard, entry))?;
            }
            Change::Truncate(from) => self.truncate(shard, *from),
            Change::Take(taken) => self.taken.push(std::mem::take(taken)),
        }
        Ok(())
    }

    /// What is remembered of a group after all that it writes.
    pub(super) fn remember(&mut self, shard: u16, state: GroupState) {
        self.states.push((shard, state));
        if let Some(vote) = state.vote {
            self.ends.set_vote(shard, vote.term);
        }
        // A state that came from elsewhere may be of a time to which the log here never got.
        self.ends.set_next(shard, self.ends.next(shard).max(state.wanted_from()));
    }

    fn append(&mut self, shard: u16, entry: &GroupEntry) -> io::Result<()> {
        let (index, next) = (entry.id.index, self.ends.next(shard));
        // Only the log itself knows whether it is empty, so that it may begin further on.
        if index < next {
            let what = format!("block {index} of shard {shard} is there, and would be overwritten");
            return Err(io::Error::other(what));
        }
        self.ends.set_next(shard, index + 1);
        let (head, body) = (entry.head(shard), entry.bytes.clone());
        self.open.push(Open { head, body, next_sequence: None, is_of_round: false });
        Ok(())
    }

    fn truncate(&mut self, shard: u16, from: u64) {
        let next = self.ends.next(shard);
        if from >= next {
            return;
        }
        self.open.retain(|open| open.head.shard != shard || open.head.index < from);
        let before = self.before.next(shard);
        if from < before {
            self.removed.push((shard, from..before));
        }
        self.ends.set_next(shard, from);
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { ends: _, before: _, open, removed, states, taken } = self;
        open.is_empty() && removed.is_empty() && states.is_empty() && taken.is_empty()
    }

    /// Where the logs end at least, if some are shortened, once what is shortened may be gone.
    pub(super) fn shortened(&self) -> Option<Ends> {
        let mut ends = self.before.clone();
        for (shard, removed) in &self.removed {
            ends.set_next(*shard, ends.next(*shard).min(removed.start));
        }
        (!self.removed.is_empty()).then_some(ends)
    }

    /// Gives the blocks their places.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn finish(self) -> io::Result<Staged> {
        let Self { mut ends, before: _, open, removed, states, taken } = self;
        let blocks = u16::try_from(open.len())
            .map_err(|_many| io::Error::other("a commit has more blocks than can be numbered"))?;
        // Every commit has a block: by them it is known whether one is whole.
        ends.commit += u64::from(blocks > 0);
        let (commit, mut reached) = (ends.commit, Vec::new());
        let mut sealed = Vec::with_capacity(open.len());
        for (place, Open { head, body, next_sequence, is_of_round }) in (0..).zip(open) {
            let block = block::seal(&Head { commit, place, blocks, ..head }, &body);
            let (shard, index, bytes) = (head.shard, head.index, block.len() as u64);
            if is_of_round {
                let reach = Reach { next_block: index + 1, next_sequence, bytes };
                add_reach(&mut reached, shard, reach);
            }
            sealed.push((Key { shard, index }, block));
        }
        Ok(Staged { writes: Writes { removed, blocks: sealed, states, taken }, ends, reached })
    }
}

fn add_reach(reached: &mut Vec<(u16, Vec<Reach>)>, shard: u16, reach: Reach) {
    match reached.iter_mut().find(|(known, _)| *known == shard) {
        Some((_, reaches)) => reaches.push(reach),
        None => reached.push((shard, vec![reach])),
    }
}
