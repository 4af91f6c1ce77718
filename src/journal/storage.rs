//! Storage of a node, opened: whose it is, its key, its journal, and the shards that were in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use aws_lc_rs::hmac;
use tidewire_core::shard::{Recalled, Recaller, Shard, ShardConfig};
use tidewire_protocol::Name;

use super::base::Membership;
use super::disk::Disk;
use super::ends::EndsFile;
use super::group_log::GroupLog;
use super::group_reads::Read;
use super::group_recovery::Counts;
use super::group_state::EntryId;
use super::identity::{DirectoryId, Identity, IdentityError};
use super::master_key::{KeyError, MasterKey};
use super::message::Message;
use super::reads::Reads;
use super::recall;
use super::recovery::{Damage, Recovery};
use super::room::DiskRoom;
use super::starting::{spawn, start};
use super::state::State;
use super::store::{OpenError, Store};
use crate::config::StorageConfig;

/// The database's directory in the data directory.
pub(super) const JOURNAL: &str = "journal";

/// Why a node's storage cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A policy wants the disk, and there is no directory.
    #[error(
        "a policy has durability \"disk\", and there is no data directory: name one with \
         --data-dir or `data_dir`"
    )]
    NoDirectory,
    /// The file of the ends cannot be read.
    #[error(
        "cannot use {path}: {source}; it says where the journal ended, so that a loss is noticed"
    )]
    Ends {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A policy has other partitions than what is kept.
    #[error(
        "the policy of '{0}' has other partitions than when it was written: set `partitions` back, or          ballots and records in the others would be left out"
    )]
    Partitions(Name),
    /// A thread could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// It is not this node's, or of another release.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The master key is not there.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something is missing.
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// What a node's storage is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) node: &'a str,
    pub(crate) config: &'a StorageConfig,
    pub(crate) now_ms: u64,
    /// How a shard is made in this epoch.
    pub(crate) shard: &'a dyn Fn(u16, u64) -> ShardConfig,
    /// Whether logs belong to Raft groups: then blocks behind what is committed are left to these, and
    /// shards are replicas that go on recovering. Without, every block that is there is committed.
    pub(crate) is_clustered: bool,
}

/// A group and its log, as they were when the node ended.
pub(crate) struct OpenedGroup {
    pub(crate) log: GroupLog,
    /// The last entry that its shard holds.
    pub(crate) applied: Option<EntryId>,
    /// The members as of that entry.
    pub(crate) membership: Option<Membership>,
    /// The state of a group without a shard.
    pub(crate) snapshot: Option<Vec<u8>>,
}

/// The durable shards, each with its room, and what runs below them.
pub(crate) struct Opened {
    pub(crate) shards: Vec<(Shard, DiskRoom)>,
    /// The groups of these shards in the same order, and the one without a shard last; none without a
    /// cluster.
    pub(crate) groups: Vec<OpenedGroup>,
    pub(crate) storage: Storage,
    pub(crate) voter_key: hmac::Key,
    pub(crate) directory: DirectoryId,
}

/// The journal's threads, which end when they are told to.
pub(crate) struct Storage {
    pub(crate) state: Arc<State>,
    pub(super) queue: SyncSender<Message>,
    /// What is to be recalled, until somebody does.
    pub(super) recall_jobs: Option<(Reads, Receiver<recall::Job>)>,
    pub(super) reads: Reads,
    /// To the thread that reads entries of groups.
    pub(super) group_reads: SyncSender<Option<Read>>,
    pub(super) threads: Vec<std::thread::JoinHandle<()>>,
}

impl Storage {
    /// Opens the storage in a directory, made if need be, and repeats what its logs hold. Blocks.
    ///
    /// # Errors
    /// When it is not this node's, cannot be read, or lacks something. Nothing is served then.
    pub(crate) fn open(opening: &Opening<'_>) -> Result<Opened, StorageError> {
        Self::open_over(opening, |store| store)
    }

    /// The same over a disk that is made of the database, for what is written from then on.
    pub(super) fn open_over<D: Disk + 'static>(
        opening: &Opening<'_>,
        disk: impl FnOnce(Store) -> D,
    ) -> Result<Opened, StorageError> {
        let began = Instant::now();
        // Without a slash at its end, so that the key is beside it.
        let absolute = std::path::absolute(&opening.directory);
        let refuse = |source| IdentityError::Io { path: opening.directory.clone(), source };
        let directory: &PathBuf = &absolute.map_err(refuse)?.components().collect();
        let (identity, key) = identify(opening, directory)?;
        let ends_file = EndsFile::at(directory.join("ends"));
        let refuse = |source| StorageError::Ends { path: ends_file.path().to_owned(), source };
        let on_file = ends_file.read().map_err(refuse)?;
        let written = on_file.clone().unwrap_or_default();
        let store = Store::open(&directory.join(JOURNAL), opening.config.open_timeout_ms)?;
        let config = |shard| (opening.shard)(shard, identity.epoch);
        let (written_ends, config) = (&written, &config);
        let Opening { now_ms, is_clustered, .. } = *opening;
        let counts = if is_clustered { Counts::Committed } else { Counts::Own };
        let recovery = Recovery { store: &store, written: written_ends, now_ms, config, counts };
        let (shards, meta, found) = recovery.run()?;
        // It is written before the first commit, so that it is missing means that it was lost.
        if on_file.is_none() && found.blocks > 0 {
            return Err(Damage::new("the file `ends` is missing".to_owned()).into());
        }
        for recovered in &shards {
            recovered.shard.check_partitions().map_err(StorageError::Partitions)?;
        }
        tracing::info!(
            blocks = found.blocks,
            bytes = found.bytes,
            entries = found.entries,
            took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the journal is read"
        );
        let ends = (found.ends, written, ends_file);
        let (storage, shards, groups) = start(opening.config, (store, disk), (shards, meta), ends)?;
        let (voter_key, directory) = (key.voter_key(), identity.directory());
        Ok(Opened { shards, groups, storage, voter_key, directory })
    }

    /// Starts the thread that reads what is recalled, and hands it over.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start_recalling(
        &mut self,
        hand_over: impl Fn(u16, Recaller, Recalled) + Send + 'static,
    ) -> Result<(), StorageError> {
        if let Some((reads, jobs)) = self.recall_jobs.take() {
            let state = Arc::clone(&self.state);
            let work = move || recall::read_all(&reads, &jobs, &state, &hand_over);
            self.threads.push(spawn("tidewire-recall", work)?);
        }
        Ok(())
    }

    /// The blocks, to be read beside the commits.
    pub(crate) fn reads(&self) -> Reads {
        self.reads.clone()
    }

    /// Waits until everything that was handed over is written. The shards have stopped.
    pub(crate) fn join(self) {
        self.state.stop();
        drop(self.queue.send(Message::Stop));
        drop(self.group_reads.send(None));
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

/// The file of the master key beside a data directory.
pub(super) fn beside(directory: &Path) -> PathBuf {
    // Without a slash at its end, so that it is beside it.
    let whole: PathBuf = directory.components().collect();
    let mut file = whole.into_os_string();
    file.push(".master-key");
    file.into()
}

/// Whose directory it is, and the key that belongs to it; both are made for a new one.
fn identify(
    opening: &Opening<'_>,
    directory: &Path,
) -> Result<(Identity, MasterKey), StorageError> {
    let Opening { node, config, now_ms, .. } = opening;
    let key_file = config.master_key_file.clone().unwrap_or_else(|| beside(directory));
    if let Some(identity) = Identity::read(directory)? {
        let key = MasterKey::read(&key_file)?;
        identity.check(node, &key.fingerprint())?;
        return Ok((identity, key));
    }
    if directory.join(JOURNAL).exists() {
        return Err(IdentityError::Missing { path: directory.to_owned() }.into());
    }
    let key = match MasterKey::read(&key_file) {
        Err(KeyError::Missing { path }) => {
            tracing::info!(
                file = %path.display(),
                "a master key is made; keep a copy, but not with copies of the data"
            );
            MasterKey::create(&path)?
        }
        other => other?,
    };
    let identity = Identity::create(directory, node, *now_ms, &key.fingerprint())?;
    Ok((identity, key))
}
