//! The cluster.
#![allow(dead_code, unused_imports, reason = "under way")]

pub(crate) mod ca;
mod error;
mod gossip;
mod identity;
mod incarnation;

pub use error::ClusterError;
pub use identity::{ClusterId, NodeAddress, NodeId};
