//! The journal over disks that fail, or are full.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc as threads};

use tidewire_core::shard::{Command, Event, Reply, Shard};
use tidewire_core::{SHARDS, SHARDS_MAX};
use tidewire_protocol::ErrorCode;
use tokio::sync::mpsc;

use super::{offset, publish, shard_config, turn};
use crate::journal::base::Base;
use crate::journal::checkpoint::Record;
use crate::journal::committer::Committer;
use crate::journal::disk::Disk;
use crate::journal::ends::{Ends, EndsFile, KeptEnds};
use crate::journal::key::Key;
use crate::journal::message::Message;
use crate::journal::places::Place;
use crate::journal::room::{Checkpoints, DiskRoom, ROUNDS_MAX, Reached};
use crate::journal::saving::Covered;
use crate::journal::staging::Writes;
use crate::journal::{Journal, Outcome, State};

/// A disk in memory that fails, or is full, when it is told to.
#[derive(Clone, Default)]
struct Fragile {
    blocks: Arc<std::sync::Mutex<BTreeMap<Key, Vec<u8>>>>,
    fails: Arc<AtomicBool>,
    free_bytes: Arc<AtomicU64>,
}

impl Disk for Fragile {
    fn commit(&mut self, writes: Writes) -> io::Result<()> {
        if self.fails.load(Relaxed) {
            return Err(io::Error::other("fsync: the platter is gone"));
        }
        self.blocks.lock().unwrap().extend(writes.blocks);
        Ok(())
    }

    fn finish_checkpoint(
        &mut self,
        _shard: u16,
        _record: Record,
        _base: Option<&Base>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn take_over(
        &mut self,
        _shard: u16,
        _record: Record,
        _base: &Base,
        _place: Place,
    ) -> io::Result<()> {
        Ok(())
    }

    fn remove_left(&mut self, _shard: u16, _from: u64, _limit: usize) -> io::Result<bool> {
        Ok(true)
    }

    fn save_snapshot(&mut self, _shard: u16, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn remove_covered(&mut self, _covered: &mut Covered, _limit: usize) -> io::Result<bool> {
        Ok(true)
    }

    fn file_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.free_bytes.load(Relaxed))
    }
}

struct Bench {
    disk: Fragile,
    shard: Shard,
    journal: Journal,
    state: Arc<State>,
    _directory: tempfile::TempDir,
}

fn bench() -> Bench {
    let disk = Fragile::default();
    disk.free_bytes.store(1_000, Relaxed);
    let directory = tempfile::tempdir().unwrap();
    let (queue, receiver) = threads::sync_channel::<Message>(ROUNDS_MAX);
    let (rooms, mut ends): (Vec<_>, Vec<_>) =
        (SHARDS..SHARDS_MAX).map(|_| mpsc::channel(ROUNDS_MAX)).unzip();
    let state = Arc::new(State::default());
    let committer = Committer {
        disk: disk.clone(),
        state: Arc::clone(&state),
        ends: Ends::default(),
        kept_ends: KeptEnds::of(EndsFile::at(directory.path().join("ends")), Ends::default()),
        groups: HashMap::new(),
        noted: Vec::new(),
        rooms,
        checkpoints: threads::sync_channel(1).0,
        covered: Vec::new(),
        removed: HashMap::new(),
        taken_over: Default::default(),
        space: Default::default(),
        free_bytes_min: 100,
    };
    std::thread::spawn(move || committer.run(&receiver));
    let room = DiskRoom {
        shard: SHARDS,
        queue,
        notices: ends.remove(0),
        state: Arc::clone(&state),
        rounds: 0,
        bytes: 0,
        checkpoints: Checkpoints { bytes_min: u64::MAX, ..Checkpoints::default() },
        reached: Reached::at(0),
        recalls: threads::sync_channel(1).0,
    };
    let (shard, journal) = (Shard::new(shard_config(SHARDS, 7)), Journal::Disk(room));
    Bench { disk, shard, journal, state, _directory: directory }
}

fn refusals(outcome: Outcome, journal: &Journal) -> Vec<ErrorCode> {
    let Outcome::Failed(mut round) = outcome else { panic!("committed: {outcome:?}") };
    round.refuse(&journal.refusal().unwrap(), 1);
    let codes = round.events.into_iter().filter_map(|(_, event)| match event {
        Event::Reply { reply: Reply::Refused(refusal), .. } => Some(refusal.code),
        Event::Reply { reply, .. } => panic!("told: {reply:?}"),
        _ => None,
    });
    codes.collect()
}

#[tokio::test]
async fn after_an_error_of_the_disk_nothing_is_acknowledged_any_more() {
    let Bench { disk, mut shard, mut journal, state, _directory } = bench();
    assert_eq!(offset(turn(&mut shard, &mut journal, publish("t", 1, b"kept")).await), 0);
    disk.fails.store(true, Relaxed);
    let outcome = turn(&mut shard, &mut journal, publish("t", 2, b"lost")).await;
    assert_eq!(refusals(outcome, &journal), [ErrorCode::StorageFailed]);
    // Also when the disk seems to be well again: what it holds is not known.
    disk.fails.store(false, Relaxed);
    let outcome = turn(&mut shard, &mut journal, publish("t", 3, b"never")).await;
    assert_eq!(refusals(outcome, &journal), [ErrorCode::StorageFailed]);
    assert!(state.failure().unwrap().contains("the platter is gone"));
    assert_eq!(disk.blocks.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_space_again() {
    let Bench { disk, mut shard, mut journal, state, _directory } = bench();
    assert_eq!(offset(turn(&mut shard, &mut journal, publish("t", 1, b"kept")).await), 0);
    disk.free_bytes.store(99, Relaxed);
    wait_until(|| state.is_full()).await;
    let refusal = journal.refusal().unwrap();
    assert_eq!(refusal.code, ErrorCode::StorageFull);
    let mut commands = vec![publish("t", 2, b"no room")];
    assert_eq!(Command::refuse_changes(&mut commands, &refusal).len(), 1);
    assert!(commands.is_empty());
    // A little above the reserve is not enough.
    disk.free_bytes.store(105, Relaxed);
    wait_until(|| state.stats().free_bytes == 105).await;
    assert!(journal.refusal().is_some());
    disk.free_bytes.store(200, Relaxed);
    wait_until(|| !state.is_full()).await;
    assert_eq!(offset(turn(&mut shard, &mut journal, publish("t", 3, b"kept")).await), 1);
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it has not come to that within 10 s");
}
