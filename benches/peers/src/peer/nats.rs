//! Starting NATS: room for subscribers that are behind, JetStream for the counter.

use std::process::Command;

use super::Running;
use crate::connection::{Target, Transport};
use crate::server::{Host, Preparation, Server, free_address};

pub(super) fn start(host: &Host, durable: bool) -> Result<Running, String> {
    let address = free_address()?;
    let files = Preparation::new()?;
    let port = address.port();
    let sync = if durable { ", sync_interval: always" } else { "" };
    let store = files.path().join("jetstream").display().to_string();
    let config = files.file(
        "nats.conf",
        &format!(
            "host: 127.0.0.1\nport: {port}\nmax_pending: 1GB\nwrite_deadline: \"60s\"\n\
             max_connections: 65536\njetstream {{ store_dir: \"{store}\", max_mem: 1GB{sync} }}\n"
        ),
    )?;
    let mut command = Command::new(host.find("nats-server")?);
    command.arg("-c").arg(config);
    let server = Server::start(host, command, files, address)?;
    Ok(Running { server, target: Target { address, transport: Transport::Tcp } })
}
