//! The property that fuzzing checks.

use std::sync::LazyLock;

use jsonwebtoken::DecodingKey;
use tidewire_protocol::ErrorCode;

use super::issue::{Issue, issue};
use super::keys::{Algorithm, TokenKey};
use super::token::{self, Claims};

const SECRET: &[u8] = b"the secret that fuzzing signs with";

/// One key, for that secret.
static KEYS: LazyLock<Vec<TokenKey>> = LazyLock::new(|| {
    let of = |decoding| TokenKey {
        id: None,
        algorithm: Algorithm::Hs256,
        decoding,
        issuer: None,
        roles: None,
        may_bring_rules: true,
        tenant: None,
    };
    DecodingKey::from_secret(SECRET).into_iter().map(of).collect()
});

/// No text is a token, unless it was signed; what was signed says afterwards what it said before, and a refusal
/// is one that a client understands.
pub fn token(input: &[u8]) {
    assert_eq!(KEYS.len(), 1);
    let text = String::from_utf8_lossy(input);
    if let Err(refusal) = token::verify(&KEYS, None, &text) {
        assert_eq!(refusal.code, ErrorCode::Unauthenticated);
        assert!(refusal.message.len() < 4096, "a refusal repeats what it refuses");
        assert!(!refusal.message.chars().any(char::is_control), "{:?}", refusal.message);
    }
    let Ok(claims) = serde_json::from_slice::<Claims>(input) else { return };
    let said = Claims { aud: None, iss: None, ..claims };
    let signing =
        Issue { algorithm: Algorithm::Hs256, key: SECRET, key_id: None, claims: said.clone() };
    let signed = issue(&signing);
    match signed.as_deref().map(|signed| token::verify(&KEYS, None, signed)) {
        Ok(Ok(verified)) => {
            assert_eq!((&verified.claims, &verified.tenant), (&said, &None));
            // At the end of time nothing counts any more, and no sum runs over.
            assert!(verified.claims.check_times(u64::MAX, u64::MAX).is_err());
        }
        Ok(Err(refusal)) => assert_eq!(refusal.code, ErrorCode::Unauthenticated),
        Err(_not_signed) => {}
    }
}
