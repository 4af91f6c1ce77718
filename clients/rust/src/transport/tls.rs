//! Whose certificate is accepted, and the proof that the server owns it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore};
use rustls::{SignatureScheme, crypto};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::builder::{CertificateFiles, Trust};
use crate::error::Error;

/// The TLS settings for this trust, and this certificate of the client's own. No process-wide provider is
/// needed or touched.
pub(crate) fn client_config(
    trust: &Trust,
    certificate: Option<&CertificateFiles>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("TLS cannot be set up: {error}")))?;
    let builder = match trust {
        Trust::System => builder.with_platform_verifier().map_err(|error| {
            Error::Config(format!(
                "the system's certificates cannot be used: {error}; name a CA file or pin the \
                 server's fingerprint"
            ))
        })?,
        Trust::CaFile(path) => builder.with_root_certificates(read_roots(path)?),
        Trust::Fingerprint(sha256) => {
            let verifier = PinnedCertificate { sha256: *sha256, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let Some(CertificateFiles { certificate, key }) = certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let refuse = |path: &Path, rule: &dyn fmt::Display| {
        Error::Config(format!("client certificate: '{}' cannot be used: {rule}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(certificate, &error))?;
    if chain.is_empty() {
        return Err(refuse(certificate, &"it holds no certificate in PEM form"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, &error))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| refuse(key, &error))
}

fn read_roots(path: &Path) -> Result<RootCertStore, Error> {
    let refuse = |rule: String| {
        Error::Config(format!("CA file '{}' cannot be used: {rule}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refuse("it holds no certificate in PEM form".to_owned()));
    }
    Ok(roots)
}

/// Accepts one certificate, known by its SHA-256, and still demands the handshake's signature
/// that only the owner of its key can make.
#[derive(Debug)]
struct PinnedCertificate {
    sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = digest::digest(&digest::SHA256, end_entity);
        if found.as_ref() == self.sha256.as_slice() {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = Mismatch { found: hex(found.as_ref()), pinned: hex(&self.sha256) };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

struct Mismatch {
    found: String,
    pinned: String,
}

/// TLS shows its errors by `Debug`, and people read them.
impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, pinned } = self;
        write!(f, "its fingerprint is {found} and not the pinned {pinned}")
    }
}

impl std::error::Error for Mismatch {}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate's fault, if it was one, and what to do.
pub(super) fn certificate_fault(error: &rustls::Error) -> Option<String> {
    fault_in_words(&error.to_string())
}

/// The same from the error's words, which is all that QUIC passes on.
pub(super) fn fault_in_words(words: &str) -> Option<String> {
    let fault = words.strip_prefix("invalid peer certificate: ")?;
    let ours = fault.strip_prefix("Other(OtherError(").and_then(|ours| ours.strip_suffix("))"));
    Some(match ours {
        Some(mismatch) => mismatch.to_owned(),
        None => format!("{fault}; name its CA file, or pin its fingerprint"),
    })
}
