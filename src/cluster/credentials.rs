//! What a node shows the others, and what it verifies of them.

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::{ClusterError, ClusterId, NodeId, ca};
use crate::config::ClusterConfig;

/// What nodes agree on in the handshake; another number is another protocol.
const ALPN: &[u8] = b"tidewire-cluster/1";

/// Who this node is, and its side of both kinds of handshake.
pub(super) struct Credentials {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) server: Arc<QuicServerConfig>,
    pub(super) client: Arc<QuicClientConfig>,
}

impl Credentials {
    /// Reads the configured files.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not go together.
    pub(super) fn read(config: &ClusterConfig) -> Result<Self, ClusterError> {
        let path = |path: &Option<std::path::PathBuf>| path.clone().unwrap_or_default();
        let (ca_path, path, key_path) =
            (path(&config.ca), path(&config.certificate), path(&config.key));
        let chain = read_chain(&path)?;
        let first = chain.first().ok_or_else(|| refuse(&path, &"it holds no certificate"))?;
        let (cluster, node) = ca::node_of(first)
            .map_err(|reason| ClusterError::NoNode { path: path.clone(), reason })?;
        let mut roots = RootCertStore::empty();
        for certificate in read_chain(&ca_path)? {
            roots.add(certificate).map_err(|error| unusable(&ca_path, &error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(&ca_path, &error))?;
        // The others would refuse it one by one, and say so where nobody looks.
        verify_own(&*verifier, &chain).map_err(|error| unusable(&path, &error))?;
        let key =
            || PrivateKeyDer::from_pem_file(&key_path).map_err(|error| refuse(&key_path, &error));
        let versions = &[&rustls::version::TLS13];
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&path, &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)
            .map_err(|error| unusable(&path, &error))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Each connection shows its certificate again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&path, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(|error| unusable(&path, &error))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let server = QuicServerConfig::try_from(server).map_err(|error| unusable(&path, &error))?;
        let client = QuicClientConfig::try_from(client).map_err(|error| unusable(&path, &error))?;
        Ok(Self { cluster, node, server: Arc::new(server), client: Arc::new(client) })
    }
}

fn verify_own(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
) -> Result<(), rustls::Error> {
    let (first, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    verifier.verify_client_cert(first, others, UnixTime::now()).map(drop)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClusterError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(path, &error))
}

fn refuse(path: &Path, reason: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::Read { path: path.to_owned(), reason: reason.to_string() }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::Unusable { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_different_clusters_do_not_go_together() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        let node = NodeId::new(1).unwrap();
        let of_a = ca::init(&a).unwrap();
        let of_b = ca::init(&b).unwrap();
        let made = ca::issue(&a, node, &a).unwrap();
        let other = ca::issue(&b, node, &b).unwrap();
        let config =
            |ca: &ca::MadeFiles, made: &ca::MadeFiles, key: &ca::MadeFiles| ClusterConfig {
                ca: Some(ca.certificate.clone()),
                certificate: Some(made.certificate.clone()),
                key: Some(key.key.clone()),
                ..ClusterConfig::default()
            };
        let read = Credentials::read(&config(&of_a, &made, &made)).unwrap();
        assert_eq!((read.cluster, read.node), (of_a.cluster, node));
        for wrong in [config(&of_b, &made, &made), config(&of_a, &made, &other)] {
            let error = Credentials::read(&wrong).err().unwrap();
            assert!(matches!(error, ClusterError::Unusable { .. }), "{error}");
        }
        let error = Credentials::read(&config(&of_a, &of_a, &of_a)).err().unwrap();
        assert!(error.to_string().contains("ca issue"), "{error}");
    }
}
