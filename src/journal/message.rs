//! What the committer is told, and what it tells.

use std::fmt;
use std::io;

use bytes::Bytes;
use tidewire_core::shard::{Round, ShardSnapshot};

use super::base::Base;
use super::block::{BlockKind, Head};
use super::group_state::{EntryId, GroupState};
use super::key::Key;
use super::places::{Place, Slot};
use super::saving::Covered;

/// What an entry takes beside its bytes, about. It also bounds the entries of one commit, whose blocks
/// have to be numbered by 16 bits.
const ENTRY_HEAD_BYTES: usize = 128;

/// A round on its way to the disk.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) shard: u16,
    pub(crate) round: Round,
    /// The shard's time, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Bytes that it takes, about.
    pub(crate) weight: usize,
}

/// An entry of a group's log: what its block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    pub(crate) id: EntryId,
    pub(crate) kind: BlockKind,
    /// Cells of the shard have no version above this one.
    pub(crate) version: u64,
    /// The shard's time, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Number of changes in it.
    pub(crate) entries: u32,
    /// The changes, or what else it holds.
    pub(crate) bytes: Bytes,
}

impl GroupEntry {
    /// The entry in a block.
    pub(super) fn of(head: &Head, bytes: Bytes) -> Self {
        let Head { index, version, time_ms, entries, term, kind, .. } = *head;
        Self { id: EntryId { term, index }, kind, version, time_ms, entries, bytes }
    }

    /// The head of its block, but for its place in a commit.
    pub(super) fn head(&self, shard: u16) -> Head {
        let Self { id: EntryId { term, index }, kind, version, time_ms, entries, .. } = *self;
        Head { shard, index, version, time_ms, entries, term, kind, ..Head::default() }
    }

    /// Bytes that it takes, about.
    pub(crate) fn weight(&self) -> usize {
        ENTRY_HEAD_BYTES + self.bytes.len()
    }
}

/// What becomes of a group's log.
#[derive(Debug)]
pub(crate) enum Change {
    /// Nothing; only what is remembered of the group changes, and has to be on the disk.
    State,
    /// Only what is remembered changes, and it goes with what is written next. `done` is told when the
    /// committer has taken it.
    Note,
    /// These go on behind it.
    Append(Vec<GroupEntry>),
    /// Its entries from this index on go.
    Truncate(u64),
    /// These do not belong to it, but to a state that is being taken from another node.
    Take(TakenBlocks),
}

/// Blocks of a state that is being taken from another node, for the tree in which it is to lie.
#[derive(Debug)]
pub(crate) struct TakenBlocks {
    pub(crate) slot: Slot,
    pub(crate) blocks: Vec<(Key, Vec<u8>)>,
}

impl Default for TakenBlocks {
    fn default() -> Self {
        Self { slot: Slot::First, blocks: Vec::new() }
    }
}

/// Is called once, on the committer's thread, when something is on the disk or may not be: it must not
/// wait for anything.
pub(crate) struct Done(Box<dyn FnOnce(io::Result<()>) + Send>);

impl Done {
    pub(crate) fn new(done: impl FnOnce(io::Result<()>) + Send + 'static) -> Self {
        Self(Box::new(done))
    }

    pub(crate) fn tell(self, outcome: io::Result<()>) {
        (self.0)(outcome);
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// What a group writes.
#[derive(Debug)]
pub(crate) struct GroupWrite {
    pub(crate) shard: u16,
    pub(crate) change: Change,
    /// What is remembered of the group as of this.
    pub(crate) state: GroupState,
    /// Bytes that it takes, about.
    pub(crate) weight: usize,
    pub(crate) done: Option<Done>,
}

/// What the committer is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A round is to be committed.
    Round(Pending),
    /// A group's log and what is remembered of it go on.
    Group(GroupWrite),
    /// A shard's state after the rounds that it has handed over so far, or, if it stands on an entry of
    /// a group, as of that.
    Checkpoint { shard: u16, snapshot: Box<ShardSnapshot>, base: Option<Base> },
    /// The state of a group without a shard.
    Snapshot { shard: u16, bytes: Vec<u8>, done: Done },
    /// A state that was taken from another node is all there, and counts from now on.
    TakeOver { covered: Box<Covered>, place: Place, done: Done },
    /// The parts of a checkpoint have been written, or not.
    Written { shard: u16, outcome: io::Result<Covered> },
    /// No more rounds come.
    Stop,
}

/// What became of a round.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is on the disk.
    Committed(Round),
    /// It may not be.
    Failed(Round),
}

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A round that was handed over, with the weight that it had, and how the shard's log goes on with
    /// it.
    Round(Outcome, usize, Vec<Reach>),
    /// A checkpoint is done with. It has so many bytes; none if there is none.
    Checkpoint(u64),
}

/// How far the log of a shard goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Index of the block behind.
    pub(crate) next_block: u64,
    /// Sequence behind the last batch in the blocks before that, if there is one in the last of them.
    pub(crate) next_sequence: Option<u64>,
    /// Bytes of the blocks since the reach before.
    pub(crate) bytes: u64,
}
