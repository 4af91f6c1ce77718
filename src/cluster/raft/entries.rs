//! Entries and their ids, from openraft's terms into the journal's and back.

use std::io;

use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership, Vote};

use super::types::{EntryBody, Groups, Node, NodeId};
use crate::journal::{self, BlockKind, EntryId, GroupEntry};

/// An entry as it lies in a log.
pub(super) type Entry = openraft::Entry<Groups>;

pub(super) fn to_id(id: &LogId<NodeId>) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index }
}

pub(super) fn from_id(id: EntryId) -> LogId<NodeId> {
    // A term has one leader, so its node is no part of the id.
    LogId::new(CommittedLeaderId::new(id.term, NodeId::default()), id.index)
}

pub(super) fn to_vote(vote: &Vote<NodeId>) -> journal::Vote {
    let leader = &vote.leader_id;
    journal::Vote { term: leader.term, node: leader.voted_for, is_leader: vote.committed }
}

pub(super) fn from_vote(vote: journal::Vote) -> Vote<NodeId> {
    let journal::Vote { term, node, is_leader } = vote;
    let mut vote = Vote::default();
    (vote.leader_id.term, vote.leader_id.voted_for) = (term, node);
    vote.committed = is_leader;
    vote
}

pub(super) fn to_members(membership: &Membership<NodeId, Node>) -> io::Result<Vec<u8>> {
    rmp_serde::to_vec_named(membership).map_err(io::Error::other)
}

pub(super) fn from_members(bytes: &[u8]) -> io::Result<Membership<NodeId, Node>> {
    rmp_serde::from_slice(bytes).map_err(io::Error::other)
}

/// # Errors
/// When the members cannot be encoded, which nothing is known for.
pub(super) fn to_entry(entry: Entry) -> io::Result<GroupEntry> {
    let id = to_id(&entry.log_id);
    let (kind, body) = match entry.payload {
        EntryPayload::Blank => (BlockKind::Blank, EntryBody::default()),
        EntryPayload::Normal(body) => (BlockKind::Changes, body),
        EntryPayload::Membership(members) => {
            let bytes = Bytes::from(to_members(&members)?);
            (BlockKind::Membership, EntryBody { bytes, ..EntryBody::default() })
        }
    };
    let EntryBody { version, time_ms, entries, bytes } = body;
    Ok(GroupEntry { id, kind, version, time_ms, entries, bytes })
}

/// # Errors
/// When what it says of members cannot be read.
pub(super) fn from_entry(entry: GroupEntry) -> io::Result<Entry> {
    let GroupEntry { id, kind, version, time_ms, entries, bytes } = entry;
    let payload = match kind {
        BlockKind::Blank => EntryPayload::Blank,
        BlockKind::Changes => EntryPayload::Normal(EntryBody { version, time_ms, entries, bytes }),
        BlockKind::Membership => EntryPayload::Membership(from_members(&bytes)?),
    };
    Ok(Entry { log_id: from_id(id), payload })
}

/// Whether a node belongs to these members.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn is_member(members: &journal::Membership, node: NodeId) -> io::Result<bool> {
    Ok(from_members(&members.bytes)?.get_node(&node).is_some())
}
