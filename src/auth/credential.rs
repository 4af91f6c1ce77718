//! What connections show.

use std::fmt;
use std::sync::Arc;

use super::{ClientCertificate, api_key};

/// What a connection showed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Nothing,
    Token {
        token: Arc<str>,
    },
    /// The SHA-256 of an API key.
    ApiKey([u8; 32]),
    /// A certificate, and no token.
    Certificate(Arc<ClientCertificate>),
}

impl Credential {
    /// What was shown counts, and a certificate if nothing was.
    pub(crate) fn of(shown: Option<&str>, certificate: Option<&Arc<ClientCertificate>>) -> Self {
        match shown {
            None | Some("") => match certificate {
                Some(certificate) => Self::Certificate(Arc::clone(certificate)),
                None => Self::Nothing,
            },
            Some(key) if api_key::looks_like_one(key) => Self::ApiKey(api_key::digest(key)),
            Some(token) => Self::Token { token: token.into() },
        }
    }
}

/// Without what it is: whoever has it, has what it proves.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Token { .. } => "a token",
            Self::ApiKey(_) => "an API key",
            Self::Certificate(_) => "a certificate",
        })
    }
}
