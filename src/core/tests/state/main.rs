//! A shard's state that is taken apart and made again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect is to fail"
)]

#[path = "../cluster/chance.rs"]
mod chance;
mod cold;
mod commands;
mod recovery;
mod relay;
mod replica;
mod snapshot;
mod tenants;
mod told;
