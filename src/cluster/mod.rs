//! Nodes that keep the same names together.

pub(crate) mod raft;
