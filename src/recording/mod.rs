//! Recordings: everything that the shards of a running server are told, in a file that can be
//! replayed to the same state.
//!
//! A shard is a single writer without clock or chance, so its state at the start and its inputs
//! in order are the whole truth. A shard that is recorded has a [`Tap`]: it hands a copy of each
//! turn to a bounded queue and never waits. One thread writes the file; when it falls behind, or
//! the file is full, the recording ends and says why.
//!
//! * `format`, `frames_out`, `frames_in`: the file, as `docs/recording.md` specifies it.
//! * `recorder`, `session`, `tap`, `writer`: making one.
//! * `replay`: doing again what it says, and holding the outcome against it.

mod file;
mod format;
mod frames_in;
mod frames_out;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod recorder;
mod replay;
mod session;
mod tap;
#[cfg(test)]
mod tests;
mod writer;

/// What whoever makes or hands on a recording should know.
pub(crate) const NOTICE: &str = "the file holds payloads, keys and values of maps, names of presence \
    members, and every ballot with a keyed hash of its voter: keep it as you keep the data itself";

pub(crate) use frames_in::ReadError;
pub(crate) use recorder::{Recorder, StartRefused, StartRequest};
pub(crate) use replay::{Checked, Coming, Difference, Divergence, Done, Look, Replay, ShardReplay};
pub(crate) use session::{Limits, Status, StopReason};
pub(crate) use tap::Tap;
