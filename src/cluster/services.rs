//! The services that nodes have for each other: the first byte of a stream says which one it is for. The
//! numbers are part of the protocol, and never mean anything else.

/// Groups agree upon their logs.
pub(crate) const RAFT: u8 = 1;
/// Commands for shards that another node leads, and what comes of them.
pub(crate) const SHARDS: u8 = 2;
/// States of shards, for a node that lacks more of a log than there still is.
pub(crate) const STATES: u8 = 3;
/// What an operator asks for.
pub(crate) const CONTROL: u8 = 4;
/// Eventual counters and presence, which each node changes by itself.
pub(crate) const COMMONS: u8 = 5;
/// Shards for a backup, which a node makes that has no copy of them.
pub(crate) const BACKUPS: u8 = 6;
