//! API keys: 256 random bits, of which the configuration holds the SHA-256 only.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest as sha256};
use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidewire_core::access::{LOCAL_ISSUER, Tenant};

use super::AuthError;
use super::keys::tenant_of;
use super::roles::Roles;
use crate::config::ApiKeyConfig;

/// What every key begins with, so that one that has leaked is found.
const PREFIX: &str = "tidewire_key_";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// A key that is known.
#[derive(Clone, Debug)]
pub(super) struct ApiKey {
    /// The subject of its connections.
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) roles: Vec<String>,
    pub(super) tenant: Option<Tenant>,
    sha256: [u8; 32],
}

/// Reads the keys of a configuration.
///
/// # Errors
/// When a hash is none, a role is not there, or a tenant has no valid prefix.
pub(super) fn load(config: &[ApiKeyConfig], roles: &Roles) -> Result<Vec<ApiKey>, AuthError> {
    let read = |(index, key): (usize, &ApiKeyConfig)| {
        let place = format!("auth.api_key[{index}]");
        let ApiKeyConfig { name, sha256, issuer, roles: has, tenant } = key;
        if name.is_empty() || name.len() > super::SUBJECT_BYTES_MAX {
            let rule = format!("1 to {} bytes", super::SUBJECT_BYTES_MAX);
            return Err(AuthError::value(format!("{place}.name"), rule));
        }
        let sha256 = of_hex(sha256).ok_or_else(|| {
            let rule = "64 hexadecimal digits, as `tidewire auth key` prints them";
            AuthError::value(format!("{place}.sha256"), rule)
        })?;
        for role in has {
            roles.check(&format!("{place}.roles"), role)?;
        }
        let issuer = issuer.clone().unwrap_or_else(|| LOCAL_ISSUER.to_owned());
        let tenant = tenant_of(&format!("{place}.tenant"), tenant.as_deref())?;
        Ok(ApiKey { name: name.clone(), issuer, roles: has.clone(), tenant, sha256 })
    };
    config.iter().enumerate().map(read).collect()
}

/// Whether a credential is an API key by its form.
pub(super) fn looks_like_one(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}

/// What is kept of a key.
pub(super) fn digest(key: &str) -> [u8; 32] {
    let mut into = [0; 32];
    into.copy_from_slice(sha256(&SHA256, key.as_bytes()).as_ref());
    into
}

/// The key with this hash. It takes as long whichever it is, and whether there is one.
pub(super) fn find<'a>(keys: &'a [ApiKey], digest: &[u8; 32]) -> Option<&'a ApiKey> {
    let is_it = |key: &ApiKey| verify_slices_are_equal(&key.sha256, digest).is_ok();
    keys.iter().fold(None, |found, key| if is_it(key) { Some(key) } else { found })
}

/// Makes a key; returns it, and its SHA-256 in hexadecimal digits.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn made() -> Result<(String, String), Unspecified> {
    let mut random = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut random)?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = hexadecimal(&digest(&key));
    Ok((key, hash))
}

/// What the configuration holds of a key, if it is one.
pub(crate) fn hash_of(key: &str) -> Option<String> {
    let random = URL_SAFE_NO_PAD.decode(key.strip_prefix(PREFIX)?).ok()?;
    (random.len() == KEY_BYTES).then(|| hexadecimal(&digest(key)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_hex(digits: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> =
        digits.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let (pairs, _) = digits.as_deref()?.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok().filter(|_| digits.is_some_and(|digits| digits.len() == 64))
}
