//! Certificates of clients: the names that stand in them, and whose they are.
//!
//! TLS has verified a certificate before it comes here: by whom it is issued, that it is valid, and that
//! the client has its key.

use std::fmt;

use rustls::pki_types::CertificateDer;
use tidewire_core::access::{LOCAL_ISSUER, Tenant};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::AuthError;
use super::keys::tenant_of;
use super::roles::Roles;
use crate::config::CertificateConfig;

/// Names of a certificate that are looked at.
const NAMES_MAX: usize = 64;
/// Names that a refusal shows, and characters of each.
const NAMES_SHOWN: usize = 4;
const NAME_CHARS_SHOWN: usize = 120;

/// Why a certificate cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub(crate) struct BadCertificate(String);

/// A name of a certificate (`subjectAltName`, RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
enum San {
    /// Compared byte by byte.
    Uri(String),
    /// In lower case.
    Dns(String),
}

/// A certificate that a client has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// With those that it was sent with, to be verified again when others are trusted.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Which client CAs have verified it.
    pub(crate) roots: u64,
    names: Vec<San>,
    pub(super) expires_at_ms: u64,
}

impl ClientCertificate {
    /// Reads what says who it is of.
    ///
    /// # Errors
    /// It is malformed, or has more names than are looked at.
    pub(crate) fn read(
        chain: &[CertificateDer<'static>],
        roots: u64,
    ) -> Result<Self, BadCertificate> {
        let bad = |rule: &dyn fmt::Display| BadCertificate(rule.to_string());
        let first = chain.first().ok_or_else(|| bad(&"there is none"))?;
        let (_rest, parsed) = X509Certificate::from_der(first).map_err(|error| bad(&error))?;
        let names = parsed.subject_alternative_name().map_err(|error| bad(&error))?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        if names.len() > NAMES_MAX {
            return Err(bad(&format!("it has more than {NAMES_MAX} names")));
        }
        let not_after_s = parsed.validity().not_after.timestamp();
        Ok(Self {
            chain: chain.to_vec(),
            roots,
            names: names.iter().filter_map(San::of).collect(),
            expires_at_ms: u64::try_from(not_after_s).unwrap_or(0).saturating_mul(1000),
        })
    }

    /// Its names, for people.
    pub(super) fn shown_names(&self) -> String {
        if self.names.is_empty() {
            return "no URI and no DNS name".to_owned();
        }
        let show = |name: &San| {
            let (San::Uri(name) | San::Dns(name)) = name;
            let shown: String = name.escape_default().take(NAME_CHARS_SHOWN).collect();
            format!("'{shown}'")
        };
        let shown = self.names.iter().take(NAMES_SHOWN).map(show);
        let more = self.names.len().saturating_sub(NAMES_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        shown.collect::<Vec<_>>().join(", ") + &more
    }
}

impl San {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        if let GeneralName::URI(uri) = name {
            return Some(Self::Uri((*uri).to_owned()));
        }
        if let GeneralName::DNSName(dns) = name {
            return Some(Self::Dns(dns.to_ascii_lowercase()));
        }
        None
    }

    /// As a configuration writes it: no name of a host holds a colon, and each URI does.
    fn written(name: &str) -> Self {
        match name.contains(':') {
            true => Self::Uri(name.to_owned()),
            false => Self::Dns(name.to_ascii_lowercase()),
        }
    }
}

/// An account of who has a certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateAccount {
    name: San,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) roles: Vec<String>,
    pub(super) tenant: Option<Tenant>,
}

/// Reads the accounts of a configuration.
///
/// # Errors
/// When a name or a subject cannot be one, or a role is not there.
pub(super) fn load(
    config: &[CertificateConfig],
    roles: &Roles,
) -> Result<Vec<CertificateAccount>, AuthError> {
    let read = |(index, account): (usize, &CertificateConfig)| {
        let place = format!("auth.certificate[{index}]");
        let CertificateConfig { name, issuer, roles: has, tenant, subject: _ } = account;
        let subject = account.subject();
        for (key, value) in [("name", name.as_str()), ("subject", subject)] {
            if value.is_empty() || value.len() > super::SUBJECT_BYTES_MAX {
                let rule = format!("1 to {} bytes", super::SUBJECT_BYTES_MAX);
                return Err(AuthError::value(format!("{place}.{key}"), rule));
            }
        }
        if name.contains('*') || name.contains(char::is_whitespace) {
            let rule = "the one URI or DNS name that stands in the certificate, without a wildcard";
            return Err(AuthError::value(format!("{place}.name"), rule));
        }
        for role in has {
            roles.check(&format!("{place}.roles"), role)?;
        }
        Ok(CertificateAccount {
            name: San::written(name),
            subject: subject.to_owned(),
            issuer: issuer.clone().unwrap_or_else(|| LOCAL_ISSUER.to_owned()),
            roles: has.clone(),
            tenant: tenant_of(&format!("{place}.tenant"), tenant.as_deref())?,
        })
    };
    config.iter().enumerate().map(read).collect()
}

/// The first account, in the order of the configuration, that is named in a certificate.
pub(super) fn find<'a>(
    accounts: &'a [CertificateAccount],
    certificate: &ClientCertificate,
) -> Option<&'a CertificateAccount> {
    accounts.iter().find(|account| certificate.names.contains(&account.name))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate with these names, valid until this Unix second.
    pub(in super::super) fn made(uris: &[&str], dns: &[&str], until_s: i64) -> ClientCertificate {
        ClientCertificate::read(&[der(uris, dns, until_s)], 0).unwrap()
    }

    fn der(uris: &[&str], dns: &[&str], until_s: i64) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::default();
        let uri = |uri: &&str| rcgen::SanType::URI((*uri).try_into().unwrap());
        let dns = dns.iter().map(|dns| rcgen::SanType::DnsName((*dns).try_into().unwrap()));
        params.subject_alt_names = uris.iter().map(uri).chain(dns).collect();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(until_s).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn names_and_the_end_are_read() {
        let read = made(&["spiffe://example/shop"], &["Shop.Example"], 1_900_000_000);
        assert_eq!(read.expires_at_ms, 1_900_000_000_000);
        assert_eq!(read.shown_names(), "'spiffe://example/shop', 'shop.example'");
        assert!(read.names.contains(&San::written("SHOP.example")));
        assert!(!read.names.contains(&San::written("spiffe://example/Shop")));
        assert!(!read.names.contains(&San::written("example")));
        let none = made(&[], &[], 1_900_000_000);
        assert_eq!(none.shown_names(), "no URI and no DNS name");
        let six = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(made(&[], &six, 0).shown_names(), "'a', 'b', 'c', 'd' and 2 more");
        let names: Vec<String> = (0..=NAMES_MAX).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let many = ClientCertificate::read(&[der(&[], &names, 0)], 0).unwrap_err();
        assert!(many.to_string().contains("more than 64 names"), "{many}");
        assert!(ClientCertificate::read(&[], 0).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(ClientCertificate::read(&[bytes.into()], 0));
        }

        #[test]
        fn nor_does_one_that_is_damaged(at in 0..400_usize, byte: u8, len in 0..600_usize) {
            thread_local!(static WHOLE: Vec<u8> = der(&["spiffe://example/shop"], &["a"], 0).to_vec());
            let mut bytes = WHOLE.with(Clone::clone);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(len);
            drop(ClientCertificate::read(&[bytes.into()], 0));
        }
    }
}
