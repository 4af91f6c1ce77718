//! What a replay meets, step by step.

use tidewire_core::shard::{Command, DispatcherId, Event, Progress};
use tidewire_core::state_hash::StateHash;

/// Where a file breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Byte at which the frame that is not whole begins.
    pub(crate) offset: u64,
    /// Bytes that are left of it.
    pub(crate) bytes: u64,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Look {
    /// An input: [`Replay::tell`] tells it.
    Input(Coming),
    /// The state of a shard was held against the recording, and is equal.
    Equal(Checked),
    /// It was, and is not.
    Diverged(Divergence),
    /// The recording is over.
    Over,
}

/// An input that is about to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coming {
    /// Its number within the recording, from 1 on.
    pub(crate) number: u64,
    pub(crate) shard: u16,
    /// Its number within the shard, from 1 on.
    pub(crate) input: u64,
    pub(crate) now_ms: u64,
}

/// One input and what came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) what: Coming,
    /// None: only the time was told, for a timer.
    pub(crate) command: Option<Command>,
    /// What it told dispatchers, with what the end of the round told; if that was asked for.
    pub(crate) effects: Vec<(DispatcherId, Event)>,
    /// Whether it was the last of its turn, so that the round was ended.
    pub(crate) is_sealed: bool,
    /// Figures that are not those of the recording.
    pub(crate) diverged: Option<Divergence>,
}

/// A state that is as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) shard: u16,
    pub(crate) after: u64,
    pub(crate) hash: StateHash,
    pub(crate) last: bool,
}

/// Where a replay leaves its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    /// Inputs of the whole recording up to here.
    pub(crate) number: u64,
    pub(crate) shard: u16,
    /// Inputs of the shard up to here.
    pub(crate) input: u64,
    /// Inputs of the shard at the last equal hash: it happened after them.
    pub(crate) hashed: u64,
    pub(crate) what: Difference,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The figures after a turn.
    Progress { recorded: Progress, replayed: Progress },
    /// The hash of the state.
    Hash { recorded: StateHash, replayed: StateHash },
}
