//! The certificate: given, or made for development. One resolver serves TCP and QUIC.

mod made;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{Config, TlsConfig};
use crate::whole_file;
use made::{RENEWED_AFTER, is_fresh, make_certificate};

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

/// What the server shows: replaced as a whole, without a connection being dropped.
#[derive(Debug)]
struct Shown {
    certified: Arc<CertifiedKey>,
    sha256: [u8; 32],
    file: Option<PathBuf>,
    /// When the files were written that it is from.
    written: Vec<Option<SystemTime>>,
    /// When it was read, or made.
    since: Instant,
}

/// Gives every handshake, over TCP and QUIC, the newest certificate.
#[derive(Debug)]
struct Resolver(ArcSwap<Shown>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

/// The certificate in use, and the configurations made with it.
#[derive(Clone)]
pub(crate) struct Tls {
    tcp: Arc<ServerConfig>,
    quic: Arc<quinn::crypto::rustls::QuicServerConfig>,
    resolver: Arc<Resolver>,
    from: Source,
}

/// Where the certificate comes from.
#[derive(Clone, Debug)]
struct Source {
    tls: TlsConfig,
    data_dir: Option<PathBuf>,
}

impl Tls {
    /// Loads the configured certificate, or the one in the data directory, or makes one.
    pub(crate) fn load(config: &Config) -> Result<Self, TlsError> {
        let from = Source { tls: config.tls.clone(), data_dir: config.data_dir.clone() };
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(from.read()?)));
        let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut tcp = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<_>);
        tcp.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients that come back are spared a signature, without a table of them here.
        tcp.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| unusable(&error))?;
        let mut quic = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<_>);
        quic.alpn_protocols = vec![tidewire_protocol::ALPN.to_vec()];
        quic.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| unusable(&error))?;
        // What comes with the first packet can be sent again by anybody who has seen it.
        quic.max_early_data_size = 0;
        let quic = quinn::crypto::rustls::QuicServerConfig::try_from(quic)
            .map_err(|error| unusable(&error))?;
        Ok(Self { tcp: Arc::new(tcp), quic: Arc::new(quic), resolver, from })
    }

    /// Reads the certificate again; handshakes from now on get it.
    ///
    /// # Errors
    /// When it is not to be had or cannot be used: the one in use stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let shown = self.resolver.0.load();
        if shown.file.is_none() && shown.since.elapsed() < RENEWED_AFTER {
            // It was made, and clients may have been told which one it is.
            return Ok(());
        }
        self.resolver.0.store(Arc::new(self.from.read()?));
        Ok(())
    }

    /// Whether its files have been written since, or it is one that was made and is old.
    pub(crate) fn is_outdated(&self) -> bool {
        let shown = self.resolver.0.load();
        let is_old = match &shown.file {
            Some(file) => self.from.tls.certificate.is_none() && !is_fresh(file),
            None => shown.since.elapsed() >= RENEWED_AFTER,
        };
        is_old || shown.written != self.from.written()
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.resolver.0.load().sha256
    }

    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.resolver.0.load().file.clone()
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(Arc::clone(&self.tcp))
    }

    pub(crate) fn quic(&self) -> Arc<quinn::crypto::rustls::QuicServerConfig> {
        Arc::clone(&self.quic)
    }
}

impl Source {
    fn files(&self) -> Option<[PathBuf; 2]> {
        match (&self.tls.certificate, &self.tls.key, &self.data_dir) {
            (Some(certificate), Some(key), _) => Some([certificate.clone(), key.clone()]),
            (None, None, Some(data_dir)) => {
                Some([data_dir.join("self-signed.crt"), data_dir.join("self-signed.key")])
            }
            (Some(_), None, _) | (None, Some(_), _) | (None, None, None) => None,
        }
    }

    fn written(&self) -> Vec<Option<SystemTime>> {
        let written = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
        self.files().iter().flatten().map(written).collect()
    }

    fn read(&self) -> Result<Shown, TlsError> {
        // Before they are read: what is written meanwhile is read again.
        let written = self.written();
        match (&self.tls.certificate, &self.tls.key, self.files()) {
            (Some(_), Some(_), Some([certificate, key])) => {
                Shown::of(read_chain(&certificate)?, read_key(&key)?, Some(certificate), written)
            }
            (None, None, Some([certificate, key])) => self.read_made(&certificate, &key),
            (Some(path), None, _) | (None, Some(path), _) => Err(TlsError::Read {
                path: path.clone(),
                reason: "tls.certificate and tls.key go together".to_owned(),
            }),
            (Some(_), Some(_), None) | (None, None, None) => {
                let made = make_certificate()?;
                Shown::of(made.chain, made.key, None, written)
            }
        }
    }

    fn read_made(&self, certificate: &Path, key: &Path) -> Result<Shown, TlsError> {
        let read = || {
            let (chain, key) = (read_chain(certificate)?, read_key(key)?);
            Shown::of(chain, key, Some(certificate.to_owned()), self.written())
        };
        // What was made and cannot be used is made anew: a crash may have left one without the other.
        if is_fresh(certificate)
            && let Ok(shown) = read()
        {
            return Ok(shown);
        }
        let made = make_certificate()?;
        write(key, &made.key_pem, 0o600)?;
        write(certificate, &made.certificate_pem, 0o644)?;
        read()
    }
}

impl Shown {
    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        file: Option<PathBuf>,
        written: Vec<Option<SystemTime>>,
    ) -> Result<Self, TlsError> {
        let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
        let first = chain.first().ok_or_else(|| unusable(&"the file holds none"))?;
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, first);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest.as_ref());
        let provider = aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(|error| unusable(&error))?;
        let since = Instant::now();
        Ok(Self { certified: Arc::new(certified), sha256, file, written, since })
    }
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
