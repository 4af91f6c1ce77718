//! Connections to the demo's own server, over both transports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tidewire_client::{Client, Error, Trust};

/// Where a server is, and the certificate it shows.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// Other nodes of the same cluster, that show the same certificate.
    others: Vec<SocketAddr>,
    pub(crate) certificate_sha256: [u8; 32],
    /// What proves who this is, where there are accounts.
    token: Option<String>,
}

impl fmt::Debug for Endpoint {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint as this machine reaches it: a server that listens on every address is met on
    /// loopback.
    pub(crate) fn local(listening: SocketAddr, certificate_sha256: [u8; 32]) -> Self {
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let address = SocketAddr::new(ip, listening.port());
        Self { address, others: Vec::new(), certificate_sha256, token: None }
    }

    /// The nodes of a cluster; nothing if there is none.
    pub(crate) fn of_nodes(nodes: &[SocketAddr], certificate_sha256: [u8; 32]) -> Option<Self> {
        let (first, others) = nodes.split_first()?;
        Some(Self { others: others.to_vec(), ..Self::local(*first, certificate_sha256) })
    }

    /// The same for who shows this. Its WebSockets are over TLS.
    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Connects over WebSocket.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn websocket(&self, name: &str) -> Result<Client, Error> {
        self.connect(self.websocket_scheme(), name, 0).await
    }

    fn websocket_scheme(&self) -> &'static str {
        if self.token.is_some() { "wss" } else { "ws" }
    }

    /// Connects to one of the nodes; the others are there for when that is gone.
    async fn connect(&self, scheme: &str, name: &str, at: usize) -> Result<Client, Error> {
        let mut nodes = vec![self.address];
        nodes.extend(&self.others);
        let first = at % nodes.len();
        nodes.rotate_left(first);
        let mut urls = nodes.iter().map(|address| format!("{scheme}://{address}"));
        let mut builder = Client::builder(&urls.next().unwrap_or_default())?.client_name(name);
        for url in urls {
            builder = builder.also(&url)?;
        }
        if scheme != "ws" {
            builder = builder.trust(Trust::Fingerprint(self.certificate_sha256));
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        builder.connect().await
    }

    /// So many connections, in turn over WebSocket and over QUIC, and in turn to all nodes.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub(crate) async fn both_ways(&self, count: usize, name: &str) -> Result<Vec<Client>, Error> {
        let mut clients = Vec::with_capacity(count);
        for at in 0..count {
            let scheme = if at % 2 == 0 { self.websocket_scheme() } else { "quic" };
            clients.push(self.connect(scheme, name, at / 2).await?);
        }
        Ok(clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_met_on_loopback() {
        for (listening, met) in [
            ("0.0.0.0:7171", "127.0.0.1:7171"),
            ("[::]:7171", "[::1]:7171"),
            ("10.1.2.3:7171", "10.1.2.3:7171"),
        ] {
            let endpoint = Endpoint::local(listening.parse().unwrap(), [0; 32]);
            assert_eq!(endpoint.address.to_string(), met);
        }
    }
}
