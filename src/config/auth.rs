//! Accounts in the configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_protocol::tally::{ISSUER_BYTES_MAX, LOCAL_IDENTITY};
use tidewire_protocol::{Name, Pattern};

use super::ConfigError;
use crate::auth::{Algorithm, Grant, TICKET_ISSUER, TICKET_KEY_ID};

/// Who may connect, and what they may do. Without keys and without roles for everybody there are no
/// accounts: every connection may do everything.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Roles of connections that show nothing; absent: they are refused where there are accounts.
    pub anonymous_roles: Option<Vec<String>>,
    /// The `aud` that tokens must have; absent: it is not looked at.
    #[schemars(length(min = 1))]
    pub audience: Option<String>,
    /// How far the clocks of issuers may be off.
    #[schemars(range(min = 0, max = 600_000))]
    pub leeway_ms: u64,
    /// A file with a JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// The `iss` that tokens by keys of the set must have.
    #[schemars(length(min = 1, max = ISSUER_BYTES_MAX))]
    pub jwks_issuer: Option<String>,
    /// The tenant that those with such a token belong to; absent: to none.
    pub jwks_tenant: Option<String>,
    /// Roles.
    pub role: Vec<RoleConfig>,
    /// Keys that tokens are verified with.
    pub token_key: Vec<TokenKeyConfig>,
    /// API keys.
    pub api_key: Vec<ApiKeyConfig>,
    /// Accounts of those who show a certificate.
    pub certificate: Vec<CertificateConfig>,
    /// For which polls tickets are given out to people without an account; the first that matches decides.
    pub ticket: Vec<TicketConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            anonymous_roles: None,
            audience: None,
            leeway_ms: 5_000,
            jwks_file: None,
            jwks_issuer: None,
            jwks_tenant: None,
            role: Vec::new(),
            token_key: Vec::new(),
            api_key: Vec::new(),
            certificate: Vec::new(),
            ticket: Vec::new(),
        }
    }
}

/// Tickets for polls: each lets somebody without an account vote in one poll.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TicketConfig {
    /// Pattern of the polls.
    pub polls: String,
    /// How long a ticket is good.
    #[serde(default = "ticket_lifetime_ms")]
    #[schemars(range(min = 60_000, max = 2_592_000_000_u64))]
    pub lifetime_ms: u64,
    /// Tickets of one poll that an address (of IPv6: a /64) has at a time.
    #[serde(default = "address_tickets_max")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub address_tickets_max: u32,
}

fn ticket_lifetime_ms() -> u64 {
    3_600_000
}

fn address_tickets_max() -> u32 {
    5
}

/// A role.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// Its name.
    pub name: String,
    /// Whether it may vote and be present in the name of others.
    #[serde(default)]
    pub acts_for_others: bool,
    /// What it allows; the first rule that matches a name decides.
    #[serde(default)]
    pub rules: Vec<Grant>,
}

/// A key that tokens are verified with.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKeyConfig {
    /// The `kid` of its tokens.
    pub id: Option<String>,
    /// The one algorithm that it is for.
    pub algorithm: Algorithm,
    /// The public key in PEM form, or the secret.
    pub file: PathBuf,
    /// The `iss` of its tokens; absent: they speak of local people.
    #[schemars(length(min = 1, max = ISSUER_BYTES_MAX))]
    pub issuer: Option<String>,
    /// The roles that its tokens may name; absent: all.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Whether its tokens may bring rules of their own.
    #[serde(default = "yes")]
    pub may_bring_rules: bool,
    /// The tenant that those with its tokens belong to; absent: to none.
    #[serde(default)]
    pub tenant: Option<String>,
}

fn yes() -> bool {
    true
}

/// An API key.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// The subject of its connections.
    pub name: String,
    /// SHA-256 of the key.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"), extend("writeOnly" = true))]
    pub sha256: String,
    /// Who knows the people that it acts for; absent: local people.
    #[schemars(length(min = 1, max = ISSUER_BYTES_MAX))]
    pub issuer: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// The tenant that it belongs to; absent: to none.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// An account of who shows a certificate.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// A name that stands in the certificate (`subjectAltName`): a URI or a DNS name.
    pub name: String,
    /// The subject of its connections; absent: the name.
    pub subject: Option<String>,
    /// Who knows the people that it acts for; absent: local people.
    #[schemars(length(min = 1, max = ISSUER_BYTES_MAX))]
    pub issuer: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// The tenant that it belongs to; absent: to none.
    #[serde(default)]
    pub tenant: Option<String>,
}

impl CertificateConfig {
    /// The subject of its connections.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or(&self.name)
    }
}

impl AuthConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse =
            |key: String, rule: &str| Err(ConfigError::Value { key, rule: rule.to_owned() });
        if self.jwks_issuer.is_some() && self.jwks_file.is_none() {
            return refuse("auth.jwks_issuer".to_owned(), "is for jwks_file, which is not there");
        }
        if self.jwks_tenant.is_some() && self.jwks_file.is_none() {
            return refuse("auth.jwks_tenant".to_owned(), "is for jwks_file, which is not there");
        }
        if self.audience.as_deref() == Some("") {
            return refuse("auth.audience".to_owned(), "is empty: leave it out");
        }
        let keys = self.token_key.iter().enumerate();
        let keys = keys.map(|(at, key)| (format!("auth.token_key[{at}].issuer"), &key.issuer));
        let api = self.api_key.iter().enumerate();
        let api = api.map(|(at, key)| (format!("auth.api_key[{at}].issuer"), &key.issuer));
        let set = [("auth.jwks_issuer".to_owned(), &self.jwks_issuer)];
        let shown = self.certificate.iter().enumerate();
        let shown = shown.map(|(at, key)| (format!("auth.certificate[{at}].issuer"), &key.issuer));
        for (key, issuer) in keys.chain(api).chain(shown).chain(set) {
            let is_wrong = |issuer: &String| issuer.is_empty() || issuer.len() > ISSUER_BYTES_MAX;
            if issuer.as_ref().is_some_and(is_wrong) {
                return refuse(key, "has 1 to 256 bytes");
            }
        }
        for (at, key) in self.api_key.iter().enumerate() {
            let mut before = self.api_key.iter().take(at);
            if before.any(|other| other.sha256.eq_ignore_ascii_case(&key.sha256)) {
                return refuse(format!("auth.api_key[{at}].sha256"), "another key has the same");
            }
        }
        for (at, ticket) in self.ticket.iter().enumerate() {
            if let Err(refusal) = Pattern::parse(&ticket.polls) {
                return refuse(format!("auth.ticket[{at}].polls"), &refusal.message);
            }
        }
        self.check_ticket_names()?;
        for (at, account) in self.certificate.iter().enumerate() {
            let mut before = self.certificate.iter().take(at);
            if before.any(|other| other.name == account.name) {
                return refuse(
                    format!("auth.certificate[{at}].name"),
                    "another account has the same",
                );
            }
        }
        Ok(())
    }

    /// The tenants of all keys, each with the key of the configuration that names it.
    pub(super) fn tenants(&self) -> Vec<(String, &str)> {
        let token = self.token_key.iter().map(|key| &key.tenant).enumerate();
        let api = self.api_key.iter().map(|key| &key.tenant).enumerate();
        let shown = self.certificate.iter().map(|account| &account.tenant).enumerate();
        let all = token.map(|key| ("token_key", key)).chain(api.map(|key| ("api_key", key)));
        let all = all.chain(shown.map(|account| ("certificate", account)));
        let of_keys = all.filter_map(|(kind, (at, tenant))| {
            Some((format!("auth.{kind}[{at}].tenant"), tenant.as_deref()?))
        });
        let of_set = self.jwks_tenant.as_deref();
        of_keys.chain(of_set.map(|tenant| ("auth.jwks_tenant".to_owned(), tenant))).collect()
    }

    /// What is valid and may let in more than was meant, a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.jwks_file.is_some() && (self.jwks_issuer.is_none() || self.audience.is_none()) {
            warnings.push(
                "auth.jwks_file: without jwks_issuer and audience every token that one of its keys \
                 has signed is taken, whoever it was made for"
                    .to_owned(),
            );
        }
        let keys = self.token_key.iter().map(|key| &key.issuer);
        let api = self.api_key.iter().map(|key| &key.issuer);
        let set = self.jwks_file.iter().map(|_| &self.jwks_issuer);
        let shown = self.certificate.iter().map(|account| &account.issuer);
        let issuers: BTreeSet<&str> = keys
            .chain(api)
            .chain(shown)
            .chain(set)
            .map(|issuer| issuer.as_deref().unwrap_or(LOCAL_IDENTITY))
            .collect();
        let is_own =
            |role: &RoleConfig| role.rules.iter().any(|rule| rule.names.contains("{identity}"));
        for (at, account) in self.certificate.iter().enumerate() {
            let subject = account.subject();
            let has_own = |role: &&RoleConfig| account.roles.contains(&role.name) && is_own(role);
            if !is_token(subject)
                && let Some(role) = self.role.iter().find(has_own)
            {
                warnings.push(format!(
                    "auth.certificate[{at}]: {{identity}} in role '{}' matches nothing, since '{subject}' \
                     is not one token of a name: give it a subject without dots, wildcards or white space",
                    role.name
                ));
            }
        }
        if issuers.len() > 1 && self.role.iter().any(is_own) {
            warnings.push(
                "auth.role: {identity} is the subject, whoever its issuer is, and there are several \
                 issuers: two of them may mean different people by one name"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Who speaks for tickets is the server alone.
    fn check_ticket_names(&self) -> Result<(), ConfigError> {
        let keys = self.token_key.iter().enumerate();
        let named = keys.flat_map(|(at, key)| {
            let is_id = key.id.as_deref() == Some(TICKET_KEY_ID);
            let is_issuer = key.issuer.as_deref() == Some(TICKET_ISSUER);
            let id = is_id.then(|| (format!("auth.token_key[{at}].id"), TICKET_KEY_ID));
            let issuer = is_issuer.then(|| (format!("auth.token_key[{at}].issuer"), TICKET_ISSUER));
            id.into_iter().chain(issuer)
        });
        let is_set = self.jwks_issuer.as_deref() == Some(TICKET_ISSUER);
        let set = is_set.then(|| ("auth.jwks_issuer".to_owned(), TICKET_ISSUER));
        match named.chain(set).next() {
            Some((key, word)) => {
                let rule = format!("'{word}' stands for the tickets of the server itself");
                Err(ConfigError::Value { key, rule })
            }
            None => Ok(()),
        }
    }

    /// Whether a configuration says that there are accounts.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        self.anonymous_roles.is_some()
            || self.jwks_file.is_some()
            || !self.token_key.is_empty()
            || !self.api_key.is_empty()
            || !self.certificate.is_empty()
            || !self.ticket.is_empty()
    }
}

/// Whether a subject can stand for `{identity}`.
fn is_token(subject: &str) -> bool {
    !subject.contains('.') && Name::parse(subject).is_ok()
}
