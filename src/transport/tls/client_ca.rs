//! Whose certificates clients may show.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{TlsError, read_chain};

/// The certificates that those of clients are issued by.
#[derive(Clone, Debug)]
pub(crate) struct ClientCa {
    certificates: Vec<CertificateDer<'static>>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCa {
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        let refuse = |reason: String| TlsError::ClientCa { path: path.to_owned(), reason };
        let certificates = read_chain(path).map_err(|error| match error {
            TlsError::Read { reason, .. } => refuse(reason),
            TlsError::ClientCa { .. } | TlsError::Write { .. } | TlsError::Unusable(_) => error,
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| refuse(error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            // Who shows none may have a token.
            .allow_unauthenticated()
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { certificates, verifier })
    }

    /// Whether it is the same as another.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }

    /// Verifies a certificate, with those that it was sent with, at this time.
    ///
    /// # Errors
    /// It is issued by somebody else, has expired or is not for clients.
    pub(crate) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (first, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(first, others, UnixTime::now()).map(drop)
    }
}
