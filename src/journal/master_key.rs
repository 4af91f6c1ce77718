//! The master key: what voters are hashed with. It lies outside the data directory, so that a copy
//! of that shows nobody's vote.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;

use crate::whole_file;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot use the master key {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not a key.
    #[error("{path} is no master key: it has to hold 64 hexadecimal digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The data directory was made with a key that is not there.
    #[error(
        "the master key {path} is missing, and without it the voters in the data directory are not \
         recognised: put it back, or name its file (storage.master_key_file)"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system's random source does not answer, and without it no key can be made")]
    Random,
}

/// The master key of a node.
pub(crate) struct MasterKey {
    key: [u8; KEY_BYTES],
}

impl MasterKey {
    /// A key that nobody keeps.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub(crate) fn random() -> Result<Self, KeyError> {
        let mut key = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut key).map_err(|_unspecified| KeyError::Random)?;
        Ok(Self { key })
    }

    /// Reads the key in a file.
    ///
    /// # Errors
    /// When it is not there, or not a key.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            let (is_missing, path) = (source.kind() == io::ErrorKind::NotFound, path.to_owned());
            if is_missing { KeyError::Missing { path } } else { KeyError::Io { path, source } }
        })?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        let digits = text.trim_end().as_bytes();
        let mut key = [0; KEY_BYTES];
        if digits.len() != 2 * KEY_BYTES {
            return Err(malformed());
        }
        for (byte, digits) in key.iter_mut().zip(digits.chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_other| malformed())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_other| malformed())?;
        }
        Ok(Self { key })
    }

    /// Makes a key in a file that only this user reads, in place of any that is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self, KeyError> {
        let made = Self::random()?;
        let text = format!("{}\n", hexadecimal(&made.key));
        whole_file::replace(path, text.as_bytes(), 0o600)
            .map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        Ok(made)
    }

    /// What tells it apart from other keys, without showing it.
    pub(crate) fn fingerprint(&self) -> String {
        let tag = hmac::sign(&self.voter_key(), b"tidewire master key fingerprint");
        hexadecimal(tag.as_ref().get(..FINGERPRINT_BYTES).unwrap_or_default())
    }

    /// The key that voters are hashed with.
    pub(crate) fn voter_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.key)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_a_broken_or_missing_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(matches!(MasterKey::read(&path), Err(KeyError::Missing { .. })));
        let made = MasterKey::create(&path).unwrap();
        assert_eq!(MasterKey::read(&path).unwrap().fingerprint(), made.fingerprint());
        assert_ne!(MasterKey::random().unwrap().fingerprint(), made.fingerprint());
        for text in ["", "00", &"g".repeat(64), &"00".repeat(33)] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(MasterKey::read(&path), Err(KeyError::Malformed { .. })), "{text}");
        }
    }
}
