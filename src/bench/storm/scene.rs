//! The server that clients are cut off from, and the way to it.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tidewire_client::{Builder, Client, Error, Trust};
use tokio::time::{Instant, sleep};
use toml::{Table, Value};

use super::relay::Relay;
use super::{Cut, StormArgs};
use crate::bench::process::{Usage, UsageSource};
use crate::bench::target::CLIENT_NAME;
use crate::child::ChildServer;
use crate::transport::certificate_for;

/// Connections of the bench beside those of the clients.
const CONNECTIONS_BESIDE: u32 = 64;
/// The host that the certificate is for.
const HOST: &str = "127.0.0.1";

/// How to reach the server, from where the clients stand.
#[derive(Clone, Debug)]
pub(super) struct Way {
    url: String,
    trust: Trust,
}

impl Way {
    /// A client's settings, as an application has them unless it says otherwise.
    pub(super) fn client(&self) -> Result<Builder, Error> {
        Ok(Client::builder(&self.url)?.trust(self.trust.clone()).client_name(CLIENT_NAME))
    }
}

/// A server with a directory and a certificate that outlive its process, and perhaps a relay before it.
pub(super) struct Scene {
    config: String,
    scheme: &'static str,
    server: ChildServer,
    relay: Option<Relay>,
    /// Removed with the scene.
    _directory: TempDir,
}

impl Scene {
    /// Starts the server, and the relay where there is to be one.
    pub(super) async fn set(args: &StormArgs) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the server's directory: {error}");
        let directory = tempfile::tempdir().map_err(failed)?;
        let config = config(args, &directory)?;
        let server = ChildServer::start(config.clone()).await?;
        let relay = match args.cut {
            Cut::Restart => None,
            Cut::Connections => Some(Relay::start(server.address()).await?),
        };
        let scheme = args.transport.scheme();
        Ok(Self { config, scheme, server, relay, _directory: directory })
    }

    /// The server's process.
    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Where the server's usage is read.
    pub(super) fn usage(&self) -> UsageSource {
        UsageSource::Process(self.server.pid())
    }

    /// The way that is cut.
    pub(super) fn way(&self) -> Way {
        self.to(self.relay.as_ref().map_or(self.server.address(), Relay::address))
    }

    /// The way past the relay.
    pub(super) fn direct(&self) -> Way {
        self.to(self.server.address())
    }

    fn to(&self, address: SocketAddr) -> Way {
        // Without encryption there is no certificate to be checked.
        let trust = match self.scheme {
            "ws" => Trust::System,
            _ => Trust::Fingerprint(self.server.certificate_sha256()),
        };
        Way { url: format!("{}://{address}", self.scheme), trust }
    }

    /// Cuts all clients off. Returns how long there was no server, and what the one that is there now had used
    /// before.
    pub(super) async fn cut(&mut self, args: &StormArgs) -> Result<(Duration, Usage), String> {
        if let Some(relay) = &self.relay {
            let before = self.usage().read().await?;
            relay.cut();
            return Ok((Duration::ZERO, before));
        }
        let (began, address) = (Instant::now(), self.server.address());
        self.server.kill();
        sleep(Duration::from_millis(args.away_ms.into())).await;
        self.server = ChildServer::start_on(self.config.clone(), address).await?;
        let nothing = Usage { cpu_s: Some(0.0), rss_bytes: Some(0) };
        Ok((began.elapsed(), nothing))
    }

    /// Ends the server.
    pub(super) async fn stop(self) -> Result<(), String> {
        self.server.stop().await
    }
}

fn config(args: &StormArgs, directory: &TempDir) -> Result<String, String> {
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| Value::String(path(name).to_string_lossy().into_owned());
    let made = certificate_for(&[HOST.to_owned()]).map_err(|error| error.to_string())?;
    for (name, pem) in [("server.crt", made.certificate_pem), ("server.key", made.key_pem)] {
        std::fs::write(path(name), pem).map_err(|error| format!("the server's {name}: {error}"))?;
    }
    let table = |pairs: Vec<(&str, Value)>| {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Table>()
    };
    let tls = table(vec![("certificate", text("server.crt")), ("key", text("server.key"))]);
    let connections = args.clients.saturating_add(CONNECTIONS_BESIDE);
    let limits = table(vec![("connections_max", Value::Integer(connections.into()))]);
    let policy = table(vec![
        ("names", Value::String("bench.>".to_owned())),
        ("durability", Value::String("disk".to_owned())),
    ]);
    let config = table(vec![
        ("data_dir", text("data")),
        ("tls", Value::Table(tls)),
        ("limits", Value::Table(limits)),
        ("policy", Value::Array(vec![Value::Table(policy)])),
    ]);
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::args::TransportArg;
    use crate::config::Config;

    #[test]
    fn the_server_keeps_what_is_followed_and_has_room_for_all_clients() {
        let (cut, transport) = (Cut::Restart, TransportArg::Wss);
        let args = StormArgs { clients: 5_000, cut, transport, away_ms: 0, rate: 100 };
        let directory = tempfile::tempdir().unwrap();
        let config: Config = toml::from_str(&config(&args, &directory).unwrap()).unwrap();
        config.validate().unwrap();
        assert_eq!(config.limits.connections_max, 5_064);
        assert_eq!(config.data_dir, Some(directory.path().join("data")));
        assert!(directory.path().join("server.key").exists());
    }
}
