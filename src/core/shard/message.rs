//! What goes into a shard and what comes out.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::{AckLevel, AsOf, CellKind, CounterOp, PresenceOp, TallyOp, TopicOp};
use tidewire_protocol::group::GroupInfo;
use tidewire_protocol::options::{CounterOptions, GetOptions, TopicInfo, TopicOptions};
use tidewire_protocol::tally::{Choice, Rounds, Standings, TallyInfo, TallyReply, TallyRules};
use tidewire_protocol::{Name, Refusal};

use super::cold::{Recall, Recalled};
use super::dead_letters::{DeadLetter, DeadOf};
use super::groups::GroupRequest;
use super::log::LogEntry;
use super::run::{Acks, PublishRun};
use super::tenants::TenantTable;
use crate::cell::{Counted, Profile, Voted, VoterId};
use crate::group::{Leased, MemberId};
use crate::state_hash::StateHasher;
use crate::topic::{Batch, Slot, Step, TopicId};

/// A dispatcher's number: below [`DISPATCHERS_MAX`] one of this server, from there on another node.
pub type DispatcherId = u8;
/// Most dispatchers of a server (interest in a name is a bit set of them).
pub const DISPATCHERS_MAX: usize = 64;
/// Most other nodes that a shard tells something.
pub const PEERS_MAX: usize = 64;

/// Whether this is another node.
#[must_use]
pub fn is_peer(dispatcher: DispatcherId) -> bool {
    usize::from(dispatcher) >= DISPATCHERS_MAX
}

/// A connection, as its dispatcher knows it. The generation makes late replies to an earlier
/// connection in the same slot harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(DispatcherId, u32, u32)", into = "(DispatcherId, u32, u32)")]
pub struct SessionId {
    /// The dispatcher that owns the connection.
    pub dispatcher: DispatcherId,
    /// Slot within the dispatcher.
    pub slot: u32,
    /// How often the slot has been used.
    pub generation: u32,
}

impl From<SessionId> for (DispatcherId, u32, u32) {
    fn from(SessionId { dispatcher, slot, generation }: SessionId) -> Self {
        (dispatcher, slot, generation)
    }
}

impl From<(DispatcherId, u32, u32)> for SessionId {
    fn from((dispatcher, slot, generation): (DispatcherId, u32, u32)) -> Self {
        Self { dispatcher, slot, generation }
    }
}

impl SessionId {
    pub(crate) fn hash_into(self, hasher: &mut StateHasher) {
        let Self { dispatcher, slot, generation } = self;
        hasher.number(dispatcher);
        hasher.number(slot);
        hasher.number(generation);
    }
}

/// Who asked, and where the reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The connection.
    pub session: SessionId,
    /// The stream of the connection that carried the request.
    pub stream: u16,
    /// The request id; 0 if no reply is wanted.
    pub req: u64,
}

/// What a shard is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Somebody's request.
    Request(Origin, Request),
    /// A dispatcher begins to follow something; answered with a snapshot event.
    Follow(DispatcherId, Interest),
    /// A dispatcher no longer follows something.
    Unfollow(DispatcherId, Interest),
    /// A connection has ended: its presence ends with it.
    SessionEnded(SessionId),
    /// Publishes that came together.
    Publishes(Box<PublishRun>),
    /// A dead letter from another shard's group.
    DeadLetter(Box<DeadLetter>),
    /// A dead letter has arrived.
    Buried(Box<DeadOf>),
    /// What was logged is on disk: batches before `next_sequence`, in blocks before `next_block`,
    /// which are `bytes` more than was said before.
    Stored { next_sequence: u64, next_block: u64, bytes: u64 },
    /// A dispatcher wants the records of a cold batch, and of those beside it.
    Recall(DispatcherId, u64),
    /// What the shard itself has recalled.
    Recalled(Box<Recalled>),
    /// There are other tenants from now on, or they may have more or less.
    Tenants(Arc<TenantTable>),
    /// Whether the tenant with this prefix has all the names that it may have, in all shards together.
    TenantFull { prefix: Name, is_full: bool },
    /// Another node is gone, with its connections and all that it follows.
    PeerEnded(DispatcherId),
}

/// What a publish asks for beyond its records and its acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long values of the topic's map live, if not for ever.
    pub ttl_ms: Option<u64>,
    /// Its place among the publishes of its producer.
    pub step: Option<Step>,
    /// The condition on which it is appended.
    pub expected: Option<Box<Expected>>,
}

/// Nothing may have been appended at this offset or behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The offset.
    pub offset: u64,
    /// Only records with this key count.
    pub key: Option<String>,
}

/// A request that needs the shard's state. The body of a publish has been validated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the frames in PROTOCOL.md")]
pub enum Request {
    Publish {
        topic: Name,
        ack: AckLevel,
        body: Bytes,
        count: u64,
        terms: Terms,
    },
    Counter {
        name: Name,
        op: CounterOp,
        operand: i64,
        options: CounterOptions,
    },
    Vote {
        tally: Name,
        voter: VoterId,
        choices: Vec<Choice>,
        revision: Option<u64>,
        #[serde(default)]
        issuer: Option<Arc<str>>,
    },
    /// `incarnation`: passed on by the home partition of a poll, whose creation had this version.
    Tally {
        name: Name,
        op: TallyOp,
        rules: Option<Arc<TallyRules>>,
        incarnation: Option<u64>,
    },
    Get {
        kind: CellKind,
        name: Name,
        key: Option<String>,
        #[serde(default)]
        options: GetOptions,
    },
    Presence {
        name: Name,
        op: PresenceOp,
        member: String,
        data: Bytes,
    },
    Group(Box<GroupRequest>),
    Invalidate {
        tally: Name,
        voters: Vec<VoterId>,
        #[serde(default)]
        issuer: Option<Arc<str>>,
    },
    Topic {
        topic: Name,
        op: TopicOp,
        options: TopicOptions,
    },
}

/// What a dispatcher can follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Interest {
    /// One topic.
    Topic(Name),
    /// Everything that the shard commits to topics.
    CommitLog,
    /// One cell.
    Cell(CellKind, Name),
}

/// What a shard tells a dispatcher, in commit order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named after what they hold")]
pub enum Event {
    /// The reply to a request.
    Reply { session: SessionId, stream: u16, req: u64, reply: Reply },
    /// Publishes of a run that have succeeded.
    Published { session: SessionId, stream: u16, epoch: u64, level: AckLevel, acks: Acks },
    /// The state of a topic when the dispatcher began to follow it.
    TopicSnapshot {
        shard: u16,
        name: Name,
        topic_id: TopicId,
        epoch: u64,
        next: u64,
        batches: Vec<Arc<Batch>>,
    },
    /// The topic cannot be followed: it does not exist and cannot be made.
    TopicRefused { shard: u16, name: Name, refusal: Refusal },
    /// A batch was committed. `first` is the topic's oldest kept offset from now on, `evicted`
    /// the sequences of the batches that left for it.
    Appended { batch: Arc<Batch>, first: u64, evicted: Vec<u64> },
    /// Batches left a topic without an append.
    Trimmed { shard: u16, topic_id: TopicId, first: u64, evicted: Vec<u64> },
    /// The records of these batches have left memory: they lie on disk only.
    Cooled { batches: Arc<[Arc<Batch>]> },
    /// What was recalled from the log. It comes at any time, since batches never change.
    Recalled { shard: u16, recalled: Arc<Recalled> },
    /// The shard's kept batches when the dispatcher began to follow all of them.
    LogSnapshot { shard: u16, epoch: u64, base: u64, slots: Vec<Slot> },
    /// The newest value of a cell, or its state when the dispatcher began to follow it.
    Cell {
        shard: u16,
        kind: CellKind,
        name: Name,
        version: u64,
        epoch: u64,
        value: CellValue,
        snapshot: bool,
    },
    /// Records of a topic, leased to a consumer.
    Leased { topic: Name, epoch: u64, partition: Option<u16>, lease: Leased },
    /// A consumer gets nothing more: its group is gone.
    ConsumerEnded { member: MemberId, refusal: Refusal },
    /// What a shard passes on to others: to be sent in this order. It always goes by way of the
    /// same dispatcher, so that all partitions of a poll see the same order.
    Forward(Vec<(u16, Command)>),
    /// The shard is another one, or was made again: the numbers of its topics mean nothing any more,
    /// and what is followed is told anew behind this.
    Renumbered { shard: u16 },
    /// What is shown of the shard is as of this time, and may lack what was done since, because whoever
    /// knows is not reached; none: it is as of now again.
    Behind { shard: u16, as_of_ms: Option<u64> },
}

/// A cell's value on its way to the watchers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CellValue {
    /// The cell does not exist.
    Absent,
    /// The encoded value, and for a tally what does not change.
    Whole {
        /// One encoded value.
        value: Bytes,
        /// A tally's options and rules, encoded; only in a snapshot.
        info: Option<Bytes>,
    },
    /// One partition of a poll, and what does not change in the poll; only in a snapshot.
    Part(Arc<TallyPart>, Option<Bytes>),
    /// Entries of a map or presence set.
    Entries {
        /// Whether these are all of them; otherwise those that have changed.
        full: bool,
        /// The entries, with the keys that are gone.
        entries: Vec<KeyedEntry>,
    },
    /// The cell cannot be followed.
    Refused(Refusal),
}

/// Where one partition of a poll stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyPart {
    /// Number of the partition.
    pub partition: u16,
    /// Which creation of the poll it belongs to.
    pub incarnation: u64,
    /// Version of the partition.
    pub version: u64,
    /// Its ballots, counted.
    pub standings: Standings,
}

/// One entry of a map or presence set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedEntry {
    /// The key or member.
    pub key: Arc<str>,
    /// Version at which it changed.
    pub version: u64,
    /// The value; `None`: the key is gone.
    pub value: Option<Bytes>,
}

/// The reply to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the frames in PROTOCOL.md")]
pub enum Reply {
    Refused(Refusal),
    /// `offset`: none if it was acknowledged before it was certain.
    Published {
        epoch: u64,
        offset: Option<u64>,
        level: AckLevel,
        /// It was appended before.
        duplicate: bool,
    },
    /// A publish at level `none`: nothing is sent.
    Silent,
    /// `as_of`: who has counted it, node and incarnation, and that one's version that contains it; only
    /// of eventual counters.
    Counted {
        epoch: u64,
        counted: Counted,
        #[serde(default)]
        as_of: Option<(u64, u64, u64)>,
    },
    Voted {
        epoch: u64,
        voted: Voted,
        partition: Option<u16>,
    },
    Tally(TallyReply),
    Group(Box<GroupInfo>),
    Topic(Box<TopicInfo>),
    /// So many records were settled, or what else was asked for.
    Settled(u64),
    Done,
    Value {
        kind: CellKind,
        epoch: u64,
        version: u64,
        value: Value,
        #[serde(default)]
        as_of: Option<AsOf>,
    },
}

/// A value read by GET.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "one variant per kind of cell")]
pub enum Value {
    Absent,
    Counter(i64),
    Standings(Box<Standings>, Box<TallyInfo>),
    Part(Box<TallyPart>, Box<TallyInfo>),
    Rounds(Rounds),
    Ballots { incarnation: u64, profile: Box<Profile> },
    Entries(Vec<KeyedEntry>),
    Bytes(Bytes),
    Topic(Box<TopicInfo>),
}

/// Everything that one drain of a shard's queue did: what the journal commits as one, and what
/// becomes visible when it has.
#[derive(Debug, Default)]
pub struct Round {
    /// Number of the round; dense.
    pub number: u64,
    /// What each dispatcher is told once the round is committed, in order.
    pub events: Vec<(DispatcherId, Event)>,
    /// What is told at once, because no more was asked for than that it is in memory.
    pub early: Vec<(DispatcherId, Event)>,
    /// What is to be read from the log, at once.
    pub recalls: Vec<Recall>,
    /// The batches that the round appends.
    pub batches: Vec<Arc<Batch>>,
    /// What the journal is to keep; only in shards that are kept on disk.
    pub log: Vec<LogEntry>,
    /// Cells have no version above this one, once the round has ended.
    pub version: u64,
}

impl Round {
    /// Whether nothing has happened in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { number: _, events, early, recalls, batches, log, version: _ } = self;
        let is_silent = events.is_empty() && early.is_empty() && recalls.is_empty();
        is_silent && batches.is_empty() && log.is_empty()
    }
}
