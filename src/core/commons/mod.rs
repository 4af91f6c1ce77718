//! The cells that every node changes by itself: eventual counters, and in a cluster presence.
//!
//! There is one `Commons` on each node. It answers its own clients at once, whoever else is reached, and tells
//! the other nodes what has changed, as they tell it; so all come to the same. Nothing is on disk: what a
//! node has counted and no other has heard of dies with it.
//!
//! * [`Commons::handle`], [`Commons::seal`]: commands of this node's dispatchers in, a round of events out.
//! * [`Commons::take`], [`Commons::next`]: messages of other nodes in, those for them out, one at a
//!   time. What is told is worked out when a node can take it, so that much that has changed meanwhile is
//!   told once.
//! * [`Commons::set_decided`], [`Commons::node_is_down`]: what the cluster has decided, and what gossip says.

mod ending;
mod exchange;
mod following;
mod link;
mod listing;
mod lives;
mod requests;
#[cfg(test)]
mod tests;

pub use ending::Decided;
pub use link::Message;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use tidewire_protocol::Name;
use tidewire_protocol::frame::{AsOf, CellKind};

use crate::cell::attendance::{Attendance, AttendanceLimits};
use crate::cell::eventual::{EventualCounters, EventualLimits};
use crate::cell::replicated::Actor;
use crate::shard::{Behind, Command, DispatcherId, Dispatchers, Event, Origin, Reply, Request};
use crate::{HashMap, hash_map};
use link::Link;

/// Values are stale when a node was not heard for so long.
pub const STALE_AFTER_MS: u64 = 5_000;
/// How often a node says at least that it has nothing new.
pub const HEARTBEAT_MS: u64 = 1_000;
/// How often it is looked what is due.
const LOOK_MS: u64 = 250;
/// Low bits of an epoch that tell nodes apart: their ids differ modulo so many.
const NODE_BITS: u32 = 6;

/// What a node's commons are made with.
#[derive(Clone, Copy, Debug)]
pub struct CommonsConfig {
    /// The node, in this life.
    pub own: Actor,
    /// Seed of the hash maps.
    pub seed: u64,
    /// Bounds of eventual counters.
    pub counters: EventualLimits,
    /// Bounds of presence sets.
    pub presence: AttendanceLimits,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Commons {
    now_ms: u64,
    counters: EventualCounters,
    presence: Attendance,
    /// Version of the last round that has changed something.
    version: u64,
    /// Whether this round has.
    is_changed: bool,
    followers: HashMap<(CellKind, Name), Dispatchers>,
    events: Vec<(DispatcherId, Event)>,
    /// The other nodes that are reached.
    links: BTreeMap<u64, Link>,
    /// The other nodes that belong to the cluster.
    members: BTreeSet<u64>,
    /// Counts the times that other nodes are reached which were not before.
    round: u64,
    /// Whether this node collects what all know of those that were removed, and how often it has asked for it.
    collects: bool,
    collecting: u64,
    /// When it was heard that this node was removed.
    ended_ms: u64,
    behind: Behind,
    /// Somebody has heard of this life of the node what it has not said.
    is_second_life: bool,
    looked_ms: u64,
    stats: CommonsStats,
}

/// Counts since the start, and what there is, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the metrics of the same names")]
pub struct CommonsStats {
    pub counters: u64,
    pub links: u64,
    pub told: u64,
    pub heard: u64,
    pub resent: u64,
    pub left_out: u64,
    pub beyond: u64,
    pub taken_over: u64,
    pub removed_apart: u64,
    pub is_stale: bool,
}

impl Commons {
    /// Nothing is known. It is a new life of the node.
    #[must_use]
    pub fn new(config: &CommonsConfig) -> Self {
        let CommonsConfig { own, seed, counters, presence } = *config;
        Self {
            now_ms: 0,
            counters: EventualCounters::new(own, counters, seed),
            presence: Attendance::new(own, presence),
            version: 0,
            is_changed: false,
            followers: hash_map(seed),
            events: Vec::new(),
            links: BTreeMap::new(),
            members: BTreeSet::new(),
            round: 0,
            collects: false,
            collecting: 0,
            ended_ms: 0,
            behind: Behind::default(),
            is_second_life: false,
            looked_ms: 0,
            stats: CommonsStats::default(),
        }
    }

    /// Who counts here.
    #[must_use]
    pub fn own(&self) -> Actor {
        self.counters.own()
    }

    /// The epoch of the versions here: no other node has the same, nor another life of this one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let Actor { node, incarnation } = self.own();
        (incarnation << NODE_BITS) | (node % (1 << NODE_BITS))
    }

    /// Carries out a command of one of this node's dispatchers.
    pub fn handle(&mut self, command: Command, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match command {
            Command::Request(origin, request) => self.request(origin, request),
            Command::Follow(dispatcher, interest) => self.follow(dispatcher, interest),
            Command::Unfollow(dispatcher, interest) => self.unfollow(dispatcher, interest),
            Command::SessionEnded(session) => {
                self.presence.holder_ended(requests::holder(session));
            }
            // Shards have them.
            Command::Publishes(_)
            | Command::DeadLetter(_)
            | Command::Buried(_)
            | Command::Stored { .. }
            | Command::Recall(..)
            | Command::Recalled(_)
            | Command::Tenants(_)
            | Command::TenantFull { .. }
            | Command::PeerEnded(_) => {}
        }
    }

    fn request(&mut self, origin: Origin, request: Request) {
        let outcome = match request {
            Request::Counter { name, op, operand, options } => {
                self.count(&name, op, operand, &options)
            }
            Request::Get { kind, name, key, options } => {
                self.read(kind, &name, key.as_deref(), &options)
            }
            Request::Presence { name, op, member, data } => {
                self.change_presence(origin.session, &name, op, &member, data)
            }
            Request::Publish { .. }
            | Request::Vote { .. }
            | Request::Tally { .. }
            | Request::Group(_)
            | Request::Invalidate { .. }
            | Request::Topic { .. } => Err(requests::not_here()),
        };
        let Origin { session, stream, req } = origin;
        let reply = outcome.unwrap_or_else(Reply::Refused);
        self.events.push((session.dispatcher, Event::Reply { session, stream, req, reply }));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.now_ms < self.looked_ms + LOOK_MS {
            return;
        }
        self.looked_ms = self.now_ms;
        self.counters.forget_idle(self.now_ms);
        self.take_over();
        self.collect();
        self.stats.beyond += self.counters.take_beyond().iter().count() as u64;
        self.look_at_freshness();
    }

    /// When [`Self::handle_timeout`] is due next, if anything ever is.
    #[must_use]
    pub fn next_timeout_ms(&self) -> Option<u64> {
        let is_alone = self.members.is_empty() && self.links.is_empty();
        (!is_alone || self.counters.has_sessions()).then_some(self.looked_ms + LOOK_MS)
    }

    /// Ends the round: returns what dispatchers are told. From here on others may hear of it.
    pub fn seal(&mut self) -> Vec<(DispatcherId, Event)> {
        self.publish_changes();
        let ended = self.counters.end_round();
        self.counters.release(ended);
        core::mem::take(&mut self.events)
    }

    /// Whether somebody has heard of this life of the node what it has not said: its incarnation was used
    /// before, and nothing is counted under it any more.
    #[must_use]
    pub fn is_second_life(&self) -> bool {
        self.is_second_life
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> CommonsStats {
        CommonsStats {
            counters: self.counters.len() as u64,
            links: self.links.len() as u64,
            removed_apart: self.counters.apart() as u64,
            is_stale: self.behind.is_there(),
            ..self.stats
        }
    }

    /// As of when values are what there is; nothing where this node alone changes them.
    fn as_of(&self) -> Option<AsOf> {
        if self.has_ended() {
            return Some(AsOf { as_of_ms: self.ended_ms, is_stale: true });
        }
        if self.members.is_empty() {
            return None;
        }
        let (as_of_ms, is_stale) = self.freshness();
        Some(AsOf { as_of_ms, is_stale })
    }
}
