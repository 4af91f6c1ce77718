//! Tenants: a prefix of names, beyond which nothing is allowed.

use alloc::format;
use core::fmt;

use tidewire_protocol::{ErrorCode, Name, Pattern, Refusal};

/// The tenant that somebody belongs to. Whatever rules say, only the names under its prefix are theirs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tenant {
    prefix: Name,
    /// What it confines to, `acme.>`.
    names: Pattern,
}

impl Tenant {
    /// The tenant whose names begin with these tokens.
    ///
    /// # Errors
    /// `invalid_name` for a prefix that is no name, is the server's, or leaves no room for more.
    pub fn parse(prefix: &str) -> Result<Self, Refusal> {
        let prefix = Name::parse(prefix)?;
        if prefix.is_system() {
            let message = format!("'{prefix}': names that start with '$' belong to the server");
            return Err(Refusal::new(ErrorCode::InvalidName, message));
        }
        let names = Pattern::parse(&format!("{prefix}.>"))?;
        Ok(Self { prefix, names })
    }

    /// What its names begin with.
    #[must_use]
    pub fn prefix(&self) -> &Name {
        &self.prefix
    }

    /// The pattern of its names.
    #[must_use]
    pub fn names(&self) -> &Pattern {
        &self.names
    }

    /// Whether a name is one of its own.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        is_under(name, &self.prefix)
    }
}

/// Whether a name begins with the tokens of a prefix, and goes on.
#[must_use]
pub fn is_under(name: &Name, prefix: &Name) -> bool {
    let rest = name.as_str().strip_prefix(prefix.as_str());
    rest.is_some_and(|rest| rest.starts_with('.'))
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant '{}'", self.prefix)
    }
}

/// As refusals name it, with what it has.
impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant '{}' has only names of '{}'", self.prefix, self.names)
    }
}
