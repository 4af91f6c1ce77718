//! JSON Web Tokens (RFC 7519): the signature, by a key whose algorithm is fixed, and the claims.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use tidewire_core::access::Tenant;
use tidewire_protocol::Refusal;

use super::keys::TokenKey;
use super::refuse;
use super::roles::Grant;
use super::ticket::TICKET_KEY_ID;

/// Longest token in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Characters of what is wrong with it.
const SHOWN_CHARS_MAX: usize = 120;
/// Roles and rules of its own that a token may hold.
const ROLES_MAX: usize = 64;

/// The claims that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iss: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aud: Option<String>,
    /// Unix seconds, as the next two.
    pub(crate) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) permissions: Vec<Grant>,
}

/// The claims as they come: `aud` may be one or several, and was looked at with the signature.
#[derive(Deserialize)]
struct Raw {
    sub: String,
    iss: Option<String>,
    exp: serde_json::Number,
    nbf: Option<serde_json::Number>,
    iat: Option<serde_json::Number>,
    jti: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    permissions: Vec<Grant>,
}

/// What a token says, and whose its key is.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) claims: Claims,
    /// The tenant of its key. No token says its own.
    pub(super) tenant: Option<Tenant>,
}

/// Checks a token's signature, issuer and audience; the times are [`Claims::check_times`].
///
/// # Errors
/// `unauthenticated`, with what is wrong.
pub(super) fn verify(
    keys: &[TokenKey],
    audience: Option<&str>,
    token: &str,
) -> Result<Verified, Refusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refuse(format!("a token has at most {TOKEN_BYTES_MAX} bytes")));
    }
    let header = decode_header(token).map_err(|error| {
        let error: String = error.to_string().escape_default().take(SHOWN_CHARS_MAX).collect();
        refuse(format!("the token cannot be read ({error}): it is neither a JWT nor an API key"))
    })?;
    let key = choose(keys, header.kid.as_deref())?;
    if header.alg != key.algorithm.of_jwt() {
        let id = key.id.as_deref().unwrap_or("without an id");
        return Err(refuse(format!(
            "the token is signed with {:?}, and key '{}' is for {} only",
            header.alg,
            id.escape_default(),
            key.algorithm.as_str()
        )));
    }
    let mut validation = Validation::new(key.algorithm.of_jwt());
    // These are held against the server's clock, not the library's.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["exp", "sub"]);
    match audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "sub", "aud"]);
        }
        None => validation.validate_aud = false,
    }
    let raw = decode::<Raw>(token, &key.decoding, &validation).map_err(|error| said(&error))?;
    let Raw { sub, iss, exp, nbf, iat, jti, roles, permissions } = raw.claims;
    if roles.len() > ROLES_MAX || permissions.len() > ROLES_MAX {
        return Err(refuse(format!("a token has at most {ROLES_MAX} roles and as many rules")));
    }
    // A key speaks for its issuer only; without one it speaks for the local one.
    let iss = match (&key.issuer, iss) {
        (Some(wanted), Some(iss)) if *wanted == iss => Some(iss),
        (Some(wanted), found) => {
            let found = found.unwrap_or_else(|| "nobody".to_owned());
            return Err(refuse(format!(
                "the token is issued by '{}', and its key is for '{}' only",
                found.escape_default(),
                wanted.escape_default()
            )));
        }
        (None, _) => None,
    };
    check_trust(key, &roles, &permissions)?;
    let exp = seconds("exp", &exp)?;
    let nbf = nbf.map(|nbf| seconds("nbf", &nbf)).transpose()?;
    let iat = iat.map(|iat| seconds("iat", &iat)).transpose()?;
    let claims = Claims { sub, iss, aud: None, exp, nbf, iat, jti, roles, permissions };
    Ok(Verified { claims, tenant: key.tenant.clone() })
}

/// A key may be trusted with some roles only, and not with rules.
fn check_trust(key: &TokenKey, roles: &[String], rules: &[Grant]) -> Result<(), Refusal> {
    let is_beyond = |role: &&String| key.roles.as_ref().is_some_and(|may| !may.contains(role));
    if let Some(role) = roles.iter().find(is_beyond) {
        let role = role.escape_default();
        return Err(refuse(format!("the token's key may not give role '{role}'")));
    }
    if !rules.is_empty() && !key.may_bring_rules {
        return Err(refuse("the token brings rules of its own, and its key may not"));
    }
    Ok(())
}

/// The key of a token: the one with its id; without an id the only one of the configuration.
fn choose<'a>(keys: &'a [TokenKey], id: Option<&str>) -> Result<&'a TokenKey, Refusal> {
    match id {
        Some(id) => {
            let found = keys.iter().find(|key| key.id.as_deref() == Some(id));
            found.or_else(|| only(keys).filter(|key| key.id.is_none())).ok_or_else(|| {
                refuse(format!("the token's key '{}' is not known", id.escape_default()))
            })
        }
        None => only(keys).ok_or_else(|| {
            refuse("the token does not name its key ('kid'), and there is not exactly one")
        }),
    }
}

/// The only key beside that of tickets, which all name it.
fn only(keys: &[TokenKey]) -> Option<&TokenKey> {
    let mut others = keys.iter().filter(|key| key.id.as_deref() != Some(TICKET_KEY_ID));
    others.next().filter(|_| others.next().is_none())
}

fn seconds(claim: &str, number: &serde_json::Number) -> Result<u64, Refusal> {
    // RFC 7519 allows fractions of a second.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest number that there is"
    )]
    let whole = || number.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    number
        .as_u64()
        .or_else(whole)
        .ok_or_else(|| refuse(format!("the token's '{claim}' is no time in Unix seconds")))
}

fn said(error: &jsonwebtoken::errors::Error) -> Refusal {
    let kind = error.kind();
    refuse(if *kind == ErrorKind::InvalidSignature {
        "the token's signature is wrong".to_owned()
    } else if *kind == ErrorKind::InvalidAudience {
        "the token is meant for somebody else ('aud')".to_owned()
    } else if let ErrorKind::MissingRequiredClaim(claim) = kind {
        format!("the token lacks '{claim}'")
    } else {
        format!("the token cannot be used: {error}")
    })
}

impl Claims {
    /// Holds the times against the clock.
    ///
    /// # Errors
    /// `unauthenticated`: it is too early or too late.
    pub(super) fn check_times(&self, now_ms: u64, leeway_ms: u64) -> Result<(), Refusal> {
        if self.expires_at_ms(leeway_ms) <= now_ms {
            let since = now_ms / 1000 - self.exp.min(now_ms / 1000);
            return Err(refuse(format!("the token has expired, {since} s ago")));
        }
        let nbf_ms = self.nbf.unwrap_or(0).saturating_mul(1000);
        if nbf_ms > now_ms.saturating_add(leeway_ms) {
            let left = (nbf_ms - now_ms) / 1000;
            return Err(refuse(format!("the token is not valid yet, for another {left} s")));
        }
        Ok(())
    }

    /// When its connection ends.
    pub(super) fn expires_at_ms(&self, leeway_ms: u64) -> u64 {
        self.exp.saturating_mul(1000).saturating_add(leeway_ms)
    }
}
