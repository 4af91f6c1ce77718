//! The real binary over real sockets: every transport, the command line, slow and hostile peers.

mod command_line;
mod daemon;
mod slow;
mod transports;
