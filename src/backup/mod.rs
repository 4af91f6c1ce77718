//! Backups: what a running server keeps on disk, as one file, and a data directory made from one.
//!
//! A backup holds the saved state of each durable shard, as of one moment between two of its rounds,
//! and the blocks of its log that hold the records of that state.
//! It holds no key: without the master key it shows nobody's vote. `docs/storage.md` draws the format.

mod ending;
mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod kept;
mod pieces;
mod read;
mod recover;
mod restore;
mod resume;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use ending::{ENDING_BYTES, Ending, ending};
pub(crate) use kept::kept_blocks;
pub(crate) use read::{BackupError, Item, Reader, Summary};
pub(crate) use recover::{GroupLeft, RecoverError, Survivors};
pub(crate) use restore::{Restore, restore};
pub(crate) use resume::{Begun, begun};
pub(crate) use write::{Part, send};

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterId;

/// The format of backups that is written and read.
pub(crate) const FORMAT: u32 = 1;

/// What stands at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) format: u32,
    /// Software and version that made it.
    pub(crate) server: String,
    pub(crate) node: String,
    /// When it was begun, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// What tells the master key apart from others, without showing it.
    pub(crate) master_key: String,
    /// When the data directory was made, Unix milliseconds; 0 in backups of earlier releases. Of a cluster: what
    /// tells it apart from others.
    #[serde(default)]
    pub(crate) directory_ms: u64,
    /// The cluster that it is of; nothing if it is of a server of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<ClusterId>,
    /// Shards that follow.
    pub(crate) shards: u16,
}

/// What stands at the end: with it the backup is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) shards: u16,
    /// Bytes of the states and blocks of all shards.
    pub(crate) bytes: u64,
}
