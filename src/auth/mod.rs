//! Accounts: who a connection is, by a signed token, an API key or its certificate, and what its roles
//! allow.
//!
//! Nothing here waits or asks the network: keys come from files when the configuration is read, and
//! a credential is checked on the core of its connection.

mod api_key;
mod certificate;
mod credential;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod issue;
mod keys;
mod revocations;
mod roles;
#[cfg(test)]
mod tests;
mod ticket;
mod token;

pub use keys::Algorithm;
pub use revocations::RevocationError;
pub use roles::Grant;

pub(crate) use api_key::{hash_of, made};
pub(crate) use certificate::{BadCertificate, ClientCertificate};
pub(crate) use credential::Credential;
pub(crate) use issue::{Issue, issue};
pub(crate) use revocations::{Revocations, Revoke};
pub(crate) use roles::allowed;
pub(crate) use ticket::{TICKET_ISSUER, TICKET_KEY_ID, TicketKey, Tickets};
pub(crate) use token::Claims;

use std::path::PathBuf;
use std::sync::Arc;

use tidewire_core::access::{Access, Identity, LOCAL_ISSUER, Permissions, Tenant};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use crate::config::{AuthConfig, TicketConfig};
use api_key::ApiKey;
use certificate::CertificateAccount;
use keys::TokenKey;
use roles::Roles;
use ticket::TicketRules;
use token::Verified;

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

    /// The key of the configuration, and what is wrong with it.
    pub(crate) fn into_parts(self) -> (String, String) {
        match self {
            Self::Read { key, path, source } => {
                (key, format!("cannot read {}: {source}", path.display()))
            }
            Self::Value { key, rule } => (key, rule),
        }
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
    /// Its token's `jti` and `iat`; nothing if it showed none.
    pub(crate) token: Option<TokenMarks>,
    /// Whether it showed anything.
    pub(crate) is_somebody: bool,
    /// The tenant that its key belongs to: nothing else is allowed, whatever the roles say.
    pub(crate) tenant: Option<Tenant>,
}

/// What tells a token apart from others of the same subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenMarks {
    pub(crate) id: Option<String>,
    pub(crate) issued_at_ms: Option<u64>,
}

/// The accounts of a configuration.
#[derive(Debug)]
pub(crate) struct Auth {
    roles: Roles,
    keys: Vec<TokenKey>,
    api_keys: Vec<ApiKey>,
    certificates: Vec<CertificateAccount>,
    anonymous_roles: Option<Vec<String>>,
    audience: Option<String>,
    leeway_ms: u64,
    tickets: TicketRules,
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
        let certificates = certificate::load(&config.certificate, &roles)?;
        for (index, key) in config.token_key.iter().enumerate() {
            for role in key.roles.iter().flatten() {
                roles.check(&format!("auth.token_key[{index}].roles"), role)?;
            }
        }
        for role in config.anonymous_roles.iter().flatten() {
            roles.check("auth.anonymous_roles", role)?;
        }
        Ok(Self {
            roles,
            keys,
            api_keys,
            certificates,
            anonymous_roles: config.anonymous_roles.clone(),
            audience: config.audience.clone(),
            leeway_ms: config.leeway_ms,
            tickets: TicketRules::of(config),
        })
    }

    /// The same, if tickets are given out: they are signed with this key.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub(crate) fn with_ticket_key(mut self, key: &TicketKey) -> Result<Self, AuthError> {
        if !self.tickets.is_empty() {
            self.keys.push(key.verifying()?);
        }
        Ok(self)
    }

    /// The rule that tickets for a poll are given out by, if there are any.
    pub(crate) fn ticket_rule(&self, poll: &Name) -> Option<&TicketConfig> {
        self.tickets.find(poll)
    }

    /// The `aud` that tokens must have.
    pub(crate) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Whether there are accounts; without any, every connection may do everything.
    pub(crate) fn has_accounts(&self) -> bool {
        !self.keys.is_empty()
            || !self.api_keys.is_empty()
            || !self.certificates.is_empty()
            || self.anonymous_roles.is_some()
            || !self.tickets.is_empty()
    }

    /// Whether a key speaks for this issuer; for local people, if none is named.
    pub(crate) fn has_issuer(&self, issuer: Option<&str>) -> bool {
        let of = |key: &TokenKey| key.issuer.as_deref().unwrap_or(LOCAL_ISSUER).to_owned();
        self.keys.iter().any(|key| of(key) == issuer.unwrap_or(LOCAL_ISSUER))
    }

    /// How far the clocks of issuers may be off.
    pub(crate) fn leeway_ms(&self) -> u64 {
        self.leeway_ms
    }

    /// Whether somebody who shows nothing may do something.
    pub(crate) fn lets_anybody_in(&self) -> bool {
        !self.has_accounts()
            || !self.tickets.is_empty()
            || self.anonymous_roles.as_ref().is_some_and(|roles| !roles.is_empty())
    }

    /// Finds out who shows a credential; nothing where there are no accounts. The time is the wall
    /// clock's.
    ///
    /// # Errors
    /// `unauthenticated`, with what is wrong with it.
    pub(crate) fn authenticate(
        &self,
        shown: &Credential,
        now_ms: u64,
    ) -> Result<Option<Proven>, Refusal> {
        if !self.has_accounts() {
            return Ok(None);
        }
        match shown {
            Credential::Nothing => self.anonymous(None),
            Credential::Certificate(shown) => self.by_certificate(shown, now_ms),
            Credential::Token { token } => self.by_token(token, now_ms),
            Credential::ApiKey(digest) => self.by_digest(digest),
        }
        .map(Some)
    }

    /// What somebody may do.
    ///
    /// # Errors
    /// `unauthenticated` for a role that there is not.
    pub(crate) fn access(&self, proven: &Proven) -> Result<Access, Refusal> {
        let Proven { identity, roles, grants, expires_at_ms, token: _, is_somebody, tenant } =
            proven;
        // Nobody in particular has no names of their own.
        let subject = is_somebody.then_some(&*identity.subject);
        let lists = self.roles.resolve(roles, grants, subject)?;
        Ok(Access {
            identity: identity.clone(),
            permissions: Arc::new(Permissions { lists, tenant: tenant.clone() }),
            expires_at_ms: *expires_at_ms,
        })
    }

    fn anonymous(&self, certificate: Option<&ClientCertificate>) -> Result<Proven, Refusal> {
        let Some(roles) = &self.anonymous_roles else {
            let needed = "a token is needed: send one in HELLO (the command line: --token, or \
                          TIDEWIRE_TOKEN)";
            return Err(match certificate {
                None => refuse(needed),
                Some(shown) => refuse(format!(
                    "no account ([[auth.certificate]]) has a name of the certificate that was shown: it \
                     has {}; {needed}",
                    shown.shown_names()
                )),
            });
        };
        let identity = Identity { issuer: LOCAL_ISSUER.into(), subject: ANONYMOUS.into() };
        Ok(Proven {
            identity,
            roles: roles.clone(),
            grants: Vec::new(),
            expires_at_ms: None,
            token: None,
            is_somebody: false,
            tenant: None,
        })
    }

    fn by_digest(&self, digest: &[u8; 32]) -> Result<Proven, Refusal> {
        let known = api_key::find(&self.api_keys, digest);
        let ApiKey { name, issuer, roles, tenant, .. } =
            known.ok_or_else(|| refuse("the API key is not known"))?;
        let identity = Identity { issuer: issuer.as_str().into(), subject: name.as_str().into() };
        Ok(Proven {
            identity,
            roles: roles.clone(),
            grants: Vec::new(),
            expires_at_ms: None,
            token: None,
            is_somebody: true,
            tenant: tenant.clone(),
        })
    }

    fn by_certificate(&self, shown: &ClientCertificate, now_ms: u64) -> Result<Proven, Refusal> {
        // A session may be resumed after the end of the certificate that it began with.
        if shown.expires_at_ms <= now_ms {
            let since = (now_ms - shown.expires_at_ms) / 1000;
            return Err(refuse(format!("the client's certificate has expired, {since} s ago")));
        }
        let Some(account) = certificate::find(&self.certificates, shown) else {
            return self.anonymous(Some(shown));
        };
        let CertificateAccount { subject, issuer, roles, tenant, .. } = account;
        Ok(Proven {
            identity: Identity { issuer: issuer.as_str().into(), subject: subject.as_str().into() },
            roles: roles.clone(),
            grants: Vec::new(),
            expires_at_ms: Some(shown.expires_at_ms),
            token: None,
            is_somebody: true,
            tenant: tenant.clone(),
        })
    }

    fn by_token(&self, token: &str, now_ms: u64) -> Result<Proven, Refusal> {
        let audience = self.audience.as_deref();
        let Verified { claims, tenant } = token::verify(&self.keys, audience, token)?;
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
            token: Some(TokenMarks {
                id: claims.jti,
                issued_at_ms: claims.iat.map(|iat| iat.saturating_mul(1000)),
            }),
            is_somebody: true,
            tenant,
        })
    }
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, message)
}
