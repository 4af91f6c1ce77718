//! Making tokens, for operators and for tests.

use jsonwebtoken::{EncodingKey, Header, encode};

use super::keys::{Algorithm, SECRET_BYTES_MIN};
use super::token::Claims;

/// What a token is to say.
#[derive(Clone, Debug)]
pub(crate) struct Issue<'a> {
    pub(crate) algorithm: Algorithm,
    /// The private key in PEM form, or the secret, to the last byte.
    pub(crate) key: &'a [u8],
    /// The key's id, if it has one.
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Claims,
}

/// Signs a token.
///
/// # Errors
/// When the key is none for the algorithm.
pub(crate) fn issue(issue: &Issue<'_>) -> Result<String, String> {
    let Issue { algorithm, key, key_id, claims } = issue;
    let encoding = match algorithm {
        Algorithm::EdDsa => EncodingKey::from_ed_pem(key),
        Algorithm::Es256 => EncodingKey::from_ec_pem(key),
        Algorithm::Rs256 => EncodingKey::from_rsa_pem(key),
        Algorithm::Hs256 if key.len() < SECRET_BYTES_MIN => {
            return Err(format!("a secret for HS256 has at least {SECRET_BYTES_MIN} bytes"));
        }
        Algorithm::Hs256 => EncodingKey::from_secret(key),
    };
    let wrong = |error| format!("the key is no private key for {}: {error}", algorithm.as_str());
    let mut header = Header::new(algorithm.of_jwt());
    header.kid.clone_from(key_id);
    encode(&header, claims, &encoding.map_err(wrong)?).map_err(wrong)
}
