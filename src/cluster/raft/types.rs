//! What the groups are made of, as openraft wants to know it.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_core::shard::LogEntry;
use tidewire_core::snapshot::BadSnapshot;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupSnapshot {
    pub(crate) bytes: Bytes,
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
