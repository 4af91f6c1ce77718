//! Starting Redis: no persistence, and no cut-off of subscribers that are behind.

use std::process::Command;

use super::Running;
use crate::connection::{Target, Transport};
use crate::ports::free_address;
use crate::server::{Host, Preparation, Server};

/// Descriptors that Redis keeps for itself.
const RESERVED: usize = 64;

pub(super) fn start(host: &Host, sockets: usize, durable: bool) -> Result<Running, String> {
    let address = free_address()?;
    let files = Preparation::new()?;
    let port = address.port();
    let clients = sockets + RESERVED;
    let directory = files.path().display().to_string();
    let persistence = if durable {
        format!("appendonly yes\nappendfsync always\ndir {directory}\n")
    } else {
        "appendonly no\n".to_owned()
    };
    let config = files.file(
        "redis.conf",
        &format!(
            "bind 127.0.0.1\nport {port}\nmaxclients {clients}\nsave \"\"\n{persistence}\
             client-output-buffer-limit pubsub 0 0 0\nclient-output-buffer-limit normal 0 0 0\n\
             tcp-backlog 511\ndaemonize no\n"
        ),
    )?;
    let mut command = Command::new(host.find("redis-server")?);
    command.arg(config);
    let server = Server::start(host, command, files, address)?;
    Ok(Running { server, target: Target { address, transport: Transport::Tcp } })
}
