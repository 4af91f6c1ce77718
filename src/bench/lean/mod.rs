//! A WebSocket connection of the bench's own. The client decodes what it gets and hands it from
//! task to task; under load that costs more than the server spends on sending it, and the figures
//! would be the client's. A lean connection finds the frames where the socket left them, and
//! whoever listens takes from them what it counts.

mod dial;
mod link;
mod scanner;

pub(crate) use dial::Endpoint;
pub(crate) use link::{Hear, Link, put_message_head};
