//! Starting Tidewire, and trusting the certificate that it makes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tidewire_protocol::ALPN;

use super::{Peer, Running};
use crate::connection::{Target, Transport};
use crate::server::{Host, Preparation, Server};

/// Connections beyond those of the load.
const RESERVED: usize = 64;

/// The policy of what has to be on the disk.
const ON_DISK: &str = "[[policy]]\nnames = \"peers.log\"\ndurability = \"disk\"\n";

pub(super) fn start(
    peer: Peer,
    host: &Host,
    sockets: usize,
    durable: bool,
) -> Result<Running, String> {
    let files = Preparation::new()?;
    let connections = sockets + RESERVED;
    // The packets that QUIC finds by itself on a path that loses none.
    let packets = "[quic]\nmin_packet_bytes = 1452\n";
    let config = format!("{packets}[limits]\nconnections_max = {connections}\n");
    let config = if durable { config + ON_DISK } else { config };
    let config = files.file("tidewire.toml", &config)?;
    let mut command = Command::new(host.find("tidewire")?);
    command
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(files.path().join("data"))
        .env("TIDEWIRE_LOG", "warn");
    let (server, line) = Server::start_announced(host, command, files)?;
    let (address, certificate) = announced(&line)
        .ok_or_else(|| format!("does not say where it listens, but '{}'", line.trim_end()))?;
    let transport = match peer {
        Peer::TidewireWss => Transport::Tls(tls(&certificate, None)?),
        Peer::TidewireQuic => Transport::Quic(quic(&certificate)?),
        Peer::TidewireWs
        | Peer::Nats
        | Peer::Redis
        | Peer::Mosquitto
        | Peer::Centrifugo
        | Peer::FloorLarge
        | Peer::FloorSingle => Transport::Tcp,
    };
    Ok(Running { server, target: Target { address, transport } })
}

/// The address and the certificate's file in the line that `serve --json` prints.
fn announced(line: &str) -> Option<(SocketAddr, PathBuf)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let listening = line.get("listening")?;
    let address = listening.get("address")?.as_str()?.parse().ok()?;
    Some((address, PathBuf::from(listening.get("certificate_file")?.as_str()?)))
}

fn tls(certificate: &PathBuf, alpn: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let named = |error: String| format!("its certificate {}: {error}", certificate.display());
    let certificate = CertificateDer::from_pem_file(certificate);
    let certificate = certificate.map_err(|error| named(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| named(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| named(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols.extend(alpn.map(<[u8]>::to_vec));
    Ok(Arc::new(config))
}

fn quic(certificate: &PathBuf) -> Result<quinn_proto::ClientConfig, String> {
    crate::quic::client_config(tls(certificate, Some(ALPN))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_where_it_listens() {
        let line = r#"{"listening":{"address":"127.0.0.1:7","certificate_file":"/x/ca.crt"}}"#;
        assert_eq!(announced(line), Some(("127.0.0.1:7".parse().unwrap(), "/x/ca.crt".into())));
        assert_eq!(announced("hello"), None);
        assert_eq!(announced(r#"{"listening":{"address":"127.0.0.1:7"}}"#), None);
    }
}
