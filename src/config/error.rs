//! Why a configuration is refused.

use std::path::PathBuf;

use super::place::Place;
use crate::auth::AuthError;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Something in the file.
    #[error("{place}: {}{rule}{}", label(key.as_deref()), place.shown())]
    Placed {
        /// Where.
        place: Box<Place>,
        /// The key, if it is about one.
        key: Option<String>,
        /// The rule.
        rule: String,
    },
    /// Something that a variable or a flag says.
    #[error("{by}: {}{rule}", label(key.as_deref()))]
    Set {
        /// The variable or the flag, with its value.
        by: String,
        /// The key, if there is one.
        key: Option<String>,
        /// The rule.
        rule: String,
    },
    /// A value breaks a rule.
    #[error("configuration: {key}: {rule}")]
    Value {
        /// The key.
        key: String,
        /// The rule.
        rule: String,
    },
    /// Two values do not go together.
    #[error("configuration: {key}: {rule}")]
    Together {
        /// The key that is refused.
        key: String,
        /// The one that it does not go together with; one of the two may be a default.
        other: String,
        /// The rule.
        rule: String,
    },
}

impl ConfigError {
    /// The key that it is about, if it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Read { .. } => None,
            Self::Placed { key, .. } | Self::Set { key, .. } => key.as_deref(),
            Self::Value { key, .. } | Self::Together { key, .. } => Some(key),
        }
    }

    /// All of it but the line of the file, for a log.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }
}

impl From<AuthError> for ConfigError {
    fn from(error: AuthError) -> Self {
        let (key, rule) = error.into_parts();
        Self::Value { key, rule }
    }
}

fn label(key: Option<&str>) -> String {
    key.map(|key| format!("{key}: ")).unwrap_or_default()
}
