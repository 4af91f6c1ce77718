//! What handshakes are made with.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;

use super::TlsError;
use super::client_ca::ClientCa;
use crate::transport::quic::WEBTRANSPORT_ALPN;

/// The settings of TLS over TCP and of QUIC. They are made anew with other client CAs, so that no ticket of
/// before brings back a certificate that is not trusted any more.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) tcp: Arc<ServerConfig>,
    pub(crate) quic: Arc<QuicServerConfig>,
    /// Counts the client CAs that have been in use.
    pub(crate) roots: u64,
    pub(super) client_ca: Option<ClientCa>,
    /// When the file of the client CAs was written.
    pub(super) written: Option<SystemTime>,
}

impl Settings {
    pub(super) fn make(
        resolver: Arc<dyn ResolvesServerCert>,
        client_ca: Option<ClientCa>,
        written: Option<SystemTime>,
        roots: u64,
    ) -> Result<Self, TlsError> {
        let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let make = |versions: &[&'static rustls::SupportedProtocolVersion]| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(|error| unusable(&error))?;
            let builder = match &client_ca {
                Some(ca) => builder.with_client_cert_verifier(Arc::clone(&ca.verifier)),
                None => builder.with_no_client_auth(),
            };
            let mut config = builder.with_cert_resolver(Arc::clone(&resolver));
            // Clients that come back are spared a signature, without a table of them here.
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| unusable(&error))?;
            Ok(config)
        };
        let mut tcp = make(rustls::DEFAULT_VERSIONS)?;
        tcp.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut quic = make(&[&rustls::version::TLS13])?;
        quic.alpn_protocols =
            [tidewire_protocol::ALPN, WEBTRANSPORT_ALPN].map(<[u8]>::to_vec).into();
        // What comes with the first packet can be sent again by anybody who has seen it.
        quic.max_early_data_size = 0;
        let quic = QuicServerConfig::try_from(quic).map_err(|error| unusable(&error))?;
        Ok(Self { tcp: Arc::new(tcp), quic: Arc::new(quic), roots, client_ca, written })
    }
}

/// When a file was written, if there is one.
pub(super) fn written(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}
