//! The certificate: given, or made for development. One resolver serves TCP and QUIC.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::config::Config;
use crate::whole_file;

/// How long a certificate made for development is valid. Browsers accept a pinned certificate
/// (`serverCertificateHashes`) for at most 14 days.
const SELF_SIGNED_DAYS: i64 = 13;
/// A made certificate is made anew when it is older than this.
const SELF_SIGNED_RENEW_DAYS: u64 = 6;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}; check tls.certificate and tls.key")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}; check the data directory")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate and key do not fit TLS.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

/// The certificate in use, and the configurations made from it.
#[derive(Clone)]
pub(crate) struct Tls {
    tcp: Arc<ServerConfig>,
    quic: Arc<quinn::crypto::rustls::QuicServerConfig>,
    sha256: [u8; 32],
    file: Option<PathBuf>,
}

impl Tls {
    /// Loads the configured certificate, or the one in the data directory, or makes one.
    pub(crate) fn load(config: &Config) -> Result<Self, TlsError> {
        match (&config.tls.certificate, &config.tls.key, &config.data_dir) {
            (Some(certificate), Some(key), _) => {
                Self::of(read_chain(certificate)?, read_key(key)?, Some(certificate.clone()))
            }
            (None, None, Some(data_dir)) => Self::from_data_dir(data_dir),
            (None, None, None) => {
                let made = make_certificate()?;
                Self::of(made.chain, made.key, None)
            }
            (Some(path), None, _) | (None, Some(path), _) => Err(TlsError::Read {
                path: path.clone(),
                reason: "tls.certificate and tls.key go together".to_owned(),
            }),
        }
    }

    fn from_data_dir(data_dir: &Path) -> Result<Self, TlsError> {
        let (certificate, key) =
            (data_dir.join("self-signed.crt"), data_dir.join("self-signed.key"));
        let read =
            || Self::of(read_chain(&certificate)?, read_key(&key)?, Some(certificate.clone()));
        // What was made and cannot be used is made anew: a crash may have left one without the other.
        if is_fresh(&certificate)
            && let Ok(tls) = read()
        {
            return Ok(tls);
        }
        let made = make_certificate()?;
        write(&key, &made.key_pem, 0o600)?;
        write(&certificate, &made.certificate_pem, 0o644)?;
        read()
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        file: Option<PathBuf>,
    ) -> Result<Self, TlsError> {
        let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
        let first = chain.first().ok_or_else(|| unusable(&"the file holds none"))?;
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, first);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest.as_ref());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|e| unusable(&e))?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let mut tcp = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<_>);
        tcp.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut quic = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        quic.alpn_protocols = vec![tidewire_protocol::ALPN.to_vec()];
        quic.max_early_data_size = 0;
        let quic = quinn::crypto::rustls::QuicServerConfig::try_from(quic)
            .map_err(|error| unusable(&error))?;
        Ok(Self { tcp: Arc::new(tcp), quic: Arc::new(quic), sha256, file })
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(Arc::clone(&self.tcp))
    }

    pub(crate) fn quic(&self) -> Arc<quinn::crypto::rustls::QuicServerConfig> {
        Arc::clone(&self.quic)
    }
}

struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

/// An ECDSA P-256 certificate for this machine's loopback names.
fn make_certificate() -> Result<Made, TlsError> {
    let unusable = |error: rcgen::Error| TlsError::Unusable(error.to_string());
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(unusable)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Tidewire development");
    let now = std::time::SystemTime::now();
    // An hour back, for clients whose clocks are behind.
    params.not_before = (now - std::time::Duration::from_secs(3600)).into();
    params.not_after = params.not_before + time::Duration::days(SELF_SIGNED_DAYS);
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate().map_err(unusable)?;
    let certificate = params.self_signed(&key).map_err(unusable)?;
    Ok(Made {
        chain: vec![certificate.der().clone()],
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
    })
}

fn is_fresh(certificate: &Path) -> bool {
    let age = std::fs::metadata(certificate)
        .and_then(|metadata| metadata.modified())
        .map(|modified| modified.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age.as_secs() < SELF_SIGNED_RENEW_DAYS * 86_400)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |reason: String| TlsError::Read { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(error.to_string()))?;
    if chain.is_empty() {
        return Err(refuse("it holds no certificate in PEM form".to_owned()));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| TlsError::Read { path: path.to_owned(), reason: error.to_string() })
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), TlsError> {
    let refuse = |source| TlsError::Write { path: path.to_owned(), source };
    whole_file::replace(path, content.as_bytes(), mode).map_err(refuse)
}
