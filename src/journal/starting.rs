//! The start of what runs below the shards and groups of a node, once these are there again.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, mpsc as threads};
use std::thread::JoinHandle;

use tidewire_core::shard::Shard;
use tokio::sync::mpsc;

use super::META;
use super::committer::Committer;
use super::disk::Disk;
use super::ends::{Ends, EndsFile, KeptEnds};
use super::group_log::{GroupLog, MESSAGES};
use super::group_reads::{READS_MAX, Read, read_all};
use super::group_recovery::RecoveredGroup;
use super::group_state::GroupState;
use super::message::Message;
use super::recovery::Recovered;
use super::room::{Checkpoints, DiskRoom, ROUNDS_MAX, Reached};
use super::saving::{Job, Writer};
use super::space::Space;
use super::state::State;
use super::storage::{OpenedGroup, Storage, StorageError};
use super::store::Store;
use super::taking_over::TakenOver;
use crate::config::StorageConfig;

/// What a shard and the committer tell each other beside rounds, at the same time.
const NOTES: usize = 2;
/// Recalls that may wait: more than all dispatchers and shards have under way at the same time.
const RECALLS_MAX: usize = 2048;

/// What has been started.
pub(super) type Started = (Storage, Vec<(Shard, DiskRoom)>, Vec<OpenedGroup>);

/// Starts the threads below these shards and groups. `ends`: where the logs end, what the file says, the
/// file.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn start<D: Disk + 'static>(
    config: &StorageConfig,
    (store, disk): (Store, impl FnOnce(Store) -> D),
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
    let covered = shards.iter().filter_map(|recovered| recovered.checkpoint.clone());
    let covered = covered.map(|covered| (covered.clone(), covered.unused)).collect();
    let (recalls, recall_jobs) = threads::sync_channel(RECALLS_MAX);
    let (reads, recall_jobs) = (store.reads(), Some((store.reads(), recall_jobs)));
    let parts = store.parts();
    let records = shards.iter().filter_map(|recovered| recovered.checkpoint.as_ref());
    let written = records.map(|covered| (covered.shard, covered.record)).collect();
    let writer = Writer {
        parts: store.parts(),
        reads: store.reads(),
        state: Arc::clone(&state),
        committer: queue.clone(),
        written,
    };
    let committer = Committer {
        disk: disk(store),
        state: Arc::clone(&state),
        ends,
        kept_ends: KeptEnds::of(ends_file, ends_written),
        groups: remembered(&groups, &state),
        noted: Vec::new(),
        rooms,
        checkpoints,
        covered,
        removed: HashMap::new(),
        taken_over: taken_over(&shards),
        space: space_of(&shards),
        free_bytes_min: config.free_bytes_min,
    };
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
    let (group_reads, entries) = threads::sync_channel(READS_MAX);
    let group = |(shard, group): (u16, RecoveredGroup)| {
        let RecoveredGroup { log, applied, membership, snapshot } = group;
        let reads = (reads.clone(), parts.clone(), group_reads.clone());
        let log = GroupLog::new(shard, log, queue.clone(), reads, Arc::clone(&state));
        OpenedGroup { log, applied, membership, snapshot }
    };
    let groups: Vec<_> = groups.into_iter().map(group).collect();
    let entries = (!groups.is_empty()).then_some(entries);
    let threads = start_threads((committer, receiver), (writer, jobs), entries, &state)?;
    let storage = Storage { state, queue, recall_jobs, reads, group_reads, threads };
    Ok((storage, rooms, groups))
}

/// What is remembered of groups. What they may ask for stays from now on.
fn remembered(groups: &[(u16, RecoveredGroup)], state: &State) -> HashMap<u16, GroupState> {
    for (shard, group) in groups {
        state.wanted().set(*shard, group.log.remembered.wanted_from());
    }
    groups.iter().map(|(shard, group)| (*shard, group.log.remembered)).collect()
}

/// The checkpoints that count, for states that may be taken over.
fn taken_over(shards: &[Recovered]) -> TakenOver {
    let records = shards.iter().filter_map(|recovered| recovered.checkpoint.as_ref());
    TakenOver::found(records.map(|covered| (covered.shard, covered.record)))
}

/// What is kept of each shard.
fn space_of(shards: &[Recovered]) -> Space {
    let mut space = Space::default();
    for Recovered { shard, checkpoint, logged_bytes, .. } in shards {
        let kept = checkpoint.as_ref().map_or(0, |covered| covered.kept_bytes);
        space.begin(shard.number(), kept, *logged_bytes);
    }
    space
}

fn start_threads<D: Disk + 'static>(
    (committer, messages): (Committer<D>, Receiver<Message>),
    (writer, jobs): (Writer, Receiver<Job>),
    entries: Option<Receiver<Option<Read>>>,
    state: &Arc<State>,
) -> Result<Vec<JoinHandle<()>>, StorageError> {
    let committer = spawn("tidewire-commit", move || {
        // What is under way is lost with it, and nobody would ever be answered.
        if catch_unwind(AssertUnwindSafe(|| committer.run(&messages))).is_err() {
            tracing::error!("the journal has panicked: the server ends");
            std::process::abort();
        }
    })?;
    let failing = Arc::clone(state);
    let saving = spawn("tidewire-save", move || {
        let write = || writer.run(&jobs);
        if catch_unwind(AssertUnwindSafe(write)).is_err() {
            failing.fail(&std::io::Error::other("saving a shard's state has panicked"));
        }
    })?;
    let mut threads = vec![committer, saving];
    if let Some(entries) = entries {
        threads.push(spawn("tidewire-entries", move || read_all(&entries))?);
    }
    Ok(threads)
}

pub(super) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StorageError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(StorageError::Thread)
}
