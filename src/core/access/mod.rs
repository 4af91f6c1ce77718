//! Access: who a connection is, and what it may do with which names.
//!
//! A connection without an [`Access`] may do everything: the server has no accounts. What an access
//! says is decided once per name and remembered by the dispatcher (`fanout/access.rs`).

mod identity;
mod operation;
mod permissions;
mod tenant;
#[cfg(test)]
mod tests;

pub use identity::{Access, Identity, LOCAL_ISSUER, Voter};
pub use operation::{Operation, Operations};
pub use permissions::{Permissions, Rule, RuleList, Verdict};
pub use tenant::{Tenant, is_under};
