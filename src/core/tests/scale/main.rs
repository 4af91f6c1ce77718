//! What a million topics and a hundred thousand followers cost the core, counted and not timed.
//!
//! Shards and one dispatcher run in one thread, and an allocator counts: the same steps with one
//! topic and with very many, with few followers and with very many. What must not depend on the
//! number is compared for equality. How long the same things take is told by `benches/`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

mod followers;
mod topics;
mod world;
