//! Accounts: who a connection is, by a signed token or an API key, and what its roles allow.
//!
//! Nothing here waits or asks the network: keys come from files when the configuration is read, and
//! a credential is checked on the core of its connection.

mod api_key;
mod issue;
mod keys;
mod revocations;
mod roles;
#[cfg(test)]
mod tests;
mod token;

pub use keys::Algorithm;
pub use revocations::RevocationError;
pub use roles::Grant;

pub(crate) use api_key::{hash_of, made};
pub(crate) use issue::{Issue, issue};
pub(crate) use revocations::{Revocations, Revoke};
pub(crate) use roles::allowed;
pub(crate) use token::Claims;

use std::path::PathBuf;
use std::sync::Arc;

use tidewire_core::access::{Access, Identity, LOCAL_ISSUER};
use tidewire_protocol::{ErrorCode, Refusal};

use crate::config::AuthConfig;
use api_key::ApiKey;
use keys::TokenKey;
use roles::Roles;

/// Longest subject in bytes, as of a voter or a member.
const SUBJECT_BYTES_MAX: usize = 256;
/// The subject of a connection without a credential.
const ANONYMOUS: &str = "anonymous";

/// Why accounts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read.
    #[error("{key}: cannot read {path}: {source}")]
    Read {
        /// The key of the configuration.
        key: String,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A value says what cannot be.
    #[error("{key}: {rule}")]
    Value {
        /// The key of the configuration.
        key: String,
        /// The rule that it breaks.
        rule: String,
    },
}

impl AuthError {
    fn value(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Value { key: key.into(), rule: rule.into() }
    }
}

/// What has been proven about a connection. What it may do follows from the configuration, and is
/// found out again when that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) identity: Identity,
    /// Names of roles.
    pub(crate) roles: Vec<String>,
    /// Rules that a token brings itself.
    pub(crate) grants: Vec<Grant>,
    pub(crate) expires_at_ms: Option<u64>,
    /// What proved it, so that it can be asked again.
    pub(crate) credential: Credential,
}

/// What a connection showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Nothing,
    Token {
        token: Arc<str>,
        /// Its `jti`.
        id: Option<String>,
        /// Its `iat`.
        issued_at_ms: Option<u64>,
    },
    /// The SHA-256 of an API key.
    ApiKey([u8; 32]),
}

/// The accounts of a configuration.
#[derive(Debug)]
pub(crate) struct Auth {
    roles: Roles,
    keys: Vec<TokenKey>,
    api_keys: Vec<ApiKey>,
    anonymous_roles: Option<Vec<String>>,
    audience: Option<String>,
    leeway_ms: u64,
}

impl Auth {
    /// Reads the keys that a configuration names.
    ///
    /// # Errors
    /// When a file cannot be read, a key is none, or a role is not there.
    pub(crate) fn load(config: &AuthConfig) -> Result<Self, AuthError> {
        let roles = Roles::of(&config.role)?;
        let keys = keys::load(config)?;
        let api_keys = api_key::load(&config.api_key, &roles)?;
        for role in config.anonymous_roles.iter().flatten() {
            roles.check("auth.anonymous_roles", role)?;
        }
        Ok(Self {
            roles,
            keys,
            api_keys,
            anonymous_roles: config.anonymous_roles.clone(),
            audience: config.audience.clone(),
            leeway_ms: config.leeway_ms,
        })
    }

    /// Whether there are accounts; without any, every connection may do everything.
    pub(crate) fn has_accounts(&self) -> bool {
        !self.keys.is_empty() || !self.api_keys.is_empty() || self.anonymous_roles.is_some()
    }

    /// Finds out who shows a credential; nothing where there are no accounts.
    ///
    /// # Errors
    /// `unauthenticated`, with what is wrong with it.
    pub(crate) fn authenticate(
        &self,
        shown: Option<&str>,
        now_ms: u64,
    ) -> Result<Option<Proven>, Refusal> {
        if !self.has_accounts() {
            return Ok(None);
        }
        match shown {
            None | Some("") => self.anonymous().map(Some),
            Some(key) if api_key::looks_like_one(key) => {
                self.by_digest(api_key::digest(key)).map(Some)
            }
            Some(token) => self.by_token(token, now_ms).map(Some),
        }
    }

    /// The same again, after the configuration has changed.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub(crate) fn again(
        &self,
        credential: &Credential,
        now_ms: u64,
    ) -> Result<Option<Proven>, Refusal> {
        if !self.has_accounts() {
            return Ok(None);
        }
        match credential {
            Credential::Nothing => self.anonymous(),
            Credential::Token { token, .. } => self.by_token(token, now_ms),
            Credential::ApiKey(digest) => self.by_digest(*digest),
        }
        .map(Some)
    }

    /// What somebody may do.
    ///
    /// # Errors
    /// `unauthenticated` for a role that there is not.
    pub(crate) fn access(&self, proven: &Proven) -> Result<Arc<Access>, Refusal> {
        let Proven { identity, roles, grants, expires_at_ms, credential } = proven;
        let subject = match credential {
            // Whoever it is: nobody has names of their own.
            Credential::Nothing => None,
            Credential::Token { .. } | Credential::ApiKey(_) => Some(&*identity.subject),
        };
        let (permissions, acts_for_others) = self.roles.resolve(roles, grants, subject)?;
        Ok(Arc::new(Access {
            identity: identity.clone(),
            permissions: Arc::new(permissions),
            acts_for_others,
            expires_at_ms: *expires_at_ms,
        }))
    }

    fn anonymous(&self) -> Result<Proven, Refusal> {
        let Some(roles) = &self.anonymous_roles else {
            return Err(refuse("a token is needed: send one in HELLO"));
        };
        let identity = Identity { issuer: LOCAL_ISSUER.into(), subject: ANONYMOUS.into() };
        Ok(Proven {
            identity,
            roles: roles.clone(),
            grants: Vec::new(),
            expires_at_ms: None,
            credential: Credential::Nothing,
        })
    }

    fn by_digest(&self, digest: [u8; 32]) -> Result<Proven, Refusal> {
        let known = api_key::find(&self.api_keys, &digest);
        let ApiKey { name, issuer, roles, .. } =
            known.ok_or_else(|| refuse("the API key is not known"))?;
        let identity = Identity { issuer: issuer.as_str().into(), subject: name.as_str().into() };
        Ok(Proven {
            identity,
            roles: roles.clone(),
            grants: Vec::new(),
            expires_at_ms: None,
            credential: Credential::ApiKey(digest),
        })
    }

    fn by_token(&self, token: &str, now_ms: u64) -> Result<Proven, Refusal> {
        let audience = self.audience.as_deref();
        let claims = token::verify(&self.keys, audience, token)?;
        claims.check_times(now_ms, self.leeway_ms)?;
        if claims.sub.is_empty() || claims.sub.len() > SUBJECT_BYTES_MAX {
            return Err(refuse(format!("the token's 'sub' has 1 to {SUBJECT_BYTES_MAX} bytes")));
        }
        let issuer = claims.iss.as_deref().unwrap_or(LOCAL_ISSUER);
        let expires_at_ms = claims.expires_at_ms(self.leeway_ms);
        Ok(Proven {
            identity: Identity { issuer: issuer.into(), subject: claims.sub.as_str().into() },
            roles: claims.roles,
            grants: claims.permissions,
            expires_at_ms: Some(expires_at_ms),
            credential: Credential::Token {
                token: token.into(),
                id: claims.jti,
                issued_at_ms: claims.iat.map(|iat| iat.saturating_mul(1000)),
            },
        })
    }
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, message)
}
