//! The shard: the single writer of a share of all names.
//!
//! [`Shard::handle`] takes one command and changes the state; [`Shard::seal`] ends the round and
//! returns what it did. Nothing of a round may be shown to anyone before the journal has
//! committed it: replies, deliveries and updates all travel inside the round.

mod address;
mod append;
mod behind;
mod cells;
mod cold;
mod dead_letters;
mod expected;
mod groups;
mod interest;
mod inventory;
pub mod listing;
mod log;
mod message;
mod open_batch;
mod polls;
mod presence;
mod recovery;
mod refused;
mod removal;
mod replica;
mod retention;
mod run;
mod snapshot;
mod stale;
mod state;
mod tenants;
mod topics;
mod watched;
mod weight;

pub use address::PEER_SLOTS_MAX;
pub(crate) use behind::Behind;
pub(crate) use cells::{encode as encode_value, entries as entries_of, read_keyed};
pub use cold::{Recall, Recalled, Recaller};
pub use dead_letters::{DeadLetter, DeadOf};
pub use groups::{GroupAsk, GroupRequest, GroupStart};
pub use interest::{Dispatchers, Following, Interests};
pub use inventory::{CounterEntry, Inventory, PresenceEntry, TallyEntry, TopicEntry};
pub use log::LogEntry;
pub use message::*;
pub use run::{Acks, PublishRun, RunPublish};
pub use snapshot::{SNAPSHOT_VERSION, ShardSnapshot};
pub use state::Progress;
pub use tenants::{TenantPlace, TenantShare, TenantTable, TenantUse};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use crate::is_durable;
use crate::topic::{Policy, PolicyTable, ProducerLimits, Producers, TopicId, ids_before};
use append::Append;
use cells::Cells;
use retention::REMOVALS_PER_TIMEOUT;
use topics::Topics;

/// What a shard is made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardConfig {
    /// The shard's number.
    pub shard: u16,
    /// Epoch of everything in it: changes when history may differ from what clients know.
    pub epoch: u64,
    /// Seed of the hash maps.
    pub seed: u64,
    /// Policies by name.
    pub policies: Arc<PolicyTable>,
    /// The bounds.
    pub limits: ShardLimits,
}

/// The bounds of one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardLimits {
    /// Topics and cells.
    pub names_max: usize,
    /// Batches kept in all topics together; the oldest leave first.
    pub batches_max: usize,
    /// Bytes of bodies in memory, in all topics together. The oldest leave first: for good, or in a
    /// durable shard to be read from disk.
    pub bytes_max: u64,
    /// Bytes of a batch up to which later publishes of the same round are appended to it.
    pub batch_bytes_max: usize,
    /// Voters of one tally.
    pub voters_max: usize,
    /// Members of one presence set.
    pub members_max: usize,
    /// What is remembered of producers.
    pub producers: ProducerLimits,
    /// What tenants may have.
    #[serde(default)]
    pub tenants: Arc<TenantTable>,
}

impl ShardConfig {
    /// The policy of a topic in this shard. What is on disk and was moved to memory by its policy stays
    /// as it is.
    fn policy_of(&self, name: &Name) -> Policy {
        let policy = self.policies.explain(name).1;
        if is_durable(self.shard) && !policy.is_durable() {
            return Policy {
                retention_records: u64::MAX,
                retention_bytes: u64::MAX,
                retention_ms: None,
                idle_timeout_ms: None,
                ack_max: self.policies.durable_level(),
                ack_default: self.policies.durable_level(),
                ..policy.clone()
            };
        }
        policy.clone()
    }
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            names_max: 131_072,
            batches_max: 262_144,
            bytes_max: 128 * 1024 * 1024,
            batch_bytes_max: 64 * 1024,
            voters_max: 20_000_000,
            members_max: 10_000,
            producers: ProducerLimits::default(),
            tenants: Arc::default(),
        }
    }
}

/// The single writer of its share of the names. See the module's documentation.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    now_ms: u64,
    topics: Topics,
    cells: Cells,
    producers: Producers,
    /// Who consumes which groups, so that the end of a connection finds them.
    consuming: Consuming,
    timers: BTreeSet<(u64, Timer)>,
    log_followers: Dispatchers,
    round: Round,
    /// While it is made again from what was logged: topics whose maps are kept no more.
    lost_maps: BTreeSet<Name>,
}

/// Topic, group and number of each consumption of a connection.
type Consumptions = BTreeSet<(Name, Name, u32)>;
type Consuming = BTreeMap<SessionId, Consumptions>;

/// What a timer is for. Timers are hints: the state decides when one fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Timer {
    Topic(TopicId),
    Counter(Name),
    Tally(Name),
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(config: ShardConfig) -> Self {
        // In memory nothing is known of what was published before the start.
        let forgotten = if is_durable(config.shard) { 0 } else { ids_before(config.epoch) };
        Self {
            now_ms: 0,
            producers: Producers::new(config.seed, forgotten),
            topics: Topics::new(config.seed, config.epoch, &config.limits.tenants),
            cells: Cells::new(config.seed),
            consuming: Consuming::new(),
            timers: BTreeSet::new(),
            log_followers: Dispatchers::default(),
            round: Round::default(),
            lost_maps: BTreeSet::new(),
            config,
        }
    }

    /// Carries out one command at this time (Unix milliseconds; an earlier time than that of an
    /// earlier call counts as that one).
    pub fn handle(&mut self, command: Command, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        match command {
            Command::Request(origin, request) => self.request(origin, request),
            Command::Publishes(run) => self.publish_run(*run),
            Command::Follow(dispatcher, interest) => self.follow(dispatcher, interest),
            Command::Unfollow(dispatcher, interest) => self.unfollow(dispatcher, interest),
            Command::SessionEnded(session) => self.session_ended(session),
            Command::DeadLetter(letter) => self.take_dead_letter(*letter),
            Command::Buried(of) => self.bury(&of, true),
            Command::Stored { next_sequence, next_block, bytes } => {
                self.stored(next_sequence, next_block, bytes);
            }
            Command::Recall(dispatcher, sequence) => self.recall(dispatcher, sequence),
            Command::Recalled(recalled) => self.recalled(*recalled),
            Command::Tenants(table) => self.set_tenants(table),
            Command::TenantFull { prefix, is_full } => self.set_tenant_full(&prefix, is_full),
            Command::PeerEnded(peer) => self.peer_ended(peer),
        }
    }

    /// Does what is due: retention by age, times to live, removal of idle topics, opening and
    /// closing of tallies. Where much is due some of it may stay due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let mut removals = REMOVALS_PER_TIMEOUT;
        while removals > 0
            && let Some((at_ms, timer)) = self.timers.pop_first()
        {
            if at_ms > self.now_ms {
                self.timers.insert((at_ms, timer));
                return;
            }
            match timer {
                Timer::Topic(topic) => self.topic_due(topic, &mut removals),
                Timer::Counter(name) => self.expire_counter(&name),
                Timer::Tally(name) => self.transit_tally(&name),
            }
        }
    }

    /// When [`Self::handle_timeout`] is due next.
    #[must_use]
    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// Ends the round: what has been appended becomes batches, what has changed becomes updates.
    /// `None` if nothing happened.
    pub fn seal(&mut self) -> Option<Round> {
        self.seal_batches();
        self.offer_groups();
        self.publish_changes();
        if self.round.is_empty() {
            return None;
        }
        self.round.version = self.cells.version;
        let number = self.round.number;
        let next = Round { number: number + 1, ..Round::default() };
        Some(core::mem::replace(&mut self.round, next))
    }

    /// The shard's time, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        ShardStats {
            topics: self.topics.len() as u64,
            topic_bytes: self.topics.bytes(),
            warm_bytes: self.topics.warm_bytes,
            extents: self.topics.extents.len() as u64,
            batches: self.topics.batches() as u64,
            cells: self.cells.len() as u64,
            topics_expired: self.topics.expired,
            released_bytes: self.topics.released_bytes,
            producers: self.producers.len() as u64,
        }
    }

    fn request(&mut self, origin: Origin, request: Request) {
        let outcome = match request {
            Request::Publish { topic, ack, body, count, terms } => {
                return self.publish(
                    origin,
                    &topic,
                    Append { ack, body: &body, count, terms: &terms },
                );
            }
            Request::Counter { name, op, operand, options } => {
                self.count(&name, op, operand, &options)
            }
            Request::Vote { tally, voter, choices, revision, issuer } => {
                self.vote(&tally, (voter, issuer.as_deref()), &choices, revision)
            }
            Request::Tally { name, op, rules, incarnation: None } => {
                self.change_tally(origin, &name, op, rules)
            }
            Request::Tally { name, op, rules, incarnation } => {
                self.change_part(&name, op, rules, incarnation)
            }
            Request::Get { kind, name, key, options } => {
                self.read(kind, &name, key.as_deref(), &options)
            }
            Request::Presence { name, op, member, data } => {
                self.change_presence(origin.session, &name, op, &member, data)
            }
            Request::Invalidate { tally, voters, issuer } => {
                self.invalidate(&tally, voters, issuer.as_deref())
            }
            Request::Topic { topic, op, options } => self.change_topic(&topic, op, &options),
            Request::Group(request) => self.group_request(origin.session, *request),
        };
        self.reply(origin, outcome.unwrap_or_else(Reply::Refused));
    }

    fn reply(&mut self, origin: Origin, reply: Reply) {
        let Origin { session, stream, req } = origin;
        let event = Event::Reply { session, stream, req, reply };
        self.round.events.push((session.dispatcher, event));
    }

    fn follow(&mut self, dispatcher: DispatcherId, interest: Interest) {
        let event = self.followed_by(dispatcher, interest);
        self.round.events.push((dispatcher, event));
    }

    fn unfollow(&mut self, dispatcher: DispatcherId, interest: Interest) {
        match interest {
            Interest::Topic(name) => self.unfollow_topic(dispatcher, &name),
            Interest::CommitLog => self.log_followers.remove(dispatcher),
            Interest::Cell(CellKind::Map, name) => {
                self.unfollowed(&name, |topic| topic.map_followers.remove(dispatcher));
            }
            Interest::Cell(kind, name) => self.cells.unfollow(dispatcher, kind, &name),
        }
    }

    fn check_room(&self, what: &str, name: &Name) -> Result<(), Refusal> {
        self.check_tenant(what, name)?;
        self.check_shard_room(what, name)
    }

    /// As [`Self::check_room`], whatever tenant it is of.
    fn check_shard_room(&self, what: &str, name: &Name) -> Result<(), Refusal> {
        let limit = self.config.limits.names_max;
        if self.topics.len() + self.cells.len() < limit {
            return Ok(());
        }
        Err(refuse(
            ErrorCode::LimitExceeded,
            format!(
                "{what} '{name}' is not created: the limit of {limit} names per shard is reached"
            ),
        ))
    }

    fn schedule(&mut self, at_ms: Option<u64>, timer: Timer) {
        if let Some(at_ms) = at_ms {
            self.timers.insert((at_ms, timer));
        }
    }
}

/// Figures of one shard, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardStats {
    /// Topics that exist.
    pub topics: u64,
    /// Bytes of bodies kept, in memory and on disk.
    pub topic_bytes: u64,
    /// Bytes of those that have not left memory.
    pub warm_bytes: u64,
    /// Parts of the log that hold records which are kept.
    pub extents: u64,
    /// Batches kept.
    pub batches: u64,
    /// Counters, tallies and presence sets that exist.
    pub cells: u64,
    /// Topics removed since the start because they were idle.
    pub topics_expired: u64,
    /// Bytes of bodies that have left topics since the start, for good.
    pub released_bytes: u64,
    /// Producers whose publishes are remembered.
    pub producers: u64,
}

fn refuse(code: ErrorCode, message: String) -> Refusal {
    Refusal::new(code, message)
}

/// Appends a dispatcher's copy of an event for each member of a set.
fn tell(events: &mut Vec<(DispatcherId, Event)>, to: Dispatchers, event: &Event) {
    events.extend(to.iter().map(|dispatcher| (dispatcher, event.clone())));
}
