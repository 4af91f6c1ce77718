//! A node with one shard of interest: its journal, and the shard as its group's leader has it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewire_core::SHARDS;
use tidewire_core::shard::{Command, LogEntry, Shard, ShardConfig, ShardLimits, ShardSnapshot};
use tidewire_core::topic::{EXTENT_BYTES, Policy, PolicyTable};
use tidewire_protocol::Pattern;
use tidewire_protocol::frame::AckLevel;

use super::super::{Source, Taken};
use super::commands::Chance;
use crate::journal::tests::{Cut, open_cut, open_with, stored_records};
use crate::journal::{
    Base, BlockKind, DiskRoom, Done, EntryId, GroupEntry, GroupLog, Membership, Opened,
    OpenedGroup, Storage, bodies_of, verify,
};

pub(super) const SHARD: u16 = SHARDS;

/// A shard with room for little in memory, in which records come and go.
pub(super) fn config(shard: u16, _epoch: u64) -> ShardConfig {
    // Whatever the names, they may be in this shard.
    let (ack_max, partitions) = (AckLevel::Disk, SHARDS);
    let map = Policy {
        map_keys_max: 7,
        retention_ms: Some(400),
        retention_records: 30,
        allow_delete: true,
        ack_max,
        partitions,
        ..Policy::default()
    };
    let plain = Policy {
        retention_records: 60,
        allow_delete: true,
        ack_max,
        partitions,
        ..Policy::default()
    };
    let polls = Policy { ack_max: AckLevel::Memory, ..Policy::default() };
    let pattern = |text: &str| Pattern::parse(text).unwrap();
    let rules = vec![(pattern("map.>"), map), (pattern("tally.>"), polls)];
    let policies = Arc::new(PolicyTable::new(rules, plain));
    let limits = ShardLimits {
        bytes_max: 100,
        voters_max: 12,
        batch_bytes_max: 60,
        ..ShardLimits::default()
    };
    ShardConfig { shard, epoch: 77, seed: 3, policies, limits }
}

pub(super) struct Node {
    pub(super) data: PathBuf,
    pub(super) shard: Shard,
    pub(super) room: RefCell<DiskRoom>,
    pub(super) group: OpenedGroup,
    pub(super) storage: Storage,
    pub(super) chance: Chance,
    pub(super) now_ms: u64,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(super) fn open(data: &Path, seed: u64) -> Self {
        Self::of(open_with(data, &config).unwrap(), data, seed)
    }

    /// Over a disk whose power is cut.
    pub(super) fn open_cut(data: &Path, cut: &Cut) -> Self {
        Self::of(open_cut(data, &config, cut).unwrap(), data, 5)
    }

    fn of(opened: Opened, data: &Path, seed: u64) -> Self {
        let Opened { shards, groups, storage, .. } = opened;
        let (shard, room) = shards.into_iter().next().unwrap();
        let group = groups.into_iter().next().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (data, chance, now_ms) = (data.to_owned(), Chance(seed), 1_000);
        let room = RefCell::new(room);
        Self { data, shard, room, group, storage, chance, now_ms, runtime }
    }

    pub(super) fn log(&self) -> &GroupLog {
        &self.group.log
    }

    /// Closes it, and opens it again.
    pub(super) fn reopened(self) -> Self {
        let (data, now_ms, seed) = (self.data.clone(), self.now_ms, self.chance.0);
        self.close();
        Self { now_ms, ..Self::open(&data, seed) }
    }

    pub(super) fn close(self) {
        let Self { shard, room, group, storage, .. } = self;
        drop((shard, room, group));
        storage.join();
    }

    /// A turn of a leader's shard, with random commands; what it logs is appended and committed.
    pub(super) fn turn(&mut self) {
        let commands = self.chance.turn(&mut self.now_ms);
        self.shard.handle_timeout(self.now_ms);
        self.commands(commands);
    }

    pub(super) fn commands(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|command| self.shard.handle(command, self.now_ms));
        let Some(round) = self.shard.seal() else { return };
        let first = self.log().last().map_or(0, |last| last.index + 1);
        let bodies = bodies_of(&round, self.now_ms).unwrap();
        let entry = |(index, body): (u64, crate::journal::Body)| {
            let (version, time_ms) = (body.version, body.time_ms);
            let (bytes, entries) = body.into_bytes();
            let (id, kind) = (EntryId { term: 1, index }, BlockKind::Changes);
            GroupEntry { id, kind, version, time_ms, entries, bytes: bytes.into() }
        };
        let entries: Vec<_> = (first..).zip(bodies).map(entry).collect();
        if !entries.is_empty() {
            self.append(entries);
            self.stored();
        }
    }

    pub(super) fn append(&self, entries: Vec<GroupEntry>) {
        let (sender, outcome) = std::sync::mpsc::channel();
        let done = Done::new(move |outcome| sender.send(outcome).unwrap());
        self.runtime.block_on(self.log().append(entries, done)).unwrap();
        outcome.recv().unwrap().unwrap();
        self.log().save_committed(self.log().last()).unwrap();
    }

    /// The shard is told how far its log goes, in extents that are small for a test.
    fn stored(&mut self) {
        let next_block = self.log().last().unwrap().index + 1;
        let (next_sequence, bytes) = (self.shard.progress().sequence, EXTENT_BYTES / 3);
        let stored = Command::Stored { next_sequence, next_block, bytes };
        self.shard.handle(stored, self.now_ms);
        assert!(self.shard.seal().is_none_or(|round| round.log.is_empty()));
    }

    /// A replica applies the entries of a leader's log that it has not.
    pub(super) fn follow(&mut self, leader: &Self) {
        let first = self.log().last().map_or(0, |last| last.index + 1);
        for entry in leader.log().read(first..u64::MAX, usize::MAX).unwrap() {
            self.append(vec![entry.clone()]);
            let mut rest = entry.bytes.as_ref();
            let read = |_| {
                let mut from = rmp_serde::Deserializer::new(&mut rest);
                serde::Deserialize::deserialize(&mut from).unwrap()
            };
            let changes: Vec<LogEntry> = (0..entry.entries).map(read).collect();
            self.shard.replicate(changes, entry.version, entry.time_ms).unwrap();
            drop(self.shard.seal());
            self.shard.recover_block(entry.id.index, EXTENT_BYTES / 3);
            self.now_ms = entry.time_ms;
        }
    }

    pub(super) fn base(&self) -> Base {
        let id = EntryId { term: 1, index: 0 };
        let membership = Some(Membership { id, bytes: b"1, 2 and 3".to_vec() });
        Base { last: self.log().last().unwrap(), membership, is_taken_over: false }
    }

    /// Its state as it is now.
    pub(super) fn source(&self) -> Source {
        if self.log().base().unwrap().is_none_or(|base| base.last != self.base().last) {
            self.save();
        }
        Source::of(self.log().checkpoint().unwrap().unwrap())
    }

    /// Saves its state, and forgets the log before that.
    pub(super) fn checkpoint(&self) {
        self.save();
        self.log().purge(self.log().last().unwrap()).unwrap();
    }

    fn save(&self) {
        let before = self.storage.state.stats().checkpoints;
        // What is committed is known to the committer once it has written something.
        self.log().save_committed(self.log().last()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let mut room = self.room.borrow_mut();
        assert!(room.checkpoint_at(self.base(), self.shard.checkpoint().unwrap(), 0));
        assert!(self.runtime.block_on(room.saved()), "it counts");
        assert!(self.storage.state.stats().checkpoints > before);
    }

    /// Lets a state count that was taken.
    pub(super) fn install(&mut self, taken: Taken) {
        let (shard, bytes) = taken.install(config(SHARD, 77)).unwrap();
        self.shard = shard;
        self.room.borrow_mut().taken_over(bytes);
    }

    pub(super) fn hash(&self) -> String {
        format!("{:?}", self.shard.durable_hash())
    }

    /// How it would begin if it led now.
    pub(super) fn hash_as_leader(&self, now_ms: u64) -> String {
        let mut copy = Shard::resume(self.snapshot(), config(SHARD, 77)).unwrap();
        copy.promote(now_ms);
        drop(copy.seal());
        format!("{:?}", copy.durable_hash())
    }

    pub(super) fn snapshot(&self) -> ShardSnapshot {
        self.shard.checkpoint().unwrap()
    }

    /// The records of its checkpoint that are on disk only.
    pub(super) fn records(&self) -> Vec<(u64, bytes::Bytes)> {
        stored_records(&self.storage.reads(), &self.snapshot())
    }

    /// Closes it, and looks at every block.
    pub(super) fn verify(self) {
        let data = self.data.clone();
        self.close();
        let report = verify(&data, &|_| {}).unwrap();
        assert!(report.is_whole(), "{:?}", report.findings);
    }
}
