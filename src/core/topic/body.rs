//! The records of a batch: in memory, or to be recalled from the shard's log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The records' encodings, one after the other, or how many bytes they take where they lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// In memory.
    Warm(Bytes),
    /// On disk only, so many bytes.
    Cold(u32),
}

impl Body {
    /// Bytes of the records, wherever they are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Warm(bytes) => bytes.len(),
            Self::Cold(bytes) => *bytes as usize,
        }
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records, if they are in memory.
    #[must_use]
    #[inline]
    pub fn warm(&self) -> Option<&Bytes> {
        match self {
            Self::Warm(bytes) => Some(bytes),
            Self::Cold(_) => None,
        }
    }

    /// Whether they are on disk only.
    #[must_use]
    #[inline]
    pub fn is_cold(&self) -> bool {
        matches!(self, Self::Cold(_))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Warm(bytes)
    }
}
