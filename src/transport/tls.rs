//! The certificate: given, or made for development. One resolver serves TCP and QUIC.

mod client_ca;
mod made;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use client_ca::ClientCa;
pub(crate) use settings::Settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ::aws_lc_rs::hmac;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use tidewire_protocol::{ErrorCode, Refusal};

use crate::auth::ClientCertificate;
use crate::config::{Config, TlsConfig};
use crate::whole_file;
use made::{RENEWED_AFTER, is_fresh, make_certificate};
use settings::written;

pub(crate) use made::certificate_for;

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
    /// The client CAs cannot be used.
    #[error("cannot use {path}: {reason}; check tls.client_ca")]
    ClientCa {
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
    /// What secrets are derived from that are to outlive the process as the key does.
    secret: hmac::Key,
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
    settings: Arc<ArcSwap<Settings>>,
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
        let written = from.client_ca_written();
        let client_ca = from.read_client_ca()?;
        let settings = Settings::make(Arc::clone(&resolver) as Arc<_>, client_ca, written, 0)?;
        Ok(Self { settings: Arc::new(ArcSwap::from_pointee(settings)), resolver, from })
    }

    /// Reads the certificate and the client CAs again; handshakes from now on get them.
    ///
    /// # Errors
    /// When something is not to be had or cannot be used: what is in use stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let settings = self.read_settings()?;
        self.reload_certificate()?;
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// The settings with the client CAs as they are now.
    fn read_settings(&self) -> Result<Settings, TlsError> {
        let before = self.settings.load_full();
        // Before it is read: what is written meanwhile is read again.
        let written = self.from.client_ca_written();
        let client_ca = self.from.read_client_ca()?;
        let is_same = match (&before.client_ca, &client_ca) {
            (Some(before), Some(after)) => before.is(after),
            (before, after) => before.is_none() && after.is_none(),
        };
        if is_same {
            return Ok(Settings { written, ..(*before).clone() });
        }
        let resolver = Arc::clone(&self.resolver) as Arc<_>;
        Settings::make(resolver, client_ca, written, before.roots + 1)
    }

    fn reload_certificate(&self) -> Result<(), TlsError> {
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
        is_old
            || shown.written != self.from.written()
            || self.settings.load().written != self.from.client_ca_written()
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.resolver.0.load().sha256
    }

    /// A secret for a purpose: another one for each, and the same for as long as the certificate's key is.
    pub(crate) fn secret_for(&self, purpose: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.resolver.0.load().secret, purpose.as_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(tag.as_ref());
        secret
    }

    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.resolver.0.load().file.clone()
    }

    /// What handshakes are made with from now on.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Whether a client's certificate is still one that would be taken.
    ///
    /// # Errors
    /// `unauthenticated`: it was verified by client CAs that are not in use any more, and is not by those
    /// that are.
    pub(crate) fn check_client(&self, certificate: &ClientCertificate) -> Result<(), Refusal> {
        let settings = self.settings.load();
        if settings.roots == certificate.roots {
            return Ok(());
        }
        let verified = match &settings.client_ca {
            Some(client_ca) => client_ca.verify(&certificate.chain),
            None => Err(rustls::Error::General("no certificate of a client is taken".to_owned())),
        };
        verified.map_err(|error| {
            let message = format!("the client's certificate is not trusted any more: {error}");
            Refusal::new(ErrorCode::Unauthenticated, message)
        })
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
        self.files().iter().flatten().map(|file| written(file)).collect()
    }

    fn read_client_ca(&self) -> Result<Option<ClientCa>, TlsError> {
        self.tls.client_ca.as_deref().map(ClientCa::read).transpose()
    }

    fn client_ca_written(&self) -> Option<SystemTime> {
        self.tls.client_ca.as_deref().and_then(written)
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
        let secret = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.secret_der()), b"tidewire");
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
        let provider = aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(|error| unusable(&error))?;
        let since = Instant::now();
        Ok(Self { certified: Arc::new(certified), sha256, secret, file, written, since })
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
