//! The Raft groups of a node: openraft, and what it stands on here.
//!
//! The journal knows nothing of openraft; what it offers is turned into openraft's terms here, and only
//! here.

mod electing;
mod entries;
mod group;
mod log_storage;
mod machine;
mod meta_machine;
mod network;
mod rpc;
mod snapshots;
mod standing;
mod states;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use electing::elect;
pub(crate) use entries::is_member;
pub(crate) use group::{Group, GroupTable, LEASE_MS};
pub(crate) use log_storage::LogStorage;
pub(crate) use machine::{Committed, Handed, Machine, NewState, Says};
pub(crate) use meta_machine::{Decided, MetaMachine};
pub(crate) use network::Network;
pub(crate) use rpc::serve;
pub(crate) use snapshots::{
    Applied, applied_of, applied_of_base, base_of_applied, base_of_meta, snapshot_of,
};
pub(crate) use standing::VOTERS_LEASE_MS;
pub(crate) use states::take_states;
pub(crate) use types::{EntryBody, GroupSnapshot, Groups, Node, NodeId, TakenState};
