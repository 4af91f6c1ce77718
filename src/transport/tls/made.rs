//! A certificate for development, made here.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::TlsError;

/// How long a certificate made for development is valid. Browsers accept a pinned certificate
/// (`serverCertificateHashes`) for at most 14 days.
const SELF_SIGNED_DAYS: i64 = 13;
/// A made certificate is made anew when it is older than this.
pub(super) const RENEWED_AFTER: Duration = Duration::from_secs(6 * 86_400);

/// A certificate and its key, in both forms.
pub(crate) struct Made {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// An ECDSA P-256 certificate for this machine's loopback names.
pub(super) fn make_certificate() -> Result<Made, TlsError> {
    certificate_for(&["localhost", "127.0.0.1", "::1"].map(str::to_owned))
}

/// The same for these host names and addresses.
///
/// # Errors
/// When one of them is none, or there are no random bytes.
pub(crate) fn certificate_for(names: &[String]) -> Result<Made, TlsError> {
    let unusable = |error: rcgen::Error| TlsError::Unusable(error.to_string());
    let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(unusable)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Tidewire development");
    let now = std::time::SystemTime::now();
    // An hour back, for clients whose clocks are behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
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

/// Whether a made certificate need not be made anew yet.
pub(super) fn is_fresh(certificate: &Path) -> bool {
    let age = std::fs::metadata(certificate)
        .and_then(|metadata| metadata.modified())
        .map(|modified| modified.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age < RENEWED_AFTER)
}
