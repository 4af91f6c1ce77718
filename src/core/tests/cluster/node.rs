//! A node: its part in a durable shard and in one in memory, and its streams to the leader.

use std::collections::VecDeque;
use std::sync::Arc;

use tidewire_core::SHARDS;
use tidewire_core::member::{Entry, Member};
use tidewire_core::shard::{
    Command, DispatcherId, Event, Interest, Shard, ShardConfig, ShardLimits,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::Name;
use tidewire_protocol::frame::{AckLevel, CellKind};

use super::follower::Follower;
use super::log::{Content, Log};

pub(crate) const MEMORY: usize = 0;
pub(crate) const DURABLE: usize = 1;
/// The dispatcher of those who ask for something, and of the follower.
pub(crate) const CLIENTS: DispatcherId = 0;
pub(crate) const FOLLOWER: DispatcherId = 1;

pub(crate) const DURABLE_TOPICS: [&str; 2] = ["log.a", "log.b"];
pub(crate) const MEMORY_TOPICS: [&str; 2] = ["mem.a", "mem.b"];

/// A stream to the leader of a shard.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) to: usize,
    pub(crate) term: u64,
    pub(crate) up: VecDeque<Vec<u8>>,
    pub(crate) down: VecDeque<Vec<u8>>,
}

pub(crate) struct Node {
    pub(crate) members: [Member; 2],
    pub(crate) streams: [Option<Stream>; 2],
    /// Entries that have been applied.
    pub(crate) applied: usize,
    pub(crate) follower: Follower,
    /// Commands that wait while the leader does not know whether it still is.
    pub(crate) waiting: [VecDeque<Command>; 2],
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn config(shard: u16, seed: u64, epoch: u64) -> ShardConfig {
    let ack_max = if shard < SHARDS { AckLevel::Memory } else { AckLevel::Disk };
    let policy = Policy { ack_max, ack_default: ack_max, ..Policy::default() };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    let limits = ShardLimits { batch_bytes_max: 40, ..ShardLimits::default() };
    ShardConfig { shard, epoch, seed, policies, limits }
}

/// A copy as of these entries.
pub(crate) fn copy_of(log: &Log, applied: usize, seed: u64) -> Shard {
    let config = config(SHARDS + 4, seed, 7);
    let mut shard = match &log.state {
        Some(state) => Shard::resume(rmp_serde::from_slice(state).unwrap(), config).unwrap(),
        None => Shard::new(config),
    };
    assert!(applied >= log.purged, "the state is newer");
    for (_, content) in log.entries[..applied].iter().skip(log.purged) {
        if let Content::Changes { changes, version, time_ms } = content {
            let changes = changes.iter().map(|change| rmp_serde::from_slice(change).unwrap());
            shard.replicate(changes, *version, *time_ms).unwrap();
        }
    }
    drop(shard.seal());
    shard
}

impl Node {
    /// A node that begins; if it holds a copy, as of what its log knows to be committed.
    pub(crate) fn start(log: Option<&Log>, seed: u64, now_ms: u64) -> Self {
        let memory = Member::without_copy(config(4, seed, 1));
        let durable = config(SHARDS + 4, seed, 7);
        let applied = log.map_or(0, |log| log.committed);
        let durable = match log {
            Some(log) => Member::with_copy(durable, copy_of(log, applied, seed)),
            None => Member::without_copy(durable),
        };
        let mut node = Self {
            members: [memory, durable],
            streams: [None, None],
            applied,
            follower: Follower::default(),
            waiting: [VecDeque::new(), VecDeque::new()],
        };
        let follow = |interest| Command::Follow(FOLLOWER, interest);
        for topic in MEMORY_TOPICS {
            node.members[MEMORY].handle(follow(Interest::Topic(name(topic))), now_ms);
        }
        for topic in DURABLE_TOPICS {
            node.members[DURABLE].handle(follow(Interest::Topic(name(topic))), now_ms);
        }
        let counter = |text| Interest::Cell(CellKind::Counter, name(text));
        node.members[DURABLE].handle(follow(counter("count")), now_ms);
        node.members[MEMORY].handle(follow(counter("count")), now_ms);
        node
    }

    /// Goes on from a state that was given, if the entries that it lacks have gone. Returns whether it does.
    pub(crate) fn install(&mut self, log: &Log, seed: u64) -> bool {
        let lacks = self.applied < log.purged;
        if lacks {
            self.applied = log.purged;
            self.members[DURABLE].replace_copy(copy_of(log, log.purged, seed));
        }
        lacks
    }

    /// Applies the next committed entry, if there is one.
    pub(crate) fn apply(&mut self, log: &Log) -> bool {
        let member = &mut self.members[DURABLE];
        if member.is_awaited() || self.applied >= log.committed {
            return false;
        }
        let (term, content) = &log.entries[self.applied];
        let Content::Changes { changes, version, time_ms } = content else {
            self.applied += 1;
            return true;
        };
        let entry = Entry {
            term: *term,
            index: self.applied as u64,
            bytes: 100,
            version: *version,
            time_ms: *time_ms,
        };
        let decode = || Ok(changes.iter().map(|c| rmp_serde::from_slice(c).unwrap()).collect());
        let is_applied = member.apply(entry, decode).unwrap();
        self.applied += usize::from(is_applied);
        is_applied
    }

    /// Takes what the follower is told; returns what others are.
    pub(crate) fn hear(&mut self, told: Vec<(DispatcherId, Event)>) -> Vec<(DispatcherId, Event)> {
        let mut others = Vec::new();
        for (to, event) in told {
            if to == FOLLOWER {
                self.follower.take(&event);
            } else {
                others.push((to, event));
            }
        }
        others
    }
}
