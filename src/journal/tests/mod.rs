//! The journal over a real database, and over disks that fail.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

mod cold;
mod cut;
mod fragile;
mod groups;
mod power;
mod slow;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::shard::{
    Command, Event, Origin, Reply, Request, SessionId, Shard, ShardConfig, ShardLimits,
    ShardSnapshot, Terms,
};
use tidewire_core::topic::{Policy, PolicyTable, StoredBatch};
use tidewire_core::{SHARDS, SHARDS_MAX, shard_of};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::payload_body;

use super::checkpoint::{self, Record};
use super::disk::Disk;
use super::saving::{Covered, Writer};
use super::storage::Opening;
use super::store::Store;
use super::{Journal, Opened, Outcome, Reads, Storage, StorageError, recall};
use crate::config::StorageConfig;

const SESSION: SessionId = SessionId { dispatcher: 0, slot: 1, generation: 1 };

pub(crate) fn shard_config(shard: u16, epoch: u64) -> ShardConfig {
    let policy = Policy { ack_max: AckLevel::Disk, retention_records: 200, ..Policy::default() };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    ShardConfig { shard, epoch, seed: 1, policies, limits: ShardLimits::default() }
}

fn open(directory: &Path, node: &str) -> Result<Opened, StorageError> {
    open_as(directory, node, false)
}

pub(crate) fn open_as(
    directory: &Path,
    node: &str,
    is_clustered: bool,
) -> Result<Opened, StorageError> {
    open_from(directory, node, is_clustered, &shard_config)
}

/// A node of a cluster, with shards that are made like this.
pub(crate) fn open_with(
    directory: &Path,
    shard: &dyn Fn(u16, u64) -> ShardConfig,
) -> Result<Opened, StorageError> {
    open_from(directory, "n", true, shard)
}

pub(crate) use cut::Cut;
pub(crate) use slow::Slow;

/// The same over a disk whose power is cut.
pub(crate) fn open_cut(
    directory: &Path,
    shard: &dyn Fn(u16, u64) -> ShardConfig,
    cut: &Cut,
) -> Result<Opened, StorageError> {
    opened_over(directory, "n", true, shard, |store| cut.disk(store))
}

fn open_from(
    directory: &Path,
    node: &str,
    is_clustered: bool,
    shard: &dyn Fn(u16, u64) -> ShardConfig,
) -> Result<Opened, StorageError> {
    opened_over(directory, node, is_clustered, shard, |store| store)
}

fn opened_over<D: Disk + 'static>(
    directory: &Path,
    node: &str,
    is_clustered: bool,
    shard: &dyn Fn(u16, u64) -> ShardConfig,
    disk: impl Fn(Store) -> D,
) -> Result<Opened, StorageError> {
    std::fs::create_dir_all(directory).unwrap();
    let config = StorageConfig {
        open_timeout_ms: 30_000,
        checkpoint_bytes: 64 * 1024,
        ..StorageConfig::default()
    };
    let opening = Opening {
        directory: directory.to_owned(),
        node,
        config: &config,
        now_ms: 1_000,
        shard,
        is_clustered,
    };
    // The library gives its lock back a little later than it is closed: on a busy machine, seconds.
    for _ in 0..6_000 {
        match Storage::open_over(&opening, &disk) {
            Err(error) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
    Storage::open_over(&opening, &disk)
}

pub(crate) fn publish(topic: &str, req: u64, payload: &[u8]) -> Command {
    let topic = Name::parse(topic).unwrap();
    let (ack, body) = (AckLevel::Disk, payload_body(payload));
    let request = Request::Publish { topic, ack, body, count: 1, terms: Terms::default() };
    Command::Request(Origin { session: SESSION, stream: 0, req }, request)
}

/// Runs one command through the shard and its room, and waits for what becomes of it.
async fn turn(shard: &mut Shard, journal: &mut Journal, command: Command) -> Outcome {
    assert!(journal.has_room());
    shard.handle(command, 2_000);
    let round = shard.seal().unwrap();
    let outcome = match journal.append(round, 2_000) {
        Some(outcome) => outcome,
        None => journal.next().await,
    };
    for stored in journal.take_stored() {
        shard.handle(stored, 2_000);
        // Nobody follows anything, so nobody has to be told.
        drop(shard.seal());
    }
    outcome
}

fn save_if_due(shard: &Shard, journal: &mut Journal) {
    let stats = shard.stats();
    if journal.wants_checkpoint(&stats, 2_000) {
        journal.checkpoint(shard.checkpoint().unwrap(), &stats);
    }
}

/// The offset that a publish was acknowledged with.
pub(crate) fn offset(outcome: Outcome) -> u64 {
    let Outcome::Committed(round) = outcome else { panic!("not committed: {outcome:?}") };
    round
        .events
        .into_iter()
        .find_map(|(_, event)| match event {
            Event::Reply { reply: Reply::Published { offset, .. }, .. } => offset,
            _ => None,
        })
        .unwrap()
}

pub(crate) fn hashes(opened: &Opened) -> Vec<String> {
    opened.shards.iter().map(|(shard, _)| format!("{:?}", shard.durable_hash())).collect()
}

/// A topic that is at home in this shard.
pub(crate) fn topic_in(shard: u16) -> String {
    let topics = (0..).map(|number| format!("orders.{number}"));
    let is_here = |topic: &String| shard_of(&Name::parse(topic).unwrap()) == shard % SHARDS;
    topics.into_iter().find(is_here).unwrap()
}

/// The payload of a record of this number.
pub(crate) fn payload(record: u64, bytes: usize) -> Vec<u8> {
    vec![u8::try_from(record % 251).unwrap(); bytes]
}

/// Publishes to every shard, and closes the storage; returns the hashes of the shards.
pub(crate) async fn filled(directory: &Path, records: u64, payload_bytes: usize) -> Vec<String> {
    let opened = open(directory, "n").unwrap();
    let Opened { shards, storage, .. } = opened;
    let mut hashes = Vec::new();
    for (mut shard, room) in shards {
        let mut journal = Journal::Disk(room);
        let before = shard.progress().sequence;
        for record in 0..records {
            let payload = payload(record, payload_bytes);
            let command = publish(&topic_in(shard.number()), record + 1, &payload);
            assert_eq!(offset(turn(&mut shard, &mut journal, command).await), before + record);
            save_if_due(&shard, &mut journal);
        }
        hashes.push(format!("{:?}", shard.durable_hash()));
    }
    storage.join();
    hashes
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut before = filled(&data, 40, 700).await;
    for _ in 0..2 {
        let opened = open(&data, "n").unwrap();
        assert_eq!(hashes(&opened), before);
        drop(opened.shards);
        opened.storage.join();
        before = filled(&data, 3, 700).await;
    }
}

#[tokio::test]
async fn a_directory_of_another_node_or_key_or_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    filled(&data, 1, 700).await;
    let refused = |node: &str| open(&data, node).err().unwrap().to_string();
    assert!(refused("other").contains("belongs to node 'n'"), "{}", refused("other"));
    let key = directory.path().join("data.master-key");
    let right = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(refused("n").contains("is missing"), "{}", refused("n"));
    std::fs::write(&key, "00".repeat(32)).unwrap();
    assert!(refused("n").contains("is not the one"), "{}", refused("n"));
    std::fs::write(&key, right).unwrap();
    let identity = data.join("storage.json");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
    assert!(refused("n").contains("format 99"), "{}", refused("n"));
    std::fs::write(&identity, text).unwrap();
    let opened = open(&data, "n").unwrap();
    let locked = refused("n");
    assert!(locked.contains("another server"), "{locked}");
    drop(opened.shards);
    opened.storage.join();
}

#[tokio::test]
async fn a_log_that_ends_earlier_than_it_did_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    filled(&data, 2, 700).await;
    // The database of an earlier time below the ends of a later one.
    let earlier = directory.path().join("earlier");
    copy_dir(&data.join("journal"), &earlier);
    filled(&data, 2, 700).await;
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    copy_dir(&earlier, &data.join("journal"));
    let refused = open(&data, "n").err().unwrap().to_string();
    assert!(refused.contains("once ended at"), "{refused}");
}

/// The records that a state says lie in its log: by sequence, all of them.
pub(crate) fn stored_records(reads: &Reads, snapshot: &ShardSnapshot) -> Vec<(u64, Bytes)> {
    let stored = snapshot.stored();
    let mut found = Vec::new();
    for extent in snapshot.extents().iter() {
        let is_in = |batch: &&StoredBatch| extent.sequences.contains(&batch.sequence);
        let wanted: Vec<_> =
            stored.iter().filter(is_in).map(|batch| (batch.sequence, batch.bytes)).collect();
        let recalled = recall::bodies(reads, snapshot.shard(), &extent.blocks, &wanted);
        assert_eq!(recalled.reason, None, "{:?}", extent.blocks);
        found.extend(recalled.bodies);
    }
    assert_eq!(found.len(), stored.len());
    found
}

/// A store that was open a moment ago: the library gives its lock back a little later.
fn reopened(path: &Path) -> Store {
    for _ in 0..500 {
        match Store::open(path, 30_000) {
            Err(error) if error.to_string().contains("lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays locked", path.display());
}

#[tokio::test]
async fn blocks_of_which_nothing_is_kept_go() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Each shard logs 500 records of 10,000 bytes, and keeps 200 of them.
    let before = filled(&data, 500, 10_000).await;
    let opened = open(&data, "n").unwrap();
    assert_eq!(hashes(&opened), before);
    drop(opened.shards);
    opened.storage.join();
    let mut store = reopened(&data.join("journal"));
    for shard in SHARDS..SHARDS_MAX {
        let record = Record::from_bytes(&store.current(shard).unwrap().unwrap()).unwrap();
        assert!(record.covers > 350, "shard {shard}: {record:?}");
        // Records that lie in blocks for good are not written again.
        assert!(record.bytes < 700_000, "shard {shard}: {record:?}");
        let snapshot = checkpoint::read(&store.parts(), shard, record).unwrap();
        // What the threads have not come to yet.
        let mut covered = Covered::of(record, &snapshot);
        assert!(store.remove_covered(&mut covered, usize::MAX).unwrap());
        assert!(covered.unused.is_empty());
        let first = store.scan(shard, 0).next().unwrap().unwrap().0.index;
        let oldest = snapshot.extents().iter().next().unwrap();
        assert_eq!(first, oldest.blocks.start, "shard {shard}");
        assert!(first > 90, "shard {shard}: {first}");
        assert!(store.parts().get(shard, record.covers, 0).unwrap().is_some());
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_not_finished_leaves_the_one_that_counts() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let before = filled(&data, 400, 700).await;
    let store = reopened(&data.join("journal"));
    let record = Record::from_bytes(&store.current(SHARDS).unwrap().unwrap()).unwrap();
    let snapshot = checkpoint::read(&store.parts(), SHARDS, record).unwrap();
    let mut writer = Writer {
        parts: store.parts(),
        reads: store.reads(),
        state: Arc::default(),
        committer: std::sync::mpsc::sync_channel(1).0,
        written: [(SHARDS, record)].into(),
    };
    // Nothing was logged meanwhile, so both cover the same blocks.
    let empty = Shard::new(shard_config(SHARDS, 7)).checkpoint().unwrap();
    for state in [&snapshot, &empty] {
        let covered = writer.save(record.covers, state).unwrap();
        assert!(covered.record.first >= record.parts, "{:?}", covered.record);
    }
    drop((writer, store));
    let opened = open(&data, "n").unwrap();
    assert_eq!(hashes(&opened), before);
    drop(opened.shards);
    opened.storage.join();
}

#[tokio::test]
async fn large_records_stay_in_the_log_that_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Opened { shards, storage, .. } = open(&data, "n").unwrap();
    let (mut shard, room) = shards.into_iter().next().unwrap();
    let (mut journal, topic) = (Journal::Disk(room), topic_in(SHARDS));
    for record in 0..60 {
        let command = publish(&topic, record + 1, &vec![7; 900_000]);
        assert_eq!(offset(turn(&mut shard, &mut journal, command).await), record);
        save_if_due(&shard, &mut journal);
    }
    let before = shard.durable_hash();
    drop(journal);
    storage.join();
    let opened = open(&data, "n").unwrap();
    assert_eq!(opened.shards[0].0.durable_hash(), before);
    drop(opened.shards);
    opened.storage.join();
}

#[tokio::test]
async fn a_journal_without_its_ends_or_its_identity_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    filled(&data, 1, 700).await;
    let ends = std::fs::read(data.join("ends")).unwrap();
    std::fs::remove_file(data.join("ends")).unwrap();
    let refused = open(&data, "n").err().unwrap().to_string();
    assert!(refused.contains("`ends` is missing"), "{refused}");
    std::fs::write(data.join("ends"), ends).unwrap();
    std::fs::remove_file(data.join("storage.json")).unwrap();
    let refused = open(&data, "n").err().unwrap().to_string();
    assert!(refused.contains("storage.json is missing"), "{refused}");
}

/// Every file is damaged in many places, one after the other. Each time it is refused, or what is
/// there is what was there: never less in silence.
#[tokio::test]
async fn a_flipped_or_cut_byte_is_noticed_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Some shards get as far as a checkpoint.
    let before = filled(&data, 120, 700).await;
    let copy = directory.path().join("copy");
    let key = std::fs::read(directory.path().join("data.master-key")).unwrap();
    let files = ["journal/db", "journal/conf", "ends", "storage.json"];
    let mut refusals = 0;
    for file in files {
        let len = std::fs::metadata(data.join(file)).unwrap().len();
        // What follows the last block in the database file was never written.
        let used = len.min(4_000_000);
        for step in 0..16_u64 {
            drop(std::fs::remove_dir_all(&copy));
            copy_dir(&data, &copy);
            std::fs::write(directory.path().join("copy.master-key"), &key).unwrap();
            let at = used * step / 16 + used / 40;
            let path = copy.join(file);
            if step % 4 == 3 {
                std::fs::File::options().write(true).open(&path).unwrap().set_len(at).unwrap();
            } else {
                let mut bytes = std::fs::read(&path).unwrap();
                let at = usize::try_from(at).unwrap().min(bytes.len() - 1);
                bytes[at] ^= 1 << (step % 8);
                std::fs::write(&path, bytes).unwrap();
            }
            let opened = std::panic::catch_unwind(|| open(&copy, "n"));
            match opened {
                Ok(Ok(opened)) => {
                    assert_eq!(hashes(&opened), before, "{file}, byte {at}: silently other");
                    drop(opened.shards);
                    opened.storage.join();
                }
                Ok(Err(_)) => refusals += 1,
                Err(_) => panic!("{file}, byte {at}: a panic"),
            }
        }
    }
    assert!(refusals > 10, "{refusals}");
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
