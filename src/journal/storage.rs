//! Storage of a node, opened: whose it is, its key, its journal, and the shards that were in it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, mpsc as threads};
use std::time::Instant;

use aws_lc_rs::hmac;
use tidewire_core::shard::{Recalled, Recaller, Shard, ShardConfig};
use tidewire_protocol::Name;
use tokio::sync::mpsc;

use super::META;
use super::base::Membership;
use super::committer::Committer;
use super::ends::{Ends, EndsFile, KeptEnds};
use super::group_log::{GroupLog, MESSAGES};
use super::group_reads::{self, READS_MAX};
use super::group_recovery::RecoveredGroup;
use super::group_state::EntryId;
use super::identity::{DirectoryId, Identity, IdentityError};
use super::master_key::{KeyError, MasterKey};
use super::message::Message;
use super::reads::Reads;
use super::recall;
use super::recovery::{Damage, Recovered, Recovery};
use super::room::{Checkpoints, DiskRoom, ROUNDS_MAX, Reached};
use super::saving::Writer;
use super::space::Space;
use super::state::State;
use super::store::{OpenError, Store};
use crate::config::StorageConfig;

/// The database's directory in the data directory.
pub(super) const JOURNAL: &str = "journal";
/// What a shard and the committer tell each other beside rounds, at the same time.
const NOTES: usize = 2;
/// Recalls that may wait: more than all dispatchers and shards have under way at the same time.
const RECALLS_MAX: usize = 2048;

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
#[allow(dead_code, reason = "nothing starts groups yet")]
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
    #[allow(dead_code, reason = "nothing starts groups yet")]
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
    queue: SyncSender<Message>,
    /// What is to be recalled, until somebody does.
    recall_jobs: Option<(Reads, Receiver<recall::Job>)>,
    reads: Reads,
    /// To the thread that reads entries of groups.
    group_reads: SyncSender<Option<group_reads::Read>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Storage {
    /// Opens the storage in a directory, made if need be, and repeats what its logs hold. Blocks.
    ///
    /// # Errors
    /// When it is not this node's, cannot be read, or lacks something. Nothing is served then.
    pub(crate) fn open(opening: &Opening<'_>) -> Result<Opened, StorageError> {
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
        let recovery =
            Recovery { store: &store, written: written_ends, now_ms, config, is_clustered };
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
        let (storage, shards, groups) = start(opening.config, store, (shards, meta), ends)?;
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

/// What has been started.
type Started = (Storage, Vec<(Shard, DiskRoom)>, Vec<OpenedGroup>);

/// Starts the threads below these shards and groups. `ends`: where the logs end, what the file says, the file.
fn start(
    config: &StorageConfig,
    store: Store,
    (mut shards, meta): (Vec<Recovered>, Option<RecoveredGroup>),
    (ends, ends_written, ends_file): (Ends, Ends, EndsFile),
) -> Result<Started, StorageError> {
    let state = Arc::new(State::default());
    let groups: Vec<_> = shards
        .iter_mut()
        .filter_map(|recovered| Some((recovered.shard.number(), recovered.group.take()?)))
        .chain(meta.map(|group| (META, group)))
        .collect();
    let places = shards.len() * (ROUNDS_MAX + NOTES) + groups.len() * MESSAGES + 1;
    let (queue, receiver) = threads::sync_channel(places);
    let (rooms, notices): (Vec<_>, Vec<_>) =
        shards.iter().map(|_| mpsc::channel(ROUNDS_MAX + NOTES)).unzip();
    let (checkpoints, jobs) = threads::sync_channel(2 * shards.len());
    let mut space = Space::default();
    for Recovered { shard, checkpoint, logged_bytes, .. } in &shards {
        let kept = checkpoint.as_ref().map_or(0, |covered| covered.kept_bytes);
        space.begin(shard.number(), kept, *logged_bytes);
    }
    let covered = shards.iter().filter_map(|recovered| recovered.checkpoint.clone());
    let covered = covered.map(|covered| (covered.clone(), covered.unused)).collect();
    let (recalls, recall_jobs) = threads::sync_channel(RECALLS_MAX);
    let (reads, recall_jobs) = (store.reads(), Some((store.reads(), recall_jobs)));
    let records = shards.iter().filter_map(|recovered| recovered.checkpoint.as_ref());
    let written = records.map(|covered| (covered.shard, covered.record)).collect();
    let writer = Writer {
        parts: store.parts(),
        reads: store.reads(),
        state: Arc::clone(&state),
        committer: queue.clone(),
        written,
    };
    let free_bytes_min = config.free_bytes_min;
    for (shard, group) in &groups {
        state.wanted().set(*shard, group.log.remembered.wanted_from());
    }
    let remembered = groups.iter().map(|(shard, group)| (*shard, group.log.remembered)).collect();
    let committer = Committer {
        disk: store,
        state: Arc::clone(&state),
        ends,
        kept_ends: KeptEnds::of(ends_file, ends_written),
        groups: remembered,
        noted: Vec::new(),
        rooms,
        checkpoints,
        covered,
        removed: HashMap::new(),
        space,
        free_bytes_min,
    };
    let committer = spawn("tidewire-commit", move || {
        // What is under way is lost with it, and nobody would ever be answered.
        if catch_unwind(AssertUnwindSafe(|| committer.run(&receiver))).is_err() {
            tracing::error!("the journal has panicked: the server ends");
            std::process::abort();
        }
    })?;
    let failing = Arc::clone(&state);
    let saving = spawn("tidewire-save", move || {
        let write = || writer.run(&jobs);
        if catch_unwind(AssertUnwindSafe(write)).is_err() {
            failing.fail(&std::io::Error::other("saving a shard's state has panicked"));
        }
    })?;
    let (bytes_min, rounds) = (config.checkpoint_bytes, queue.clone());
    let room = |(recovered, notices): (Recovered, _)| {
        let Recovered { shard, checkpoint, logged_bytes, .. } = recovered;
        let last_bytes = checkpoint.map_or(0, |covered| covered.record.bytes);
        let room = DiskRoom {
            shard: shard.number(),
            queue: rounds.clone(),
            notices,
            state: Arc::clone(&state),
            rounds: 0,
            bytes: 0,
            checkpoints: Checkpoints { logged_bytes, last_bytes, bytes_min, ..Default::default() },
            reached: Reached::at(shard.progress().sequence),
            recalls: recalls.clone(),
        };
        (shard, room)
    };
    let rooms = shards.into_iter().zip(notices).map(room).collect();
    let mut threads = vec![committer, saving];
    let (group_reads, wanted) = threads::sync_channel(READS_MAX);
    if !groups.is_empty() {
        let read = move || group_reads::read_all(&wanted);
        threads.push(spawn("tidewire-entries", read)?);
    }
    let group = |(shard, group): (u16, RecoveredGroup)| {
        let RecoveredGroup { log, applied, membership, snapshot } = group;
        let reads = (reads.clone(), group_reads.clone());
        let log = GroupLog::new(shard, log, queue.clone(), reads, Arc::clone(&state));
        OpenedGroup { log, applied, membership, snapshot }
    };
    let groups = groups.into_iter().map(group).collect();
    let state = Arc::clone(&state);
    let storage = Storage { state, queue, recall_jobs, reads, group_reads, threads };
    Ok((storage, rooms, groups))
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, StorageError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(StorageError::Thread)
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
