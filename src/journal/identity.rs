//! Whose data directory it is, and in which format.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::whole_file;

/// Name of the file in the data directory.
const FILE: &str = "storage.json";
/// The format of data directories that is written and read.
const FORMAT: u32 = 1;

/// What is fixed for the life of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    format: u32,
    /// Name of the node.
    node: String,
    /// Epoch of the cells: when the directory was made, Unix milliseconds.
    pub(crate) epoch: u64,
    /// What tells the master key apart from others, without showing it.
    master_key: String,
}

/// What tells a data directory apart from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryId {
    /// When it was made, Unix milliseconds.
    pub(crate) made_ms: u64,
    /// What tells its master key apart from others.
    pub(crate) master_key: String,
}

/// Why a data directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is damaged ({what}): restore it from a copy of the data directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A later release has made it, or an earlier one whose format is not read any more.
    #[error(
        "the data directory has format {found}, and this release reads format {FORMAT}: use the \
         release that made it"
    )]
    Format {
        /// Its format.
        found: u32,
    },
    /// It belongs to another node.
    #[error(
        "the data directory belongs to node '{found}', and this is node '{node}': use its own, or \
         set `node` to '{found}'"
    )]
    Node {
        /// Its node.
        found: String,
        /// This node.
        node: String,
    },
    /// There is a journal and nothing that says whose it is.
    #[error(
        "{path} holds a journal, and {FILE} is missing, which says whose it is: restore it from a \
         copy, or move the journal away"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The master key is another one.
    #[error(
        "the master key is not the one that the data directory was made with, so its voters would \
         not be recognised: put the right file in place (storage.master_key_file)"
    )]
    Key,
}

impl Identity {
    pub(crate) fn directory(&self) -> DirectoryId {
        DirectoryId { made_ms: self.epoch, master_key: self.master_key.clone() }
    }

    /// What the directory says, if it is not a new one.
    ///
    /// # Errors
    /// When it cannot be read, or has another format.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        #[derive(Deserialize)]
        struct OnlyFormat {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            let what = error.to_string();
            IdentityError::Damaged { path: path.clone(), what }
        };
        // The format is looked at first: other fields are its business.
        let OnlyFormat { format } = serde_json::from_str(&text).map_err(damaged)?;
        if format != FORMAT {
            return Err(IdentityError::Format { found: format });
        }
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Makes a directory this node's own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(
        directory: &Path,
        node: &str,
        epoch: u64,
        master_key: &str,
    ) -> Result<Self, IdentityError> {
        let identity = Self {
            format: FORMAT,
            node: node.to_owned(),
            epoch,
            master_key: master_key.to_owned(),
        };
        let path = directory.join(FILE);
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(&identity)?;
            text.push(b'\n');
            whole_file::replace(&path, &text, 0o644)
        };
        write().map_err(|source| IdentityError::Io { path: path.clone(), source })?;
        Ok(identity)
    }

    /// Whether it is this node's, with this master key.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn check(&self, node: &str, master_key: &str) -> Result<(), IdentityError> {
        if self.node != node {
            let (found, node) = (self.node.clone(), node.to_owned());
            return Err(IdentityError::Node { found, node });
        }
        if self.master_key != master_key {
            return Err(IdentityError::Key);
        }
        Ok(())
    }
}
