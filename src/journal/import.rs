//! A journal that is made from saved states, as from a backup.

use std::io;
use std::path::{Path, PathBuf};

use tidewire_core::shard::{LogEntry, ShardSnapshot};

use super::block::Head;
use super::checkpoint::{self, Record};
use super::cleaning::pack;
use super::disk::Disk as _;
use super::identity::Identity;
use super::key::Key;
use super::master_key::{KeyError, MasterKey};
use super::staging::Writes;
use super::storage::{JOURNAL, StorageError, beside};
use super::store::{OpenError, Store};

/// How long a new database may take to open.
const OPEN_TIMEOUT_MS: u64 = 60_000;
/// Bytes of blocks that are written together.
const GATHERED_BYTES: usize = 4 * 1024 * 1024;

/// Whether there is a journal in a directory, or something that belongs to one.
pub(crate) fn is_in_use(directory: &Path) -> bool {
    [JOURNAL, "storage.json", "ends"].iter().any(|name| directory.join(name).exists())
}

/// A journal that is being made.
pub(crate) struct Import {
    directory: PathBuf,
    node: String,
    key: MasterKey,
    store: Store,
    /// Blocks that are written together.
    gathered: Vec<(Key, Vec<u8>)>,
    gathered_bytes: usize,
}

/// The records that a state holds, as blocks behind the last of its extents.
fn blocks_of(snapshot: &ShardSnapshot) -> io::Result<Vec<(Key, Vec<u8>)>> {
    let entries: Vec<_> = snapshot.unstored().into_iter().map(LogEntry::Batch).collect();
    let like = Head { time_ms: snapshot.now_ms(), ..Head::default() };
    pack(&entries, snapshot.shard(), snapshot.extents().next_block(), like)
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
        Ok(Ok(Self {
            directory: directory.to_owned(),
            node: node.to_owned(),
            key,
            store,
            gathered: Vec::new(),
            gathered_bytes: 0,
        }))
    }

    /// Writes the state of a shard; returns its bytes. An empty log counts as one of an entry: so whatever the state
    /// says is not taken for nothing when the directory becomes that of a cluster's first node.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put(&mut self, snapshot: &ShardSnapshot) -> Result<u64, StorageError> {
        let mut put = || -> io::Result<Record> {
            let shard = snapshot.shard();
            // What the state holds of records, the log is to hold as well: it goes on behind them.
            let blocks = blocks_of(snapshot)?;
            let covers = (snapshot.extents().next_block() + blocks.len() as u64).max(1);
            self.store.commit(Writes::of(blocks))?;
            let record = checkpoint::write(&self.store.parts(), (covers, 0), snapshot)?;
            self.store.finish_checkpoint(shard, record, None)?;
            Ok(record)
        };
        let path = self.directory.join(JOURNAL);
        Ok(put().map_err(|source| OpenError::Io { path, source })?.bytes)
    }

    /// Writes a block that the state of its shard says is there.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put_block(
        &mut self,
        shard: u16,
        index: u64,
        block: Vec<u8>,
    ) -> Result<(), StorageError> {
        let path = self.directory.join(JOURNAL);
        self.gathered_bytes += block.len();
        self.gathered.push((Key { shard, index }, block));
        let put = match self.gathered_bytes < GATHERED_BYTES {
            true => Ok(()),
            false => self.flush(),
        };
        Ok(put.map_err(|source| OpenError::Io { path, source })?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gathered_bytes = 0;
        self.store.commit(Writes::of(std::mem::take(&mut self.gathered)))
    }

    /// Makes the directory the node's own, with this epoch of its cells: from now on a server starts with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(mut self, epoch: u64) -> Result<(), StorageError> {
        let path = self.directory.join(JOURNAL);
        self.flush().map_err(|source| OpenError::Io { path, source })?;
        let Self { directory, node, key, store, .. } = self;
        drop(store);
        Identity::create(&directory, &node, epoch, &key.fingerprint())?;
        Ok(())
    }
}
