//! The keys that tokens are verified with. Each is for one algorithm.

use std::path::Path;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::access::Tenant;
use tidewire_protocol::Refusal;

use super::AuthError;
use crate::config::{AuthConfig, TokenKeyConfig};

/// Shortest secret of HS256 in bytes: as long as the hash (RFC 7518, section 3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// The algorithms that a key may be for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize, clap::ValueEnum,
)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    #[value(name = "EdDSA")]
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    #[value(name = "ES256")]
    Es256,
    /// RSA (PKCS 1 v1.5) with SHA-256.
    #[serde(rename = "RS256")]
    #[value(name = "RS256")]
    Rs256,
    /// HMAC with SHA-256: whoever checks can also sign.
    #[serde(rename = "HS256")]
    #[value(name = "HS256")]
    Hs256,
}

impl Algorithm {
    pub(super) fn of_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

/// A key, and what it is for.
#[derive(Debug)]
pub(super) struct TokenKey {
    /// The `kid` of its tokens.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    /// The `iss` of its tokens.
    pub(super) issuer: Option<String>,
    /// The roles that its tokens may name; nothing: all.
    pub(super) roles: Option<Vec<String>>,
    pub(super) may_bring_rules: bool,
    /// The tenant of those with its tokens.
    pub(super) tenant: Option<Tenant>,
}

/// Reads all keys of a configuration.
///
/// # Errors
/// When a file cannot be read or holds no such key, or two have the same id.
pub(super) fn load(config: &AuthConfig) -> Result<Vec<TokenKey>, AuthError> {
    let mut keys = Vec::new();
    for (index, key) in config.token_key.iter().enumerate() {
        keys.push(of_file(&format!("auth.token_key[{index}]"), key)?);
    }
    if let Some(file) = &config.jwks_file {
        keys.extend(of_set("auth.jwks_file", file, config)?);
    }
    for (index, key) in keys.iter().enumerate() {
        let is_double = keys.iter().take(index).any(|other| other.id == key.id);
        if is_double {
            let id = key.id.as_deref().unwrap_or("no id");
            return Err(AuthError::value("auth", format!("two keys for tokens have '{id}'")));
        }
    }
    Ok(keys)
}

/// The tenant that a key names.
pub(super) fn tenant_of(key: &str, tenant: Option<&str>) -> Result<Option<Tenant>, AuthError> {
    let wrong = |refusal: Refusal| AuthError::value(key, refusal.message);
    tenant.map(Tenant::parse).transpose().map_err(wrong)
}

fn of_file(key: &str, config: &TokenKeyConfig) -> Result<TokenKey, AuthError> {
    let TokenKeyConfig { id, algorithm, file, issuer, roles, may_bring_rules, tenant } = config;
    let read = std::fs::read(file).map_err(|source| AuthError::Read {
        key: format!("{key}.file"),
        path: file.clone(),
        source,
    })?;
    let refuse = |rule: String| AuthError::value(format!("{key}.file"), rule);
    let decoding = match algorithm {
        Algorithm::EdDsa => DecodingKey::from_ed_pem(&read),
        Algorithm::Es256 => DecodingKey::from_ec_pem(&read),
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(&read),
        Algorithm::Hs256 => {
            let secret = read.trim_ascii_end();
            if secret.starts_with(b"-----BEGIN") {
                let rule = "a key in PEM form is no secret for HS256: whoever has the public key \
                            could sign";
                return Err(refuse(rule.to_owned()));
            }
            if secret.len() < SECRET_BYTES_MIN {
                let rule = format!("a secret for HS256 has at least {SECRET_BYTES_MIN} bytes");
                return Err(refuse(rule));
            }
            DecodingKey::from_secret(secret)
        }
    };
    let decoding = decoding.map_err(|error| {
        let (path, algorithm) = (file.display(), algorithm.as_str());
        refuse(format!("{path} holds no public key for {algorithm} in PEM form: {error}"))
    })?;
    Ok(TokenKey {
        id: id.clone(),
        algorithm: *algorithm,
        decoding,
        issuer: issuer.clone(),
        roles: roles.clone(),
        may_bring_rules: *may_bring_rules,
        tenant: tenant_of(&format!("{key}.tenant"), tenant.as_deref())?,
    })
}

/// The keys of a JSON Web Key Set (RFC 7517). Those for anything but signatures, or for algorithms
/// that are not taken, are left out.
fn of_set(key: &str, file: &Path, config: &AuthConfig) -> Result<Vec<TokenKey>, AuthError> {
    let tenant = tenant_of("auth.jwks_tenant", config.jwks_tenant.as_deref())?;
    let text = std::fs::read_to_string(file).map_err(|source| AuthError::Read {
        key: key.to_owned(),
        path: file.to_owned(),
        source,
    })?;
    let set: JwkSet = serde_json::from_str(&text).map_err(|error| {
        AuthError::value(key, format!("{} is no JSON Web Key Set: {error}", file.display()))
    })?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let Some(algorithm) = algorithm_of(jwk) else { continue };
        let id = jwk.common.key_id.clone();
        let decoding = DecodingKey::from_jwk(jwk).map_err(|error| {
            let id = id.as_deref().unwrap_or("without an id");
            AuthError::value(key, format!("key '{id}' cannot be used: {error}"))
        })?;
        let (issuer, tenant) = (config.jwks_issuer.clone(), tenant.clone());
        let (roles, may_bring_rules) = (None, true);
        keys.push(TokenKey { id, algorithm, decoding, issuer, roles, may_bring_rules, tenant });
    }
    if keys.is_empty() {
        let rule = format!(
            "{} holds no key for signatures with an 'alg' of EdDSA, ES256 or RS256",
            file.display()
        );
        return Err(AuthError::value(key, rule));
    }
    Ok(keys)
}

/// What a key of a set is for: it has to say so itself. Secrets do not belong into a set of public
/// keys.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    use jsonwebtoken::jwk::{KeyAlgorithm, PublicKeyUse};
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = jwk.common.key_algorithm?;
    let taken = [
        (KeyAlgorithm::EdDSA, Algorithm::EdDsa),
        (KeyAlgorithm::ES256, Algorithm::Es256),
        (KeyAlgorithm::RS256, Algorithm::Rs256),
    ];
    taken.into_iter().find(|(known, _)| *known == algorithm).map(|(_, algorithm)| algorithm)
}
