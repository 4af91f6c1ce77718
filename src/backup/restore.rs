//! A data directory, made from a backup.

use std::path::{Path, PathBuf};

use tidewire_core::epoch_anew;

use super::{BackupError, Item, Reader, Summary};
use crate::cluster;
use crate::journal::{self, StorageError};

/// How a backup is restored.
#[derive(Clone, Debug)]
pub(crate) struct Restore {
    /// The backup.
    pub(crate) file: PathBuf,
    /// The data directory, which must not hold a journal.
    pub(crate) directory: PathBuf,
    /// Name of the node that it is for.
    pub(crate) node: String,
    /// Where the master key is, if not beside the directory.
    pub(crate) master_key_file: Option<PathBuf>,
    /// Polls are closed for good, because the key that their voters were hashed with is not there.
    pub(crate) without_master_key: bool,
    pub(crate) now_ms: u64,
}

/// Why a backup was not restored. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The directory is in use.
    #[error("{0} holds a journal already: name an empty directory")]
    NotEmpty(PathBuf),
    /// The directory cannot be written.
    #[error("cannot write to {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The key does not belong to the backup.
    #[error(
        "the master key {0} is not the one of the backup, so its voters would not be recognised: name \
         the right file (--master-key-file), or restore with --without-master-key, which closes all \
         polls for good"
    )]
    Key(PathBuf),
    /// What was written does not open.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes a data directory that holds what the backup does, in epochs of its own: clients that have
/// seen more than the backup holds are told so when they come back. Blocks.
///
/// # Errors
/// When the backup is damaged, the directory is not empty or the key is another one.
pub(crate) fn restore(how: &Restore, progress: &dyn Fn(u64)) -> Result<Summary, RestoreError> {
    let Restore { file, directory, .. } = how;
    // As a whole first, so that nothing is begun with a backup that is not.
    Reader::open(file)?.verify()?;
    let mut reader = Reader::open(file)?;
    let refuse = |source| RestoreError::Io { path: directory.clone(), source };
    if journal::is_in_use(directory) {
        return Err(RestoreError::NotEmpty(directory.clone()));
    }
    std::fs::create_dir_all(directory).map_err(refuse)?;
    let key = reader.header().master_key.clone();
    let outcome = write(how, &key, &mut reader, progress);
    if outcome.is_err() {
        remove(directory);
    }
    outcome
}

fn write(
    how: &Restore,
    key: &str,
    reader: &mut Reader,
    progress: &dyn Fn(u64),
) -> Result<Summary, RestoreError> {
    let Restore { directory, node, master_key_file, without_master_key, now_ms, .. } = how;
    let expected = (!without_master_key).then_some(key);
    let mut import = journal::Import::begin(directory, node, master_key_file.as_deref(), expected)?
        .map_err(RestoreError::Key)?;
    let (mut done, mut newest) = (Summary::default(), 0);
    while let Some(item) = reader.next()? {
        match item {
            Item::Shard(snapshot) => {
                let epoch = epoch_anew(snapshot.epoch(), *now_ms);
                newest = epoch.max(newest);
                let snapshot = snapshot.begin_anew(epoch, *without_master_key);
                done.bytes += import.put(&snapshot)?;
                done.shards += 1;
            }
            Item::Block { shard, index, bytes } => {
                done.bytes += bytes.len() as u64;
                import.put_block(shard, index, bytes)?;
            }
        }
        progress(done.bytes);
    }
    if let Some(cluster) = reader.header().cluster {
        cluster::note_former(directory, cluster)
            .map_err(|source| RestoreError::Io { path: directory.clone(), source })?;
    }
    import.finish(newest)?;
    Ok(done)
}

/// Takes away what an attempt has left.
pub(super) fn remove(directory: &Path) {
    for name in ["journal", "ends", "storage.json", cluster::FORMER_FILE] {
        let path = directory.join(name);
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "a half restored file is left");
        }
    }
}
