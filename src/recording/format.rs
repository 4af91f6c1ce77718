//! What stands in a recording: the payload of each kind of frame. `docs/recording.md` is the
//! specification.

use serde::{Deserialize, Serialize};
use tidewire_core::shard::Command;
use tidewire_core::state_hash::StateHash;

/// How every recording begins.
pub(crate) const MAGIC: &[u8; 16] = b"tidewire-record\n";
/// The version of the format that is written and read.
pub(crate) const VERSION: u32 = 1;
/// Bytes before the first frame: the magic and the version.
pub(crate) const PREAMBLE_BYTES: usize = MAGIC.len() + size_of::<u32>();
/// Bytes of a frame before its payload: length, checksum, kind.
pub(crate) const HEAD_BYTES: usize = 9;
/// Largest frame that is written, and believed when it is read.
pub(crate) const FRAME_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// Numbers of the kinds of frames. They never change.
pub(crate) mod kind {
    pub(crate) const HEADER: u8 = 1;
    pub(crate) const SNAPSHOT: u8 = 2;
    pub(crate) const TURN: u8 = 3;
    pub(crate) const HASH: u8 = 4;
    pub(crate) const END: u8 = 5;
}

/// Where a recording comes from; the first frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Software and version.
    pub(crate) server: String,
    /// Name of the node.
    pub(crate) node: String,
    /// Unix time of the beginning.
    pub(crate) started_at_ms: u64,
    /// Number of shards of the server.
    pub(crate) shards: u16,
}

/// One turn of a shard: the time was told, the commands were handled in order, and the round was
/// ended. Its inputs are its commands; a turn without any, for a timer, counts as one input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) shard: u16,
    /// Number of its first input within the shard's recording; the first of all is 1.
    pub(crate) first: u64,
    /// Unix time as the shard was told.
    pub(crate) now_ms: u64,
    pub(crate) commands: Vec<Command>,
    /// The shard's [`tidewire_core::shard::Progress`] after it.
    pub(crate) progress: [u64; 5],
}

impl Turn {
    /// Number of its inputs.
    pub(crate) fn inputs(&self) -> u64 {
        (self.commands.len() as u64).max(1)
    }
}

/// A shard's state hash between two turns.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct HashMark {
    pub(crate) shard: u16,
    /// Inputs before it.
    pub(crate) after: u64,
    pub(crate) hash: StateHash,
    /// Whether the shard's recording ends here.
    pub(crate) last: bool,
}

/// Why and when a recording ended; the last frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// A word for programs.
    pub(crate) code: String,
    /// A sentence for people.
    pub(crate) reason: String,
    /// Unix time.
    pub(crate) ended_at_ms: u64,
    /// Inputs of all shards.
    pub(crate) inputs: u64,
}
