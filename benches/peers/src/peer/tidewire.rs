//! Starting Tidewire, and trusting the certificate that it makes.

mod cluster;

pub(super) use cluster::start_cluster;

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
    let command = serve(host, &files, &config(sockets, if durable { ON_DISK } else { "" }))?;
    let (server, line) = Server::start_announced(host, command, files)?;
    let Announced { address, certificate, .. } = announced(&line)?;
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

/// The configuration; `beside` is what else it says.
fn config(sockets: usize, beside: &str) -> String {
    let connections = sockets + RESERVED;
    // The packets that QUIC finds by itself on a path that loses none.
    let packets = "[quic]\nmin_packet_bytes = 1452\n";
    format!("{packets}[limits]\nconnections_max = {connections}\n{beside}")
}

/// What starts a server with its files in this directory.
fn serve(host: &Host, files: &Preparation, config: &str) -> Result<Command, String> {
    let config = files.file("tidewire.toml", config)?;
    let mut command = Command::new(host.find("tidewire")?);
    command
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(files.path().join("data"))
        .env("TIDEWIRE_LOG", "warn");
    Ok(command)
}

/// What the line says that `serve --json` prints.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    address: SocketAddr,
    admin: SocketAddr,
    certificate: PathBuf,
}

fn announced(line: &str) -> Result<Announced, String> {
    let read = || {
        let line: Value = serde_json::from_str(line).ok()?;
        let listening = line.get("listening")?;
        let text = |field| listening.get(field).and_then(Value::as_str);
        Some(Announced {
            address: text("address")?.parse().ok()?,
            admin: text("admin")?.parse().ok()?,
            certificate: PathBuf::from(text("certificate_file")?),
        })
    };
    read().ok_or_else(|| format!("does not say where it listens, but '{}'", line.trim_end()))
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
        let line = r#"{"listening":{"address":"127.0.0.1:7","admin":"127.0.0.1:8","certificate_file":"/x/ca.crt"}}"#;
        let expected = Announced {
            address: "127.0.0.1:7".parse().unwrap(),
            admin: "127.0.0.1:8".parse().unwrap(),
            certificate: "/x/ca.crt".into(),
        };
        assert_eq!(announced(line), Ok(expected));
        for bad in ["hello", r#"{"listening":{"address":"127.0.0.1:7"}}"#] {
            assert!(announced(bad).unwrap_err().contains(bad));
        }
    }
}
