//! What the groups are made of, as openraft wants to know it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_core::shard::LogEntry;
use tidewire_core::snapshot::BadSnapshot;

use crate::cluster::transfer::{Source, Taken};

/// A node of the cluster, bound to its certificate.
pub(crate) type NodeId = u64;

/// What a group says of a node: the address at which it was found first. Gossip knows better ones.
pub(crate) type Node = openraft::BasicNode;

openraft::declare_raft_types!(
    /// The groups: one for each durable shard, and the one without a shard.
    pub(crate) Groups:
        D = EntryBody,
        R = (),
        NodeId = NodeId,
        Node = Node,
        Entry = openraft::Entry<Groups>,
        SnapshotData = GroupSnapshot,
        AsyncRuntime = openraft::TokioRuntime,
);

/// What an entry holds: the body of a block, which its leader has encoded once. Every replica's journal
/// has the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryBody {
    /// Cells of the shard have no version above this one.
    pub(crate) version: u64,
    /// The leader's time, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Number of changes in it.
    pub(crate) entries: u32,
    /// The changes.
    #[serde(with = "shared")]
    pub(crate) bytes: Bytes,
}

impl EntryBody {
    /// The entry for what a round of a shard that leads its group has logged.
    ///
    /// # Errors
    /// When a change cannot be encoded.
    pub(crate) fn of_round(log: &[LogEntry], version: u64, time_ms: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        for change in log {
            let mut serializer = rmp_serde::Serializer::new(&mut bytes);
            change.serialize(&mut serializer).map_err(io::Error::other)?;
        }
        let entries = u32::try_from(log.len()).map_err(io::Error::other)?;
        Ok(Self { version, time_ms, entries, bytes: bytes.into() })
    }

    /// The changes in it, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn changes(&self) -> Result<Vec<LogEntry>, BadSnapshot> {
        let bad = |error: rmp_serde::decode::Error| BadSnapshot::new(error.to_string());
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(self.bytes.as_ref());
        (0..self.entries).map(|_| LogEntry::deserialize(&mut deserializer).map_err(bad)).collect()
    }
}

/// The state of a group, on its way from one node to another.
#[derive(Clone, Debug)]
pub(crate) enum GroupSnapshot {
    /// Of the group without a shard: all of it.
    Bytes(Bytes),
    /// Of a shard, to be given: nothing of it is read before somebody takes it.
    Given(Arc<Source>),
    /// Of a shard, as it was taken from another node: it is on the disk, and is to count.
    Taken(TakenState),
}

impl Default for GroupSnapshot {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A state that was taken, for whoever lets it count. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct TakenState(Arc<Mutex<Option<Taken>>>);

impl TakenState {
    pub(crate) fn of(taken: Taken) -> Self {
        Self(Arc::new(Mutex::new(Some(taken))))
    }

    /// The state, which can be had once.
    pub(crate) fn take(&self) -> Option<Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Shared bytes as bytes, and not as a list of numbers.
mod shared {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};
    use serde_bytes::{ByteBuf, Deserialize as _, Serialize as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Bytes, D::Error> {
        Ok(Bytes::from(ByteBuf::deserialize(from)?.into_vec()))
    }
}
