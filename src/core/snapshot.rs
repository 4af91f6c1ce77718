//! What snapshots of all types have in common: how one is refused.
//!
//! A type that holds state has a `Saved…` form beside its definition: plain data without what can
//! be worked out again, to be written with field names by any serde format. Fields are added at
//! will with a default; a change of meaning raises [`crate::shard::SNAPSHOT_VERSION`].

use alloc::string::String;
use core::fmt;

/// Why a snapshot is not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSnapshot(String);

impl BadSnapshot {
    /// A refusal for this reason.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot contradicts itself: {}", self.0)
    }
}

impl core::error::Error for BadSnapshot {}
