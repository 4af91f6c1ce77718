//! The real binary over real sockets: every transport, the command line, slow and hostile peers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect is to fail"
)]

mod accounts;
mod backup;
mod bench;
mod boards;
mod certificates;
mod cluster;
mod cold;
mod command_line;
mod configuration;
mod console;
mod crowd;
#[allow(dead_code, reason = "the crash laboratory uses more of it")]
mod daemon;
mod formats;
mod http;
mod load;
mod mutual_tls;
mod proxies;
mod readme;
mod recording;
mod silent;
mod slow;
mod tenants;
mod tickets;
mod transports;
mod webhook;
