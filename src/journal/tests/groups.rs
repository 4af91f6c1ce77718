//! Logs of groups over a real database, held against a model, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tidewire_core::SHARDS;
use tidewire_core::shard::Shard;
use tokio::sync::oneshot;

use super::{
    copy_dir, filled, hashes, open, open_as, payload, publish, shard_config, topic_in, turn,
};
use crate::journal::{
    Base, BlockKind, Done, EntryId, GroupEntry, GroupLog, Journal, META, Membership, Opened,
    OpenedGroup, Outcome, Salvage, Storage, Vote, bodies_of, verify,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// An entry that changes no shard.
pub(super) fn entry(term: u64, index: u64, bytes: usize) -> GroupEntry {
    let id = EntryId { term, index };
    let bytes = vec![u8::try_from((term + index) % 251).unwrap(); bytes].into();
    let kind = BlockKind::Membership;
    GroupEntry { id, kind, version: 0, time_ms: 0, entries: 0, bytes }
}

/// Appends, and waits until it is on the disk.
async fn append(log: &GroupLog, entries: Vec<GroupEntry>) {
    let (sender, outcome) = oneshot::channel();
    log.append(entries, Done::new(|outcome| drop(sender.send(outcome)))).await.unwrap();
    outcome.await.unwrap().unwrap();
}

fn group_of(opened: Opened, shard: u16) -> (OpenedGroup, Storage) {
    let Opened { groups, storage, shards, .. } = opened;
    drop(shards);
    (groups.into_iter().find(|group| group.log.shard() == shard).unwrap(), storage)
}

/// Opens what was closed a moment ago.
fn group(data: &Path, shard: u16) -> (OpenedGroup, Storage) {
    group_of(open_as(data, "n", true).unwrap(), shard)
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        entries: u8,
        bytes: usize,
        is_new_term: bool,
        waits: bool,
    },
    /// Takes back so many of those that are not committed.
    Truncate(u8),
    /// Commits so many more.
    Commit(u8),
    /// Purges so many of those that are committed.
    Purge(u8),
    /// A state from elsewhere is so much further on.
    TakeOver(u8),
    Vote(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let append = (1_u8..6, 0_usize..40_000, any::<bool>(), any::<bool>());
    prop_oneof![
        6 => append.prop_map(|(entries, bytes, is_new_term, waits)| Step::Append {
            entries,
            bytes,
            is_new_term,
            waits,
        }),
        2 => (0_u8..6).prop_map(Step::Truncate),
        3 => (0_u8..6).prop_map(Step::Commit),
        2 => (0_u8..6).prop_map(Step::Purge),
        1 => (1_u8..9).prop_map(Step::TakeOver),
        1 => any::<u8>().prop_map(Step::Vote),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<u64, GroupEntry>,
    next: u64,
    term: u64,
    vote: Option<Vote>,
    committed: Option<EntryId>,
    purged: Option<EntryId>,
}

impl Model {
    fn last(&self) -> Option<EntryId> {
        self.entries.last_key_value().map(|(_, entry)| entry.id).or(self.purged)
    }

    fn committed_next(&self) -> u64 {
        self.committed.map_or(0, |id| id.index + 1)
    }

    fn check(&self, log: &GroupLog) {
        assert_eq!(log.last(), self.last());
        let remembered = log.remembered();
        assert_eq!((remembered.vote, remembered.purged), (self.vote, self.purged));
        assert_eq!(remembered.committed, self.committed);
        let all = log.read(0..u64::MAX, usize::MAX).unwrap();
        assert!(all.iter().eq(self.entries.values()), "{} entries", all.len());
        if let Some((first, _)) = self.entries.first_key_value() {
            let some = log.read(first + 1..u64::MAX, 50_000).unwrap();
            assert_eq!(some.is_empty(), self.entries.len() == 1);
            assert!(some.iter().eq(self.entries.values().skip(1).take(some.len())));
            let weight: usize = some.iter().map(GroupEntry::weight).sum();
            assert!(some.len() < 2 || weight <= 50_000, "{weight}");
        }
    }

    async fn run(&mut self, log: &GroupLog, step: Step) {
        match step {
            Step::Append { entries, bytes, is_new_term, waits } => {
                self.term += u64::from(is_new_term);
                let indices = self.next..self.next + u64::from(entries);
                let new: Vec<_> = indices.map(|index| entry(self.term, index, bytes)).collect();
                self.entries.extend(new.iter().map(|entry| (entry.id.index, entry.clone())));
                self.next += u64::from(entries);
                match waits {
                    true => append(log, new).await,
                    false => log.append(new, Done::new(|done| done.unwrap())).await.unwrap(),
                }
            }
            Step::Truncate(count) => {
                let from = self.next.saturating_sub(count.into()).max(self.committed_next());
                let first = self.entries.first_key_value().map_or(self.next, |(first, _)| *first);
                let from = from.max(first);
                self.entries.split_off(&from);
                self.next = from;
                log.truncate(from).await.unwrap();
            }
            Step::Commit(count) => {
                let next = (self.committed_next() + u64::from(count)).min(self.next);
                let last = next.checked_sub(1).and_then(|last| self.entries.get(&last));
                if let Some(last) = last {
                    self.committed = Some(last.id);
                    log.save_committed(self.committed).unwrap();
                }
            }
            Step::Purge(count) => {
                let upto = self.entries.keys().nth(usize::from(count)).copied();
                let upto = upto.filter(|upto| *upto < self.committed_next());
                if let Some(upto) = upto {
                    self.purged = Some(self.entries[&upto].id);
                    self.entries = self.entries.split_off(&(upto + 1));
                    log.purge(self.purged.unwrap()).unwrap();
                }
            }
            Step::TakeOver(more) => {
                self.entries.clear();
                let id = EntryId { term: self.term, index: self.next + u64::from(more) };
                self.next = id.index + 1;
                (self.purged, self.committed) = (Some(id), Some(id));
                log.purge(id).unwrap();
                log.save_committed(Some(id)).unwrap();
            }
            Step::Vote(node) => {
                let is_leader = node % 2 == 0;
                self.vote = Some(Vote { term: self.term, node: Some(node.into()), is_leader });
                log.save_vote(self.vote.unwrap()).await.unwrap();
            }
            Step::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_what_was_written_to_it(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let runtime = runtime();
        let mut model = Model::default();
        let (mut opened, mut storage) = group(&data, META);
        for step in steps.into_iter().chain([Step::Reopen]) {
            if matches!(step, Step::Reopen) {
                drop(opened);
                storage.join();
                (opened, storage) = group(&data, META);
            }
            runtime.block_on(model.run(&opened.log, step));
            model.check(&opened.log);
        }
        drop(opened);
        storage.join();
        let report = verify(&data, &|_| {}).unwrap();
        prop_assert!(report.is_whole(), "{:?}", report.findings);
    }
}

#[tokio::test]
async fn what_does_not_go_on_or_is_committed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (OpenedGroup { log, .. }, storage) = group(&directory.path().join("data"), SHARDS);
    append(&log, vec![entry(1, 0, 9), entry(1, 1, 9), entry(2, 2, 9)]).await;
    log.save_committed(Some(EntryId { term: 1, index: 1 })).unwrap();
    let ignored = || Done::new(|_| {});
    for wrong in [entry(2, 4, 9), entry(2, 2, 9), entry(1, 3, 9)] {
        let refused = log.append(vec![wrong], ignored()).await.unwrap_err().to_string();
        assert!(refused.contains("does not go on"), "{refused}");
    }
    let refused = log.truncate(1).await.unwrap_err().to_string();
    assert!(refused.contains("is committed"), "{refused}");
    log.truncate(2).await.unwrap();
    append(&log, vec![entry(3, 2, 9)]).await;
    assert_eq!(log.last(), Some(EntryId { term: 3, index: 2 }));
    assert_eq!(storage.state.failure(), None, "nothing of it came to the disk");
    drop(log);
    storage.join();
}

#[tokio::test]
async fn entries_that_left_memory_are_read_from_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (OpenedGroup { log, .. }, storage) = group(&directory.path().join("data"), META);
    // Three times what is kept in memory, in entries of which some have several values.
    let all: Vec<_> = (0..40).map(|index| entry(1, index, 300_000)).collect();
    for entry in &all {
        append(&log, vec![entry.clone()]).await;
    }
    assert_eq!(log.read(0..40, usize::MAX).unwrap(), all);
    assert_eq!(log.fetch(0..40, usize::MAX).await.unwrap(), all);
    assert_eq!(log.fetch(3..40, 1024 * 1024).await.unwrap(), all[3..6]);
    assert_eq!(log.fetch(3..40, 0).await.unwrap(), all[3..4]);
    assert_eq!(log.fetch(39..60, 0).await.unwrap(), all[39..]);
    drop(log);
    storage.join();
}

#[tokio::test]
async fn a_round_does_not_pass_its_group_by() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_as(&directory.path().join("data"), "n", true).unwrap();
    let Opened { shards, groups, storage, .. } = opened;
    let (mut shard, room) = shards.into_iter().next().unwrap();
    let mut journal = Journal::Disk(room);
    let outcome = turn(&mut shard, &mut journal, publish(&topic_in(SHARDS), 1, b"alone")).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert!(storage.state.failure().unwrap().contains("belongs to its group"));
    let refused = groups[0].log.save_committed(None).unwrap_err().to_string();
    assert!(refused.contains("belongs to its group"), "{refused}");
    drop((journal, groups));
    storage.join();
}

#[tokio::test]
async fn a_forgotten_vote_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (OpenedGroup { log, .. }, storage) = group(&data, SHARDS + 4);
    append(&log, vec![entry(1, 0, 9)]).await;
    drop(log);
    storage.join();
    // The database of an earlier time below the ends of a later one.
    let earlier = directory.path().join("earlier");
    copy_dir(&data.join("journal"), &earlier);
    let (OpenedGroup { log, .. }, storage) = group(&data, SHARDS + 4);
    log.save_vote(Vote { term: 8, node: Some(2), is_leader: false }).await.unwrap();
    drop(log);
    storage.join();
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    copy_dir(&earlier, &data.join("journal"));
    let refused = open_as(&data, "n", true).err().unwrap().to_string();
    assert!(refused.contains("was in term 0, and once in 8"), "{refused}");
}

#[tokio::test]
async fn a_snapshot_of_the_group_without_a_shard_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (opened, storage) = group(&data, META);
    assert_eq!(opened.snapshot, None);
    for snapshot in [&b"first"[..], b"", b"third"] {
        opened.log.save_snapshot(snapshot.to_vec()).await.unwrap();
    }
    let refused = opened.log.save_snapshot(vec![0; 2_000_000]).await.unwrap_err().to_string();
    assert!(refused.contains("2000000 bytes"), "{refused}");
    drop(opened);
    storage.join();
    let (opened, storage) = group(&data, META);
    assert_eq!(opened.snapshot.as_deref(), Some(&b"third"[..]));
    drop(opened);
    storage.join();
}

/// Only what is committed comes into a shard; the rest is left to its group.
#[tokio::test]
async fn a_shard_is_recovered_as_far_as_its_log_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
    let (mut leading, log) = (Shard::new(shard_config(SHARDS, 7)), groups[0].log.clone());
    let mut hashes = vec![leading.durable_hash()];
    for record in 0..10 {
        let entries = logged(&mut leading, &log, record, 700);
        append(&log, entries).await;
        hashes.push(leading.durable_hash());
    }
    log.save_committed(Some(EntryId { term: 1, index: 6 })).unwrap();
    drop((shards, groups, log));
    storage.join();
    let opened = open_as(&data, "n", true).unwrap();
    assert_eq!(opened.shards[0].0.durable_hash(), hashes[7]);
    let group = &opened.groups[0];
    assert_eq!(group.applied, Some(EntryId { term: 1, index: 6 }));
    assert_eq!(group.log.last(), Some(EntryId { term: 1, index: 9 }));
    // The group goes on differently.
    group.log.truncate(8).await.unwrap();
    assert_eq!(group.log.read(0..99, usize::MAX).unwrap().len(), 8);
    let Opened { shards, groups, storage, .. } = opened;
    drop((shards, groups));
    storage.join();
}

/// What is left in a directory that was closed a moment ago.
fn salvaged(data: &Path) -> Salvage {
    let open = || Salvage::open(data, 30_000, &|shard| shard_config(shard, 7));
    for _ in 0..6_000 {
        match open() {
            Err(error) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    open().unwrap()
}

#[tokio::test]
async fn all_of_a_log_counts_when_nobody_is_left_who_knows_more() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
    let (mut leading, log) = (Shard::new(shard_config(SHARDS, 7)), groups[0].log.clone());
    for record in 0..10 {
        append(&log, logged(&mut leading, &log, record, 700)).await;
    }
    log.save_committed(Some(EntryId { term: 1, index: 6 })).unwrap();
    drop((shards, groups, log));
    storage.join();
    let left = salvaged(&data);
    let shard = &left.shards[0];
    assert_eq!(shard.last, Some(EntryId { term: 1, index: 9 }));
    assert_eq!(shard.committed, Some(EntryId { term: 1, index: 6 }));
    let state = Shard::resume(shard.snapshot().unwrap(), shard_config(SHARDS, 7)).unwrap();
    assert_eq!(state.durable_hash(), leading.durable_hash());
    assert!(left.shards[1..].iter().all(|shard| shard.last.is_none()), "there are no others");
    // Nothing has changed for its group.
    drop(left);
    let (group, storage) = group(&data, SHARDS);
    assert_eq!(group.applied, Some(EntryId { term: 1, index: 6 }));
    drop(group);
    storage.join();
}

#[tokio::test]
async fn what_is_left_behind_a_state_from_elsewhere_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
    let mut room = shards.into_iter().next().unwrap().1;
    append(&groups[0].log, (0..60).map(|index| entry(1, index, 100)).collect()).await;
    let last = EntryId { term: 3, index: 50 };
    let base = Base { last, membership: None, is_taken_over: true };
    let state = Shard::new(shard_config(SHARDS, 7)).checkpoint().unwrap();
    room.checkpoint_at(base, state, 0);
    wait_until(|| storage.state.stats().checkpoints == 1).await;
    drop((room, groups));
    storage.join();
    assert_eq!(salvaged(&data).shards[0].last, Some(last));
}

/// The entries for one more record of a shard that leads its group.
fn logged(shard: &mut Shard, log: &GroupLog, record: u64, bytes: usize) -> Vec<GroupEntry> {
    let command = publish(&topic_in(shard.number()), record + 1, &payload(record, bytes));
    shard.handle(command, 2_000);
    let first = log.last().map_or(0, |last| last.index + 1);
    let entry = |(index, body): (u64, crate::journal::Body)| {
        let (version, time_ms) = (body.version, body.time_ms);
        let (bytes, entries) = body.into_bytes();
        let (id, kind) = (EntryId { term: 1, index }, BlockKind::Changes);
        GroupEntry { id, kind, version, time_ms, entries, bytes: bytes.into() }
    };
    let bodies = bodies_of(&shard.seal().unwrap(), 2_000).unwrap();
    (first..).zip(bodies).map(entry).collect()
}

#[tokio::test]
async fn a_block_goes_when_it_is_covered_and_purged() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
    let (mut shard, mut room) = shards.into_iter().next().unwrap();
    let log = groups[0].log.clone();
    // It logs 600 records, and keeps 200 of them.
    for record in 0..600 {
        let entries = logged(&mut shard, &log, record, 10_000);
        let next_block = entries.last().unwrap().id.index + 1;
        let bytes = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
        append(&log, entries).await;
        let next_sequence = shard.progress().sequence;
        let stored = tidewire_core::shard::Command::Stored { next_sequence, next_block, bytes };
        shard.handle(stored, 2_000);
        drop(shard.seal());
    }
    let (last, hash) = (log.last().unwrap(), shard.durable_hash());
    let there = || storage.reads().count(SHARDS, 0..u64::MAX).unwrap();
    let base = || Base { last, membership: None, is_taken_over: false };
    // What is not committed does not count.
    room.checkpoint_at(base(), shard.checkpoint().unwrap(), 0);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(storage.state.stats().checkpoints, 0);
    log.save_committed(Some(last)).unwrap();
    room.checkpoint_at(base(), shard.checkpoint().unwrap(), 0);
    wait_until(|| storage.state.stats().checkpoints == 1).await;
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(there(), last.index + 1, "covered, and not purged");
    log.purge(EntryId { term: 1, index: 99 }).unwrap();
    wait_until(|| there() == last.index - 99).await;
    assert_eq!(log.read(0..u64::MAX, 0).unwrap()[0].id.index, 100);
    log.purge(last).unwrap();
    // Records that are kept lie in the last ones.
    wait_until(|| there() < 300).await;
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(there() > 190, "{}", there());
    drop((room, groups, log));
    storage.join();
    let opened = open_as(&data, "n", true).unwrap();
    assert_eq!(opened.shards[0].0.durable_hash(), hash);
    assert_eq!(opened.groups[0].log.last(), Some(last));
    let Opened { shards, groups, storage, .. } = opened;
    drop((shards, groups));
    storage.join();
}

/// A replica that was behind takes a leader's state over, and its power is cut before it says of its log
/// that this begins behind it.
#[tokio::test]
async fn a_state_that_was_taken_over_stands_above_what_is_left_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
    let mut room = shards.into_iter().next().unwrap().1;
    // It has entries that no majority has.
    append(&groups[0].log, (0..5).map(|index| entry(1, index, 100)).collect()).await;
    let mut leading = Shard::new(shard_config(SHARDS, 7));
    for record in 0..30 {
        drop(logged(&mut leading, &groups[0].log, record, 700));
    }
    let last = EntryId { term: 3, index: 50 };
    let membership = Membership { id: EntryId { term: 2, index: 9 }, bytes: vec![1, 2, 3] };
    let base = Base { last, membership: Some(membership.clone()), is_taken_over: true };
    room.checkpoint_at(base, leading.checkpoint().unwrap(), 0);
    wait_until(|| storage.state.stats().checkpoints == 1).await;
    drop((room, groups));
    storage.join();
    for _ in 0..2 {
        let opened = open_as(&data, "n", true).unwrap();
        let group = &opened.groups[0];
        assert_eq!(opened.shards[0].0.durable_hash(), leading.durable_hash());
        assert_eq!((group.applied, &group.membership), (Some(last), &Some(membership.clone())));
        let remembered = group.log.remembered();
        assert_eq!((remembered.purged, remembered.committed), (Some(last), Some(last)));
        let end = group.log.last().unwrap();
        append(&group.log, vec![entry(4, end.index + 1, 100)]).await;
        let Opened { shards, groups, storage, .. } = opened;
        drop((shards, groups));
        storage.join();
    }
    let (group, storage) = group(&data, SHARDS);
    let left = group.log.read(0..u64::MAX, usize::MAX).unwrap();
    assert_eq!(left, [entry(4, 51, 100), entry(4, 52, 100)]);
    drop(group);
    storage.join();
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

#[tokio::test]
async fn the_group_of_a_shard_that_was_alone_begins_behind_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Some shards get as far as a checkpoint.
    let before = filled(&data, 120, 700).await;
    for _ in 0..2 {
        let opened = open_as(&data, "n", true).unwrap();
        assert_eq!(hashes(&opened), before);
        for group in opened.groups.iter().filter(|group| group.log.shard() != META) {
            let last = group.log.last().unwrap();
            assert!(last.term == 0 && last.index >= 119, "{last:?}");
            assert_eq!((group.applied, group.log.remembered().purged), (Some(last), Some(last)));
            assert!(group.log.read(0..u64::MAX, usize::MAX).unwrap().is_empty());
        }
        assert_eq!(opened.groups[16].log.last(), None);
        let Opened { shards, groups, storage, .. } = opened;
        drop((shards, groups));
        storage.join();
    }
    // Nothing was written for a group, so it is still as it was.
    let opened = open(&data, "n").unwrap();
    assert_eq!(hashes(&opened), before);
    drop(opened.shards);
    opened.storage.join();
}
