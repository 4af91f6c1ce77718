//! The client against a server whose every frame the test decides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends where its expectation does"
)]

mod cancelling;
mod connecting;
mod consuming;
mod events;
mod fake_server;
mod identity;
mod moving;
mod naming;
mod nodes;
mod numbering;
mod partitions;
mod presence;
mod quic;
mod reconnecting;
mod repeating;
mod requests;
mod subscriptions;
mod tls;
mod watches;
