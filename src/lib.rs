//! Tidewire: a daemon that pushes live events, counters and tallies to every watcher at once.
//!
//! The pure parts are crates of their own: `tidewire-protocol` (frames) and `tidewire-core`
//! (topics, cells, shards, fan-out). This crate is the shell around them: sockets, threads, time,
//! configuration and the command line. `docs/architecture.md` has the map.

pub mod admin;
pub mod audit;
pub mod auth;
mod backup;
pub mod bench;
mod breaker;
mod child;
pub mod cli;
#[allow(dead_code, unused_imports, reason = "nothing starts groups yet")]
mod cluster;
pub mod config;
pub mod demo;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod journal;
mod load;
mod recording;
pub mod server;
mod telemetry;
mod transport;
mod webhook;
mod whole_file;
