//! The journal: the door between what a shard has done and what may be seen of it.
//!
//! A shard hands over rounds; the journal says when they are committed. Replies, deliveries and
//! updates travel inside the round, so nothing can be seen before its commit, whatever commit
//! means. There are two rooms behind the door: in memory a round is committed as soon as it is
//! there, on disk when the disk has it.

mod base;
mod block;
mod checkpoint;
mod cleaning;
mod commits;
mod committer;
mod disk;
mod ends;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod group_log;
mod group_reads;
mod group_recovery;
mod group_state;
mod group_stored;
mod holds;
mod identity;
mod import;
mod key;
mod master_key;
mod message;
mod packing;
mod parcel;
mod places;
mod reads;
mod recall;
mod recovery;
mod room;
mod salvage;
mod saved;
mod saving;
mod space;
mod staging;
mod starting;
mod state;
mod storage;
mod store;
mod tail;
mod taking;
mod taking_over;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod verify_groups;
mod wanted;

pub use identity::IdentityError;
pub use master_key::KeyError;
pub use recovery::Damage;
pub use state::JournalStats;
pub use storage::StorageError;
pub use store::OpenError;

pub(crate) use base::{Base, Membership};
pub(crate) use block::BlockKind;
#[cfg(test)]
pub(crate) use block::Body;
pub(crate) use group_log::{GroupLog, SNAPSHOT_BYTES_MAX};
pub(crate) use group_state::{EntryId, Vote};
pub(crate) use identity::DirectoryId;
pub(crate) use import::{Import, is_in_use};
pub(crate) use master_key::MasterKey;
pub(crate) use message::{Done, GroupEntry, Outcome};
#[cfg(test)]
pub(crate) use packing::bodies_of;
pub(crate) use parcel::{batches_of, without_commit};
pub(crate) use reads::Reads;
pub(crate) use recall::batches_in;
pub(crate) use room::DiskRoom;
pub(crate) use salvage::{Salvage, Salvaged};
pub(crate) use saved::Checkpoint;
pub(crate) use state::State;
pub(crate) use storage::{Opened, OpenedGroup, Opening, Storage};
pub(crate) use taking::{STATE_PART_BYTES_MAX, Taking};

pub(crate) use verify::{Report, verify};

use tidewire_core::shard::{Command, Recall, Round, ShardSnapshot, ShardStats};
use tidewire_protocol::Refusal;

/// The shard number of the group that has no shard: what the nodes of a cluster agree upon.
pub(crate) const META: u16 = 48;

/// The room in which the rounds of one shard are committed.
pub(crate) enum Journal {
    /// Committed at once.
    Memory,
    /// Committed when they are on the disk.
    Disk(DiskRoom),
}

impl Journal {
    /// Whether another round may be handed over. If not, some are under way.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::Disk(room) => room.has_room(),
        }
    }

    /// Whether rounds are under way.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Disk(room) => room.is_busy(),
        }
    }

    /// Takes a round over; returns it if its outcome is known by now.
    pub(crate) fn append(&mut self, round: Round, time_ms: u64) -> Option<Outcome> {
        match self {
            Self::Memory => Some(Outcome::Committed(round)),
            Self::Disk(room) => room.append(round, time_ms),
        }
    }

    /// Waits for the outcome of the oldest round under way.
    pub(crate) async fn next(&mut self) -> Outcome {
        match self {
            Self::Memory => std::future::pending().await,
            Self::Disk(room) => room.next().await,
        }
    }

    /// Whether so much has been logged, or has left topics, that the shard's state is to be saved.
    pub(crate) fn wants_checkpoint(&mut self, stats: &ShardStats, now_ms: u64) -> bool {
        match self {
            Self::Memory => false,
            Self::Disk(room) => room.wants_checkpoint(stats.released_bytes, now_ms),
        }
    }

    /// When the shard is to look again whether its state is to be saved, though nothing happens.
    pub(crate) fn next_look_ms(&self, stats: &ShardStats) -> Option<u64> {
        match self {
            Self::Memory => None,
            Self::Disk(room) => room.next_look_ms(stats.released_bytes),
        }
    }

    /// Takes over the state of the shard, to be saved.
    pub(crate) fn checkpoint(&mut self, snapshot: ShardSnapshot, stats: &ShardStats) {
        match self {
            Self::Memory => {}
            Self::Disk(room) => room.checkpoint(snapshot, stats.released_bytes),
        }
    }

    /// What the shard is to be told of its log, as far as the rounds have come back.
    pub(crate) fn take_stored(&mut self) -> Vec<Command> {
        match self {
            Self::Memory => Vec::new(),
            Self::Disk(room) => room.take_stored(),
        }
    }

    /// Has batches read from the log, by and by. Returns them if that cannot be asked for.
    pub(crate) fn recall(&self, recall: Recall) -> Option<Recall> {
        match self {
            Self::Memory => Some(recall),
            Self::Disk(room) => room.recall(recall),
        }
    }

    /// Why changes are refused, if they are.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Memory => None,
            Self::Disk(room) => room.refusal(),
        }
    }
}
