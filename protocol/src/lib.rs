//! The Tidewire protocol: names and patterns, records, frames, error codes.
//!
//! `PROTOCOL.md` beside this crate is the specification; this crate is its Rust form. It does no
//! input or output: bytes in, frames out, and the other way round. Nesting
//! is limited before anything recurses over input, so it cannot exhaust the stack, and no length
//! on the wire is believed before the bytes are there.

mod error;
mod fields;
pub mod frame;
pub mod group;
mod name;
pub mod options;
mod partition;
pub mod record;
pub mod tally;
pub mod wire;

pub use error::{ErrorCode, Refusal};
pub use frame::{ClientFrame, ServerFrame};
pub use name::{NAME_BYTES_MAX, Name, Pattern};
pub use partition::{PARTITIONS_MAX, partition_of, stable_hash};

/// The protocol version this crate speaks.
pub const VERSION: u64 = 1;
/// The WebSocket subprotocol.
pub const WEBSOCKET_PROTOCOL: &str = "tidewire.v1";
/// The path of the WebSocket endpoint.
pub const WEBSOCKET_PATH: &str = "/v1/ws";
/// The path of the WebTransport endpoint.
pub const WEBTRANSPORT_PATH: &str = "/v1/webtransport";
/// The TLS application protocol on QUIC.
pub const ALPN: &[u8] = b"tidewire/1";
/// Largest frame unless the server announces another number.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// What a DELIVER may be larger than the largest frame.
pub const DELIVER_OVERHEAD_BYTES_MAX: usize = 1024;
/// Status of a WebSocket close frame that carries error code 0.
pub const CLOSE_STATUS_BASE: u16 = 4000;
