use std::path::Path;
use std::sync::Arc;

use tidewire_core::shard::{
    Command, Origin, Request, SessionId, Shard, ShardConfig, ShardLimits, ShardSnapshot, Terms,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_core::{SHARDS, SHARDS_MAX, shard_of};
use tidewire_protocol::Name;
use tidewire_protocol::frame::{AckLevel, TallyOp};
use tidewire_protocol::record::payload_body;
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tokio::sync::mpsc;

use super::*;
use crate::config::StorageConfig;
use crate::journal::{Opening, Storage};

fn config(shard: u16, epoch: u64) -> ShardConfig {
    let policy = Policy { ack_max: AckLevel::Disk, ..Policy::default() };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    ShardConfig { shard, epoch, seed: 5, policies, limits: ShardLimits::default() }
}

fn home(name: &str) -> u16 {
    SHARDS + shard_of(&Name::parse(name).unwrap())
}

/// What some topics and a poll look like.
fn snapshots() -> Vec<ShardSnapshot> {
    let mut shards: Vec<Shard> =
        (SHARDS..SHARDS_MAX).map(|shard| Shard::new(config(shard, 9))).collect();
    let session = SessionId { dispatcher: 0, slot: 0, generation: 0 };
    let origin = Origin { session, stream: 0, req: 1 };
    let mut ask = |name: &str, request| {
        let shard = &mut shards[usize::from(home(name) - SHARDS)];
        shard.handle(Command::Request(origin, request), 10);
    };
    for number in 0..40 {
        let (name, ack) = (format!("topic.{number}"), AckLevel::Disk);
        let (topic, body) = (Name::parse(&name).unwrap(), payload_body(&[number; 5_000]));
        ask(&name, Request::Publish { topic, ack, body, count: 1, terms: Terms::default() });
    }
    let (name, op) = (Name::parse("poll").unwrap(), TallyOp::Create);
    let options = ["A", "B"].map(str::to_owned).to_vec();
    let rules = Some(Arc::new(TallyRules::new(TallyKind::Single, options)));
    ask("poll", Request::Tally { name: name.clone(), op, rules, incarnation: None });
    let (voter, choices) = (tidewire_core::cell::VoterId([3; 16]), vec![Choice::Index(1)]);
    ask("poll", Request::Vote { tally: name, voter, choices, revision: None, issuer: None });
    shards
        .iter_mut()
        .map(|shard| {
            shard.seal();
            shard.snapshot().unwrap()
        })
        .collect()
}

/// A backup of these, with this many promised.
fn write(path: &Path, snapshots: Vec<ShardSnapshot>, key: &str) {
    std::fs::write(path, sent(End::default(), snapshots, key)).unwrap();
}

fn header(key: &str) -> Header {
    Header {
        format: FORMAT,
        server: "tidewire/test".to_owned(),
        node: "here".to_owned(),
        time_ms: 10,
        master_key: key.to_owned(),
        directory_ms: 9,
        cluster: None,
        shards: SHARDS_MAX - SHARDS,
    }
}

/// What is sent behind the shards that `before` counts.
fn sent(before: End, snapshots: Vec<ShardSnapshot>, key: &str) -> Vec<u8> {
    let header = header(key);
    let (sender, mut receiver) = mpsc::channel(4);
    let writer = std::thread::spawn(move || {
        let mut snapshots = snapshots.into_iter();
        let part = |snapshot| Part { snapshot, blocks: Box::new(std::iter::empty()) };
        send(&header, before, || Ok(snapshots.next().map(part)), &sender).unwrap();
    });
    let mut bytes = Vec::new();
    while let Some(piece) = receiver.blocking_recv() {
        bytes.extend_from_slice(&piece.unwrap());
    }
    writer.join().unwrap();
    bytes
}

#[test]
fn a_backup_is_read_back_and_damage_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    write(&path, snapshots(), "key");
    let summary = Reader::open(&path).unwrap().verify().unwrap();
    assert_eq!(summary.shards, SHARDS_MAX - SHARDS);
    let whole = std::fs::read(&path).unwrap();
    let read = || Reader::open(&path).and_then(Reader::verify);
    for at in (0..whole.len()).step_by(1_999).chain(0..64).chain(whole.len() - 64..whole.len()) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        let error = read().expect_err("a flipped bit").to_string();
        assert!(error.contains("backup"), "{error}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(read().is_err(), "cut at {at}");
    }
}

#[test]
fn a_backup_that_lacks_a_shard_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    let mut some = snapshots();
    some.pop();
    write(&path, some, "key");
    let error = Reader::open(&path).unwrap().verify().unwrap_err().to_string();
    assert!(error.contains("15 whole shards") && error.contains("cut off"), "{error}");
}

#[test]
fn a_backup_that_was_cut_anywhere_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    write(&path, snapshots(), "key");
    let whole = std::fs::read(&path).unwrap();
    let mut resumed = 0;
    for at in (0..whole.len()).step_by(997) {
        std::fs::write(&path, &whole[..at]).unwrap();
        let Ok(Some(begun)) = begun(&path) else {
            assert!(at < 30_000, "nothing to go on with at {at}");
            continue;
        };
        let behind: usize = begun.at.try_into().unwrap();
        let mut file = whole[..behind].to_vec();
        let left = snapshots().into_iter().skip(begun.before.shards.into()).collect();
        file.extend(sent(begun.before, left, "key"));
        assert_eq!(file, whole, "cut at {at}");
        resumed += 1;
    }
    assert!(resumed > 100, "{resumed}");
}

#[test]
fn a_backup_that_lacks_a_shard_says_why_and_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    write(&path, snapshots(), "key");
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(ending(&whole), Ending::Whole);
    let (sender, mut receiver) = mpsc::channel(64);
    let mut left = snapshots().into_iter();
    let mut next = || match left.len() {
        7 => Err(std::io::Error::other("shard 25 is not to be had")),
        _ => {
            Ok(left.next().map(|snapshot| Part { snapshot, blocks: Box::new(std::iter::empty()) }))
        }
    };
    let failed = send(&header("key"), End::default(), &mut next, &sender);
    assert!(failed.is_err());
    drop(sender);
    let mut part = Vec::new();
    while let Some(piece) = receiver.blocking_recv() {
        part.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(ending(&part), Ending::Failed("shard 25 is not to be had".to_owned()));
    assert_eq!(ending(&part[..part.len() - 1]), Ending::Cut);
    std::fs::write(&path, &part).unwrap();
    let error = Reader::open(&path).unwrap().verify().unwrap_err().to_string();
    assert!(error.contains("after 9 whole shards") && error.contains("shard 25"), "{error}");
    // The last one may have lacked blocks.
    assert_eq!(begun(&path).unwrap().unwrap().before.shards, 8);
}

#[test]
fn what_was_damaged_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    write(&path, snapshots(), "key");
    let whole = std::fs::read(&path).unwrap();
    let shards = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        begun(&path).unwrap().map(|begun| begun.before.shards)
    };
    assert_eq!(shards(&whole), Some(SHARDS_MAX - SHARDS), "all of them are there");
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 1;
    let before = shards(&damaged).unwrap();
    assert!(before > 0 && before < SHARDS_MAX - SHARDS, "{before}");
    std::fs::write(&path, b"something else").unwrap();
    assert!(begun(&path).is_err());
}

fn open(directory: &Path) -> Vec<Shard> {
    let storage = StorageConfig::default();
    let (directory, shard) = (directory.to_owned(), config);
    let opening = Opening {
        directory,
        node: "here",
        config: &storage,
        now_ms: 2_000,
        shard: &shard,
        is_clustered: false,
    };
    let opened = Storage::open(&opening).unwrap();
    let (shards, rooms): (Vec<Shard>, Vec<_>) = opened.shards.into_iter().unzip();
    drop(rooms);
    opened.storage.join();
    shards
}

#[test]
fn a_restored_directory_holds_the_same_in_other_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let (path, directory) = (folder.path().join("backup"), folder.path().join("data"));
    write(&path, snapshots(), "a key that is lost");
    let mut how = Restore {
        file: path,
        directory: directory.clone(),
        node: "here".to_owned(),
        master_key_file: None,
        without_master_key: false,
        now_ms: 1_000,
    };
    let refused = restore(&how, &|_| ()).unwrap_err().to_string();
    assert!(refused.contains("--without-master-key"), "{refused}");
    assert!(!directory.join("journal").exists(), "nothing is left of it");
    how.without_master_key = true;
    restore(&how, &|_| ()).unwrap();
    let again = restore(&how, &|_| ()).unwrap_err().to_string();
    assert!(again.contains("holds a journal already"), "{again}");
    let mut shards = open(&directory);
    let (topics, tallies): (Vec<_>, Vec<_>) = shards
        .iter()
        .map(|shard| {
            let inventory = shard.inventory();
            (inventory.topics, inventory.tallies)
        })
        .unzip();
    assert_eq!(topics.iter().flatten().filter(|topic| topic.next == 1).count(), 40);
    let polls: Vec<_> = tallies.iter().flatten().collect();
    assert_eq!((polls.len(), polls[0].ballots, polls[0].state.as_str()), (1, 1, "closed"));
    let poll = &mut shards[usize::from(home("poll") - SHARDS)];
    let ends: Vec<u64> = poll.snapshot().unwrap().topic_ends().map(|(_, epoch, _)| epoch).collect();
    let restored = tidewire_core::epoch_anew(9, 1_000);
    assert!(ends.iter().all(|epoch| *epoch == restored), "{ends:?}");
}
