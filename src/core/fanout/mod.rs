//! Fan-out: the dispatcher of one core.
//!
//! A dispatcher keeps a copy of what its connections follow: the rings of topics, the commit logs
//! of shards if somebody follows a pattern, the newest values of cells. The bytes are shared with
//! the shard that made them; only the order is kept again. A subscriber is a cursor in such a copy:
//! it owns a position, no queue. When its connection is writable, [`Dispatcher::pull`] takes what
//! lies between the position and the end.
//!
//! Events of a shard come in through [`Dispatcher::apply`], frames of a client through
//! [`Dispatcher::request`], and what has to be told to shards goes out through
//! [`Dispatcher::outgoing`].

mod access;
mod anew;
mod audit;
mod behind;
mod consume;
mod events;
mod filters;
mod gather;
mod group_rules;
mod lag;
mod large;
mod latest;
mod partitions;
mod pattern;
mod pattern_start;
mod polls;
mod publishing;
mod pull;
mod queue;
mod ready;
mod recall;
mod refused;
mod reply;
mod request;
mod selection;
mod session;
mod shard_request;
mod sink;
mod split;
mod start;
mod subscribe;
mod tick;
mod view;
mod watch;
mod watched;

pub use audit::Audited;
pub use lag::Lag;
pub use refused::Refused;
pub use request::{HashVoter, is_for_shards};
pub use session::{Framing, SessionOptions};
pub use sink::{Lane, Sink};

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use slab::Slab;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal, ServerFrame};

use crate::shard::{Command, DispatcherId, SessionId};
use crate::topic::{Batch, PatternIndex, PolicyTable, ProducerLimits, TopicId};
use crate::{HashMap, SHARDS, hash_map};
use access::Accesses;
use audit::Audits;
use filters::Filters;
use gather::Gathers;
use large::LargeUpdates;
use ready::Turns;
use recall::Recalls;
use refused::Refusals;
use request::Route;
use selection::Selections;
use session::{Owner, Session, Sub};
use view::{ShardView, TopicView};
use watched::CellView;

pub use publishing::ISSUERS;

pub(crate) type CursorId = usize;

/// Commands for shards that may wait before requests are no longer read.
const OUTGOING_MAX: usize = 1024;

/// The bounds of a dispatcher's connections.
#[derive(Clone, Debug)]
pub struct FanoutLimits {
    /// Subscriptions and watches of one connection.
    pub subscriptions_max: usize,
    /// Unanswered requests of one connection.
    pub in_flight_max: usize,
    /// Bytes of unwritten replies beyond which a connection's requests are not read.
    pub outbox_bytes_max: usize,
    /// Largest frame; a reply that would be larger is refused.
    pub max_frame_bytes: usize,
    /// The server pings after so long without anything received.
    pub heartbeat_ms: u64,
    /// What shards remember of producers.
    pub producers: ProducerLimits,
    /// Bytes of large updates that watchers are still taking though their cells have newer ones.
    pub retired_updates_bytes_max: usize,
    /// Bytes of records that were read from disk for cursors, beyond the newest ones.
    pub recalled_bytes_max: usize,
}

impl Default for FanoutLimits {
    fn default() -> Self {
        Self {
            subscriptions_max: 4096,
            in_flight_max: 1024,
            outbox_bytes_max: 256 * 1024,
            max_frame_bytes: tidewire_protocol::FRAME_BYTES_MAX,
            heartbeat_ms: 25_000,
            producers: ProducerLimits::default(),
            retired_updates_bytes_max: 64 * 1024 * 1024,
            recalled_bytes_max: 32 * 1024 * 1024,
        }
    }
}

/// Counts since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanoutStats {
    /// DELIVER frames sent.
    pub deliveries: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of bodies in them.
    pub body_bytes: u64,
    /// UPDATE frames sent.
    pub updates: u64,
    /// Updates in parts that were begun anew, because too many older ones were being taken.
    pub updates_restarted: u64,
    /// GAP frames sent.
    pub gaps: u64,
    /// Requests refused, and subscriptions and consumptions that were ended.
    pub refusals: u64,
    /// Answers to recalls of records that are on disk only.
    pub recalls: u64,
}

/// The dispatcher of one core. See the module's documentation.
#[derive(Debug)]
pub struct Dispatcher {
    id: DispatcherId,
    /// The node's place among those that issue producers.
    issuer: Option<u64>,
    seed: u64,
    limits: FanoutLimits,
    policies: Arc<PolicyTable>,
    /// Where the last request went.
    routed: Option<Route>,
    now_ms: u64,
    generation: u32,
    sessions: Slab<Session>,
    /// Subscriptions and watches of all sessions.
    subs: Slab<Sub>,
    cursors: Slab<Cursor>,
    topics: Slab<TopicView>,
    /// By shard and name: partitions of one name live in several shards.
    topic_names: HashMap<(u16, Name), usize>,
    topic_ids: HashMap<(u16, TopicId), usize>,
    /// Snapshots of topics that have been asked for and not come yet.
    snapshots_due: HashMap<(u16, Name), u64>,
    shards: Vec<ShardView>,
    patterns: PatternIndex,
    cells: Slab<CellView>,
    cell_names: HashMap<(CellKind, Name), usize>,
    /// Shards whose cells are as of some time, and not of now.
    behind: BTreeMap<u16, u64>,
    filters: Filters,
    accesses: Accesses,
    audits: Audits,
    refusals: Refusals,
    large: LargeUpdates,
    recalls: Recalls,
    selections: Selections,
    /// Scratch memory of one delivery: offsets of what a filter has chosen, batches looked at.
    offsets: Vec<u64>,
    looked_at: Vec<Arc<Batch>>,
    timers: BTreeSet<(u64, CursorId)>,
    /// Subscriptions on patterns that wait for the snapshots of the shards.
    waiting: Vec<(SessionId, u32, tidewire_protocol::frame::Start)>,
    turns: Turns,
    outgoing: VecDeque<(u16, Command)>,
    /// What the last request asks of shards beyond its first command.
    more_commands: VecDeque<(u16, Command)>,
    gathers: Gathers,
    /// Publishes without keys to topics with partitions: each goes to the next one.
    keyless: u64,
    /// The last producer that was issued, without the bits that stand for this dispatcher.
    last_producer: u64,
    closing: Vec<(SessionId, Refusal)>,
    next_tick_ms: u64,
    next_progress_ms: u64,
    next_mark_ms: u64,
    /// How often the newest value of something goes to the same follower at most, whatever it has
    /// asked for.
    interval_ms_min: u64,
    stats: FanoutStats,
}

/// A place in a topic, a shard or a cell's history, and who it belongs to.
#[derive(Debug)]
struct Cursor {
    owner: Owner,
    /// Place in the list of the view's followers.
    at: usize,
    /// Whether it stands in its session's queue, and who comes behind it there.
    queued: bool,
    behind: Option<CursorId>,
    /// Whether its subscription may have an opening to send.
    opens: bool,
    /// Number of its wait for records that are on disk only; 0: it does not wait.
    recalls: u32,
    /// Not before this time (conflation).
    due_ms: u64,
    timer_ms: Option<u64>,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Topic(subscribe::TopicCursor),
    Pattern(pattern::PatternCursor),
    Watch(Box<watch::WatchCursor>),
}

/// How a cursor's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has caught up.
    Done,
    /// It has more to send.
    More,
    /// It waits: for credit, for its lane or for time.
    Blocked,
    /// Its subscription is over.
    Ended,
}

fn views(shards: u16, seed: u64) -> Vec<ShardView> {
    (0..shards).map(|shard| ShardView::new(shard, seed)).collect()
}

impl Dispatcher {
    /// A dispatcher without connections.
    #[must_use]
    pub fn new(id: DispatcherId, seed: u64, limits: FanoutLimits) -> Self {
        Self {
            id,
            issuer: None,
            seed,
            large: LargeUpdates::new(limits.retired_updates_bytes_max),
            recalls: Recalls::new(limits.recalled_bytes_max),
            limits,
            policies: Arc::default(),
            routed: None,
            now_ms: 0,
            generation: 0,
            sessions: Slab::new(),
            subs: Slab::new(),
            cursors: Slab::new(),
            topics: Slab::new(),
            topic_names: hash_map(seed),
            topic_ids: hash_map(seed),
            snapshots_due: hash_map(seed),
            shards: views(SHARDS, seed),
            patterns: PatternIndex::new(seed),
            cells: Slab::new(),
            cell_names: hash_map(seed),
            behind: BTreeMap::new(),
            filters: Filters::new(seed),
            accesses: Accesses::new(seed),
            audits: Audits::new(seed),
            refusals: Refusals::default(),
            selections: Selections::new(seed),
            offsets: Vec::new(),
            looked_at: Vec::new(),
            timers: BTreeSet::new(),
            waiting: Vec::new(),
            turns: Turns::default(),
            outgoing: VecDeque::new(),
            more_commands: VecDeque::new(),
            gathers: Gathers::new(seed),
            keyless: 0,
            last_producer: 0,
            closing: Vec::new(),
            next_tick_ms: 0,
            next_progress_ms: 0,
            next_mark_ms: 0,
            interval_ms_min: 0,
            stats: FanoutStats::default(),
        }
    }

    /// One of a node of a cluster, whose producers no other node issues.
    #[must_use]
    pub fn with_issuer(self, node: u64) -> Self {
        Self { issuer: Some(node % ISSUERS), ..self }
    }

    /// The same with these policies, which say what has partitions and what is kept on disk; without
    /// them nothing has, and nothing is.
    #[must_use]
    pub fn with_policies(self, policies: Arc<PolicyTable>) -> Self {
        let shards = views(policies.shards(), self.seed);
        Self { policies, shards, routed: None, ..self }
    }

    /// The numbers of all shards.
    fn shard_numbers(&self) -> core::ops::Range<u16> {
        0..self.policies.shards()
    }

    /// Takes a new connection in, after its HELLO.
    pub fn open(&mut self, options: SessionOptions, now_ms: u64) -> SessionId {
        self.now_ms = self.now_ms.max(now_ms);
        self.generation = self.generation.wrapping_add(1);
        let entry = self.sessions.vacant_entry();
        let slot = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let id = SessionId { dispatcher: self.id, slot, generation: self.generation };
        entry.insert(Session::new(id, options, hash_map(self.seed), self.now_ms));
        id
    }

    /// Forgets a connection: its subscriptions, watches and presence end.
    pub fn close(&mut self, id: SessionId) {
        let Some(slot) = self.slot(id) else { return };
        let Some(session) = self.sessions.get_mut(slot) else { return };
        // Not one by one, since all of them go.
        session.queue = None;
        for (sub, entry) in core::mem::take(&mut session.rest.subs) {
            self.end_sub(Owner { slot, entry, sub, is_plain: false });
        }
        let mut session = self.sessions.remove(slot);
        self.release_access(session.rest.access.take());
        for shard in session.rest.present {
            self.outgoing.push_back((shard, Command::SessionEnded(id)));
        }
        self.waiting.retain(|(waiting, _, _)| *waiting != id);
    }

    /// Queues a frame for a connection, on this stream.
    pub fn send(&mut self, id: SessionId, stream: u16, frame: &ServerFrame) {
        let Some(slot) = self.slot(id) else { return };
        if let Some(session) = self.sessions.get_mut(slot) {
            session.push(stream, frame);
        }
        self.mark_replied(slot);
    }

    /// Whether the connection's next request may be read: neither its replies nor the commands for
    /// shards are piling up.
    #[must_use]
    pub fn may_read(&self, id: SessionId) -> bool {
        if self.outgoing.len() >= OUTGOING_MAX {
            return false;
        }
        self.slot(id).and_then(|slot| self.sessions.get(slot)).is_none_or(|session| {
            session.rest.in_flight < self.limits.in_flight_max
                && session.outbox_len() < self.limits.outbox_bytes_max
        })
    }

    /// Something was received from the connection.
    pub fn heard(&mut self, id: SessionId, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if let Some(session) = self.slot(id).and_then(|slot| self.sessions.get_mut(slot)) {
            session.received_ms = self.now_ms;
            session.pinged = false;
        }
    }

    /// Commands for shards, in order. While many wait no requests are read, so what comes on top is
    /// bounded by the subscriptions that end with their connections.
    pub fn outgoing(&mut self) -> Option<(u16, Command)> {
        self.outgoing.pop_front()
    }

    /// Connections that the server has to close, and why.
    pub fn take_closing(&mut self) -> Vec<(SessionId, Refusal)> {
        core::mem::take(&mut self.closing)
    }

    /// Number of connections.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// All connections.
    pub fn session_ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().map(|(_, session)| session.id)
    }

    /// Subscriptions, watches and consumptions of a connection.
    #[must_use]
    pub fn subscriptions_of(&self, id: SessionId) -> usize {
        let session = self.slot(id).and_then(|slot| self.sessions.get(slot));
        session.map_or(0, |session| session.rest.subs.len() + session.rest.consuming.len())
    }

    /// Number of subscriptions and watches.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subs.len()
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> FanoutStats {
        self.stats
    }

    fn slot(&self, id: SessionId) -> Option<usize> {
        let slot = id.slot as usize;
        self.sessions.get(slot).filter(|session| session.id == id).map(|_| slot)
    }

    fn owner(&self, slot: usize, sub: u32) -> Option<Owner> {
        let entry = *self.sessions.get(slot)?.rest.subs.get(&sub)?;
        let is_plain = self.subs.get(entry)?.is_plain();
        Some(Owner { slot, entry, sub, is_plain })
    }

    /// Puts a cursor into its session's queue, or sets its timer if it is not due yet.
    fn wake(&mut self, id: CursorId) {
        let Some(cursor) = self.cursors.get_mut(id) else { return };
        if cursor.queued {
            return;
        }
        if cursor.due_ms > self.now_ms {
            if cursor.timer_ms.is_none() {
                cursor.timer_ms = Some(cursor.due_ms);
                self.timers.insert((cursor.due_ms, id));
            }
            return;
        }
        cursor.queued = true;
        let slot = cursor.owner.slot;
        self.enqueue(slot, id);
        self.mark_ready(slot);
    }
}

fn invalid(message: alloc::string::String) -> Refusal {
    Refusal::new(ErrorCode::InvalidArgument, message)
}
