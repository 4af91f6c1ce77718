//! Starting Centrifugo: clients without tokens, room for subscribers that are behind.

use std::process::Command;

use serde_json::json;

use super::Running;
use crate::connection::{Target, Transport};
use crate::ports::free_address;
use crate::server::{Host, Preparation, Server};

/// Bytes that a subscriber may be behind.
const QUEUE_BYTES: u32 = 1 << 30;

pub(super) fn start(host: &Host) -> Result<Running, String> {
    let address = free_address()?;
    let files = Preparation::new()?;
    let config = json!({
        "http_server": { "address": "127.0.0.1", "port": address.port() },
        "client": {
            "insecure": true,
            "allowed_origins": ["*"],
            "queue_max_size": QUEUE_BYTES,
        },
        "websocket": { "write_timeout": "60s", "message_size_limit": 1 << 20 },
        "log": { "level": "error" },
        "usage_stats": { "disabled": true },
    });
    let config = files.file("centrifugo.json", &config.to_string())?;
    let mut command = Command::new(host.find("centrifugo")?);
    command.arg("-c").arg(config);
    let server = Server::start(host, command, files, address)?;
    Ok(Running { server, target: Target { address, transport: Transport::Tcp } })
}
