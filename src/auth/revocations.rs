//! Credentials that do not count any more, though their signature holds.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewire_protocol::Refusal;

use super::{Proven, TokenMarks, refuse};
use crate::whole_file;

/// Name of the file in the data directory.
const FILE: &str = "revocations.json";
/// Revocations in all.
const ENTRIES_MAX: usize = 100_000;

/// What is revoked. Subjects are those of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocations {
    /// Tokens by their `jti`, with the Unix time in milliseconds at which that was said.
    #[serde(default)]
    tokens: BTreeMap<String, u64>,
    /// By issuer and subject: tokens that were issued until then (`iat`), and those that do not say when.
    #[serde(default)]
    subjects: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Why something is not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is damaged ({what}): restore it from a copy, or remove it to revoke nothing")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Nobody's tokens would be revoked.
    #[error("no key for tokens speaks for this issuer: name one that does (--issuer)")]
    Issuer,
    /// There are too many.
    #[error(
        "at most {ENTRIES_MAX} revocations are kept: change the key of the tokens in their place"
    )]
    Full,
}

/// Whom a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Revoke {
    /// A token, by its `jti`.
    Token(String),
    /// All tokens of a subject so far.
    Subject {
        /// Who knows the subject; nothing: local people.
        issuer: Option<String>,
        /// The subject.
        subject: String,
    },
}

impl Revocations {
    /// Those of a data directory; none without one.
    ///
    /// # Errors
    /// When there is a file that cannot be read: what was revoked would count again.
    pub(crate) fn read(directory: Option<&Path>) -> Result<Self, RevocationError> {
        let Some(path) = directory.map(|directory| directory.join(FILE)) else {
            return Ok(Self::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RevocationError::Io { path, source }),
        };
        serde_json::from_str(&text)
            .map_err(|error| RevocationError::Damaged { path, what: error.to_string() })
    }

    /// The same with one more, and on disk if there is a directory.
    ///
    /// # Errors
    /// When it cannot be written, or there are too many.
    pub(crate) fn with(
        &self,
        revoke: &Revoke,
        now_ms: u64,
        directory: Option<&Path>,
    ) -> Result<Self, RevocationError> {
        let mut more = self.clone();
        match revoke {
            Revoke::Token(id) => {
                more.tokens.insert(id.clone(), now_ms);
            }
            Revoke::Subject { issuer, subject } => {
                let issuer = issuer.as_deref().unwrap_or(super::LOCAL_ISSUER);
                let subjects = more.subjects.entry(issuer.to_owned()).or_default();
                subjects.insert(subject.clone(), now_ms);
            }
        }
        if more.len() > ENTRIES_MAX {
            return Err(RevocationError::Full);
        }
        if let Some(path) = directory.map(|directory| directory.join(FILE)) {
            let text = serde_json::to_vec(&more)
                .map_err(io::Error::other)
                .and_then(|text| whole_file::replace(&path, &text, 0o600));
            text.map_err(|source| RevocationError::Io { path, source })?;
        }
        Ok(more)
    }

    /// Number of revocations.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len() + self.subjects.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Refuses who has been revoked.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub(crate) fn check(&self, proven: &Proven, leeway_ms: u64) -> Result<(), Refusal> {
        // An API key goes from the configuration, and who shows nothing has nothing to be taken.
        let Some(TokenMarks { id, issued_at_ms }) = &proven.token else { return Ok(()) };
        if id.as_ref().is_some_and(|id| self.tokens.contains_key(id)) {
            return Err(refuse("the token has been revoked"));
        }
        let subjects = self.subjects.get(&*proven.identity.issuer);
        let until_ms = subjects.and_then(|subjects| subjects.get(&*proven.identity.subject));
        match until_ms {
            // By an issuer whose clock is ahead, a token may be older than it says.
            Some(until_ms)
                if issued_at_ms.is_none_or(|at_ms| at_ms <= until_ms.saturating_add(leeway_ms)) =>
            {
                Err(refuse("the tokens of this subject have been revoked: get a new one"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::access::Identity;

    use super::*;

    fn proven(id: Option<&str>, subject: &str, issued_at_ms: Option<u64>) -> Proven {
        Proven {
            identity: Identity { issuer: "local".into(), subject: subject.into() },
            roles: Vec::new(),
            grants: Vec::new(),
            expires_at_ms: Some(100_000),
            token: Some(TokenMarks { id: id.map(str::to_owned), issued_at_ms }),
            is_somebody: true,
            tenant: None,
        }
    }

    #[test]
    fn what_is_revoked_stays_so_through_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Some(folder.path());
        let none = Revocations::read(directory).unwrap();
        let ann = Revoke::Subject { issuer: None, subject: "ann".to_owned() };
        let some = none.with(&Revoke::Token("7".to_owned()), 5_000, directory).unwrap();
        some.with(&ann, 5_000, directory).unwrap();
        let read = Revocations::read(directory).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read.check(&proven(Some("7"), "bob", None), 500).is_err());
        assert!(read.check(&proven(Some("8"), "bob", None), 500).is_ok());
        assert!(
            read.check(&proven(None, "ann", None), 500).is_err(),
            "it does not say when it was issued"
        );
        assert!(read.check(&proven(None, "ann", Some(5_000)), 500).is_err());
        assert!(read.check(&proven(None, "ann", Some(6_000)), 500).is_ok(), "a new one");
        let mut other = proven(None, "ann", None);
        other.identity.issuer = "https://id.example".into();
        assert!(read.check(&other, 500).is_ok(), "another's ann");

        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let damaged = Revocations::read(directory).unwrap_err().to_string();
        assert!(damaged.contains("damaged") && damaged.contains(FILE), "{damaged}");
        assert_eq!(Revocations::read(None).unwrap().len(), 0);
    }
}
