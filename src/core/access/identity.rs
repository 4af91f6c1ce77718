//! Who a connection is.

use alloc::sync::Arc;

use super::Permissions;

pub use tidewire_protocol::tally::LOCAL_IDENTITY as LOCAL_ISSUER;

/// Somebody, as an issuer of identities knows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Who says so.
    pub issuer: Arc<str>,
    /// The name that the issuer has for them.
    pub subject: Arc<str>,
}

/// A voter, before it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voter<'a> {
    /// Who says who the voter is.
    pub issuer: &'a str,
    /// The name that the issuer has for the voter.
    pub subject: &'a str,
}

/// What has been found out about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who it is.
    pub identity: Identity,
    /// What it may do.
    pub permissions: Arc<Permissions>,
    /// When it ends, Unix milliseconds of the dispatcher's clock.
    pub expires_at_ms: Option<u64>,
}

impl Access {
    /// Of nobody, who may do nothing.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            identity: Identity { issuer: LOCAL_ISSUER.into(), subject: "nobody".into() },
            permissions: Arc::default(),
            expires_at_ms: None,
        }
    }
}
