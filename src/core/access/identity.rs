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
    /// Whether it may vote and be present in the name of others (a back end does).
    pub acts_for_others: bool,
    /// When it ends, Unix milliseconds.
    pub expires_at_ms: Option<u64>,
}
