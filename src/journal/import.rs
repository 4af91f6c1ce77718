//! A journal that is made from saved states, as from a backup.

use std::io;
use std::path::{Path, PathBuf};

use tidewire_core::shard::ShardSnapshot;

use super::checkpoint::{self, Record};
use super::identity::Identity;
use super::master_key::{KeyError, MasterKey};
use super::storage::{JOURNAL, StorageError, beside};
use super::store::{Disk as _, OpenError, Store};

/// How long a new database may take to open.
const OPEN_TIMEOUT_MS: u64 = 60_000;

/// Whether there is a journal in a directory, or something that belongs to one.
pub(crate) fn is_in_use(directory: &Path) -> bool {
    [JOURNAL, "storage.json", "ends"].iter().any(|name| directory.join(name).exists())
}

/// A journal that is being made.
pub(crate) struct Import {
    directory: PathBuf,
    node: String,
    now_ms: u64,
    key: MasterKey,
    store: Store,
}

impl Import {
    /// Begins with an empty directory. `fingerprint`: of the master key that it has to be; without
    /// one any will do, and one is made if there is none. The inner error names the file of a key
    /// that is another one, or is missing.
    ///
    /// # Errors
    /// When the key or the database cannot be made.
    pub(crate) fn begin(
        directory: &Path,
        node: &str,
        key_file: Option<&Path>,
        fingerprint: Option<&str>,
        now_ms: u64,
    ) -> Result<Result<Self, PathBuf>, StorageError> {
        let key_file = key_file.map_or_else(|| beside(directory), Path::to_owned);
        let key = match (MasterKey::read(&key_file), fingerprint) {
            (Err(KeyError::Missing { .. }), Some(_)) => return Ok(Err(key_file)),
            (Err(KeyError::Missing { path }), None) => MasterKey::create(&path)?,
            (key, _) => key?,
        };
        if fingerprint.is_some_and(|fingerprint| key.fingerprint() != fingerprint) {
            return Ok(Err(key_file));
        }
        let store = Store::open(&directory.join(JOURNAL), OPEN_TIMEOUT_MS)?;
        let (directory, node) = (directory.to_owned(), node.to_owned());
        Ok(Ok(Self { directory, node, now_ms, key, store }))
    }

    /// Writes the state of a shard; returns its bytes.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put(&mut self, snapshot: &ShardSnapshot) -> Result<u64, StorageError> {
        let mut put = || -> io::Result<Record> {
            let shard = snapshot.shard();
            let record = checkpoint::write(&self.store.parts(), shard, 0, snapshot)?;
            self.store.finish_checkpoint(shard, record)?;
            Ok(record)
        };
        let path = self.directory.join(JOURNAL);
        Ok(put().map_err(|source| OpenError::Io { path, source })?.bytes)
    }

    /// Makes the directory the node's own: from now on a server starts with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(self) -> Result<(), StorageError> {
        let Self { directory, node, now_ms, key, store } = self;
        drop(store);
        Identity::create(&directory, &node, now_ms, &key.fingerprint())?;
        Ok(())
    }
}
