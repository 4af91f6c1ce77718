//! What a group's state is as of: the last entry in it, and the members then.

use std::io;

use bytes::Bytes;
use openraft::{LogId, SnapshotMeta, StoredMembership};
use serde::{Deserialize, Serialize};

use super::entries::{from_id, from_members, to_id, to_members};
use super::log_storage::LogStorage;
use super::types::{GroupSnapshot, Node, NodeId};
use crate::journal::{self, Base, OpenedGroup};

/// What openraft wants to know of a state when it starts.
pub(crate) type Applied = (Option<LogId<NodeId>>, StoredMembership<NodeId, Node>);

/// Up to where the shard of a group is recovered.
///
/// # Errors
/// When the members cannot be read.
pub(crate) fn applied_of(group: &OpenedGroup) -> io::Result<Applied> {
    Ok((group.applied.map(from_id), members_of(group.membership.as_ref())?))
}

/// What a state stands on, as openraft says it.
///
/// # Errors
/// When there is no entry in it, or its members cannot be encoded.
pub(crate) fn base_of_meta(meta: &SnapshotMeta<NodeId, Node>) -> io::Result<Base> {
    let last = meta.last_log_id.as_ref().map(to_id);
    let last = last.ok_or_else(|| io::Error::other("a state without any entry is not given"))?;
    let members = &meta.last_membership;
    let membership = |id| {
        let bytes = to_members(members.membership())?;
        Ok::<_, io::Error>(journal::Membership { id: to_id(id), bytes })
    };
    let membership = members.log_id().as_ref().map(membership).transpose()?;
    Ok(Base { last, membership, is_taken_over: false })
}

/// What a state stands on that has applied this much; nothing if it has no entry.
///
/// # Errors
/// When its members cannot be encoded.
pub(crate) fn base_of_applied((last, members): &Applied) -> io::Result<Option<Base>> {
    if last.is_none() {
        return Ok(None);
    }
    let (last_log_id, last_membership) = (*last, members.clone());
    base_of_meta(&SnapshotMeta { last_log_id, last_membership, ..SnapshotMeta::default() })
        .map(Some)
}

/// The same, the other way round.
///
/// # Errors
/// When its members cannot be read.
pub(crate) fn applied_of_base(base: Option<&Base>) -> io::Result<Applied> {
    let meta = base.map(meta_of).transpose()?.unwrap_or_default();
    Ok((meta.last_log_id, meta.last_membership))
}

/// The same as [`base_of_meta`], the other way round.
///
/// # Errors
/// When its members cannot be read.
pub(super) fn meta_of(base: &Base) -> io::Result<SnapshotMeta<NodeId, Node>> {
    let Base { last, membership, is_taken_over: _ } = base;
    let last_membership = members_of(membership.as_ref())?;
    let snapshot_id = format!("{}-{}", last.term, last.index);
    Ok(SnapshotMeta { last_log_id: Some(from_id(*last)), last_membership, snapshot_id })
}

fn members_of(
    membership: Option<&journal::Membership>,
) -> io::Result<StoredMembership<NodeId, Node>> {
    let members = |journal::Membership { id, bytes }: &journal::Membership| {
        Ok::<_, io::Error>(StoredMembership::new(Some(from_id(*id)), from_members(bytes)?))
    };
    Ok(membership.map(members).transpose()?.unwrap_or_default())
}

/// The state of a group without a shard, as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    meta: SnapshotMeta<NodeId, Node>,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl LogStorage {
    /// Saves the state of a group without a shard; it is on the disk when this returns.
    ///
    /// # Errors
    /// When it may not be, or is too large.
    pub(crate) async fn save_snapshot(
        &self,
        meta: &SnapshotMeta<NodeId, Node>,
        snapshot: &GroupSnapshot,
    ) -> io::Result<()> {
        let GroupSnapshot::Bytes(bytes) = snapshot else {
            return Err(io::Error::other("the state of a shard is not saved with its group"));
        };
        let stored = Stored { meta: meta.clone(), bytes: bytes.to_vec() };
        let bytes = rmp_serde::to_vec_named(&stored).map_err(io::Error::other)?;
        self.log().save_snapshot(bytes).await
    }
}

/// The state of a group without a shard, as it was saved last.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn snapshot_of(
    group: &OpenedGroup,
) -> io::Result<Option<(SnapshotMeta<NodeId, Node>, GroupSnapshot)>> {
    let Some(bytes) = &group.snapshot else { return Ok(None) };
    let Stored { meta, bytes } = rmp_serde::from_slice(bytes).map_err(io::Error::other)?;
    Ok(Some((meta, GroupSnapshot::Bytes(Bytes::from(bytes)))))
}
