//! Starting Mosquitto: nothing is dropped for subscribers that are behind.

use std::process::Command;

use super::Running;
use crate::connection::{Target, Transport};
use crate::ports::free_address;
use crate::server::{Host, Preparation, Server};

pub(super) fn start(host: &Host) -> Result<Running, String> {
    let address = free_address()?;
    let files = Preparation::new()?;
    let port = address.port();
    let config = files.file(
        "mosquitto.conf",
        &format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
             log_type error\nset_tcp_nodelay true\nmax_queued_messages 0\nmax_queued_bytes 0\n\
             sys_interval 0\n"
        ),
    )?;
    let mut command = Command::new(host.find("mosquitto")?);
    command.arg("-c").arg(config);
    let server = Server::start(host, command, files, address)?;
    Ok(Running { server, target: Target { address, transport: Transport::Tcp } })
}
