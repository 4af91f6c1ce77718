//! Groups over a disk whose power is cut, and whose flushes are counted.
//!
//! What such a disk has come to hold is put into a real database, and that is started with.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self as threads, Receiver, SyncSender};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidewire_core::shard::Shard;
use tidewire_core::{SHARDS, SHARDS_MAX};
use tokio::sync::mpsc;

use super::groups::entry;
use super::{open_as, publish, reopened, shard_config, topic_in};
use crate::journal::base::Base;
use crate::journal::checkpoint::Record;
use crate::journal::committer::Committer;
use crate::journal::disk::Disk;
use crate::journal::ends::{Ends, EndsFile, KeptEnds};
use crate::journal::group_log::FoundLog;
use crate::journal::group_state::GroupState;
use crate::journal::key::Key;
use crate::journal::message::{Message, Pending};
use crate::journal::places::Place;
use crate::journal::saving::Covered;
use crate::journal::staging::Writes;
use crate::journal::{Done, EntryId, GroupLog, META, Opened, State, Vote};

/// What a cut leaves of the commit that it comes into.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    Nothing,
    /// What is remembered of groups is written first.
    States,
    /// It is all there, and nobody was told so.
    Everything,
}

#[derive(Default)]
pub(super) struct Held {
    blocks: BTreeMap<Key, Vec<u8>>,
    states: BTreeMap<u16, GroupState>,
    commits: usize,
    /// The commit that the power is cut in, counted from 0.
    pub(super) cut: Option<(usize, Left)>,
}

/// A disk in memory, of which each commit waits until it may go on, if it has to.
#[derive(Clone, Default)]
pub(super) struct Cuttable {
    pub(super) held: Arc<Mutex<Held>>,
    pub(super) gate: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Held {
    pub(super) fn commits(&self) -> usize {
        self.commits
    }
}

impl Disk for Cuttable {
    fn commit(&mut self, writes: Writes) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap_or_default();
        }
        let Writes { removed, blocks, states, taken: _ } = writes;
        let mut held = self.held.lock().unwrap();
        let left = held.cut.filter(|(commit, _)| held.commits >= *commit).map(|(_, left)| left);
        held.commits += 1;
        match left {
            Some(Left::Nothing) => {}
            Some(Left::States) => held.states.extend(states),
            Some(Left::Everything) | None => {
                held.states.extend(states);
                for (shard, indices) in removed {
                    let is_kept = |key: &Key| key.shard != shard || !indices.contains(&key.index);
                    held.blocks.retain(|key, _| is_kept(key));
                }
                held.blocks.extend(blocks);
            }
        }
        match left {
            Some(_) => Err(io::Error::other("the power is cut")),
            None => Ok(()),
        }
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
        Ok(u64::MAX)
    }
}

/// Groups over this disk, and what the committer is told by.
pub(super) struct Node {
    pub(super) logs: Vec<GroupLog>,
    pub(super) queue: SyncSender<Message>,
    pub(super) committer: std::thread::JoinHandle<()>,
    notices: Vec<mpsc::Receiver<crate::journal::message::Notice>>,
}

/// `data`: an empty data directory that was closed.
pub(super) fn node(disk: Cuttable, data: &Path) -> Node {
    let (queue, receiver) = threads::sync_channel::<Message>(10_000);
    let (rooms, notices): (Vec<_>, Vec<_>) =
        (SHARDS..SHARDS_MAX).map(|_| mpsc::channel(100)).unzip();
    let state = Arc::new(State::default());
    let store = reopened(&data.join("unused"));
    let (reads, parts) = (store.reads(), store.parts());
    let log = |shard| {
        let (queue, state) = (queue.clone(), Arc::clone(&state));
        let reads = (reads.clone(), parts.clone(), threads::sync_channel(1).0);
        GroupLog::new(shard, FoundLog::default(), queue, reads, state)
    };
    let logs = (SHARDS..SHARDS_MAX).chain([META]).map(log).collect();
    let committer = Committer {
        disk,
        state: Arc::clone(&state),
        ends: Ends::default(),
        kept_ends: KeptEnds::of(EndsFile::at(data.join("ends")), Ends::default()),
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
    let committer = std::thread::spawn(move || committer.run(&receiver));
    Node { logs, queue, committer, notices }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, u8),
    Truncate(usize, u8),
    Vote(usize),
    Commit(usize),
    /// The ends are written down.
    Ends,
    Yield,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 14_usize..17;
    prop_oneof![
        6 => (group.clone(), 1_u8..4).prop_map(|(group, entries)| Step::Append(group, entries)),
        2 => (group.clone(), 1_u8..5).prop_map(|(group, entries)| Step::Truncate(group, entries)),
        2 => group.clone().prop_map(Step::Vote),
        1 => group.prop_map(Step::Commit),
        2 => Just(Step::Ends),
        2 => Just(Step::Yield),
    ]
}

/// What was told of one group to be on the disk: behind its entries, and the term of its vote.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Told {
    /// Every entry that was told of and not taken back later: term by index.
    last: Option<EntryId>,
    vote: u64,
}

/// Runs the steps until the power is cut; returns what was told to be on the disk.
async fn run(node: &Node, steps: Vec<Step>) -> Vec<Told> {
    let told = Arc::new(Mutex::new(vec![Told::default(); 17]));
    let mut terms = [1_u64; 17];
    for step in steps {
        let done = match step {
            Step::Append(group, entries) => {
                let log = &node.logs[group];
                let first = log.last().map_or(0, |last| last.index + 1);
                let new: Vec<_> = (first..first + u64::from(entries))
                    .map(|index| entry(terms[group], index, 100))
                    .collect();
                let (told, last) = (Arc::clone(&told), new.last().map(|entry| entry.id));
                let done = Done::new(move |outcome| {
                    if outcome.is_ok() {
                        told.lock().unwrap()[group].last = last;
                    }
                });
                log.append(new, done).await
            }
            Step::Truncate(group, entries) => {
                terms[group] += 1;
                truncate(&node.logs[group], entries, &told, group).await
            }
            Step::Vote(group) => {
                terms[group] += 1;
                let vote = Vote { term: terms[group], node: Some(2), is_leader: false };
                let saved = node.logs[group].save_vote(vote).await;
                if saved.is_ok() {
                    told.lock().unwrap()[group].vote = vote.term;
                }
                saved
            }
            // It may be so before the entry is on this disk.
            Step::Commit(group) => node.logs[group].save_committed(node.logs[group].last()),
            Step::Ends => {
                // A checkpoint of a shard that has nothing to do with it does so.
                let covered = Covered::unused(SHARDS, Record::NONE, Vec::new(), 0);
                let written = Message::Written { shard: SHARDS, outcome: Ok(covered) };
                node.queue.send(written).unwrap();
                Ok(())
            }
            Step::Yield => {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                Ok(())
            }
        };
        if done.is_err() {
            break;
        }
    }
    node.queue.send(Message::Stop).unwrap();
    while !node.committer.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let told = told.lock().unwrap();
    told.clone()
}

async fn truncate(
    log: &GroupLog,
    entries: u8,
    told: &Mutex<Vec<Told>>,
    group: usize,
) -> io::Result<()> {
    let next = log.last().map_or(0, |last| last.index + 1);
    let committed = log.remembered().committed.map_or(0, |id| id.index + 1);
    let from = next.saturating_sub(entries.into()).max(committed);
    let before = log.read(0..from, usize::MAX).unwrap().last().map(|entry| entry.id);
    let gone = log.truncate(from).await;
    // Nobody may count on them any more.
    let mut told = told.lock().unwrap();
    if told[group].last.is_some_and(|last| last.index >= from) {
        told[group].last = before;
    }
    gone
}

/// An empty data directory.
pub(super) fn made(data: &Path) {
    let Opened { shards, groups, storage, .. } = open_as(data, "n", true).unwrap();
    drop((shards, groups));
    storage.join();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn what_was_told_to_be_on_the_disk_is_there_after_a_power_cut(
        steps in proptest::collection::vec(step(), 1..60),
        commit in 0_usize..30,
        left in prop_oneof![
            Just(Left::Nothing), Just(Left::States), Just(Left::Everything)
        ],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        made(&data);
        let disk = Cuttable::default();
        disk.held.lock().unwrap().cut = Some((commit, left));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let told = runtime.block_on(run(&node(disk.clone(), &data), steps));
        let mut store = reopened(&data.join("journal"));
        let held = std::mem::take(&mut *disk.held.lock().unwrap());
        let blocks = held.blocks.into_iter().collect();
        let states = held.states.into_iter().collect();
        store.commit(Writes { blocks, states, ..Writes::default() }).unwrap();
        drop(store);

        let Opened { shards, groups, storage, .. } = open_as(&data, "n", true).unwrap();
        for (group, told) in groups.iter().zip(told) {
            let (shard, log) = (group.log.shard(), &group.log);
            let vote = log.remembered().vote.map_or(0, |vote| vote.term);
            prop_assert!(vote >= told.vote, "shard {}: voted in {}, told {:?}", shard, vote, told);
            let entries = log.read(0..u64::MAX, usize::MAX).unwrap();
            let committed = log.remembered().committed;
            prop_assert!(
                committed.is_none_or(|id| entries.iter().any(|entry| entry.id == id)),
                "shard {}: {:?} counts as committed, and is not there", shard, committed
            );
            if let Some(last) = told.last {
                let at = usize::try_from(last.index).unwrap();
                prop_assert_eq!(entries.get(at).map(|entry| entry.id), Some(last), "shard {}", shard);
            }
            for found in &entries {
                prop_assert_eq!(found, &entry(found.id.term, found.id.index, 100));
            }
        }
        drop((shards, groups));
        storage.join();
    }
}

#[tokio::test]
async fn groups_and_rounds_that_come_together_share_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    made(&data);
    let (go, gate) = threads::channel();
    let gate = Some(Arc::new(Mutex::new(gate)));
    let disk = Cuttable { gate, ..Cuttable::default() };
    let mut node = node(disk.clone(), &data);
    let (sender, mut stored) = mpsc::channel(100);
    let append = async |group: usize, index: u64| {
        let sender = sender.clone();
        let done =
            Done::new(move |outcome| outcome.map(|()| sender.try_send(group).unwrap()).unwrap());
        node.logs[group].append(vec![entry(1, index, 100)], done).await.unwrap();
    };
    // This one is being written while all the others gather.
    append(0, 0).await;
    std::thread::sleep(std::time::Duration::from_millis(100));
    for group in 0..15 {
        append(group, u64::from(group == 0)).await;
    }
    append(16, 0).await;
    let vote = Vote { term: 1, node: Some(1), is_leader: false };
    let log = node.logs[3].clone();
    let voting = tokio::spawn(async move { log.save_vote(vote).await });
    tokio::task::yield_now().await;
    // The last shard has no group here, and logs a round.
    let mut shard = Shard::new(shard_config(SHARDS_MAX - 1, 7));
    shard.handle(publish(&topic_in(SHARDS_MAX - 1), 1, b"with the others"), 2_000);
    let (shard, round) = (SHARDS_MAX - 1, shard.seal().unwrap());
    let pending = Pending { shard, round, time_ms: 2_000, weight: 100 };
    node.queue.send(Message::Round(pending)).unwrap();
    go.send(()).unwrap();
    go.send(()).unwrap();
    for _ in 0..17 {
        stored.recv().await.unwrap();
    }
    voting.await.unwrap().unwrap();
    assert!(node.notices[15].recv().await.is_some());
    let (commits, blocks, states) = {
        let held = disk.held.lock().unwrap();
        (held.commits, held.blocks.len(), held.states.len())
    };
    assert_eq!((commits, blocks, states), (2, 18, 16));
    drop(go);
    node.queue.send(Message::Stop).unwrap();
    node.committer.join().unwrap();
}
