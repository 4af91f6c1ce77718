//! What the fuzz targets in `fuzz/` call: for each decoder of bytes from elsewhere a property, which stands beside it.
//! Compiled for fuzzing only, and no part of the interface.

pub use crate::auth::fuzz::token;
pub use crate::backup::fuzz::backup;
pub use crate::cluster::fuzz::{gossip, hello};
pub use crate::config::fuzz::config;
pub use crate::demo::fuzz::ballots;
pub use crate::journal::fuzz::block;
pub use crate::recording::fuzz::recording;
pub use crate::transport::fuzz::websocket;
