//! One core of a server without its sockets and threads: shards, a dispatcher, and the way
//! between them.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::SHARDS;
use tidewire_core::access::Voter;
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, SessionOptions, Sink};
use tidewire_core::shard::{Command, SessionId, Shard, ShardConfig, ShardLimits};
use tidewire_core::topic::{Batch, Policy, PolicyTable};
use tidewire_protocol::frame::{Start, split_first};
use tidewire_protocol::options::{SubscribeOptions, WatchOptions};
use tidewire_protocol::{ClientFrame, Name, Pattern, frame::CellKind};

use crate::records::encoded;
use crate::sink::ByteCount;

/// Seed of every hash map: the same layout in every run.
pub const SEED: u64 = 0x7469_6465_7769_7265;
/// Epoch of everything.
pub const EPOCH: u64 = 1_700_000_000_000;
/// The time; it stands still, so that nothing becomes due.
pub const NOW_MS: u64 = 1_700_000_000_000;
/// What a connection takes in a turn, as in the server.
pub const PULL_BYTES: usize = 256 * 1024;

/// Shards and a dispatcher in one thread. What goes in at the one end comes out at the other.
#[derive(Debug)]
pub struct OneCore {
    shards: Vec<Shard>,
    /// The dispatcher of all sessions.
    pub dispatcher: Dispatcher,
    /// Scratch memory of the pulls, kept as the server keeps it.
    head: Vec<u8>,
    committed: Vec<Arc<Batch>>,
}

impl OneCore {
    /// A core whose topics all have this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with_limits(policy, ShardLimits::default())
    }

    /// The same with bounds of its own.
    #[must_use]
    pub fn with_limits(policy: Policy, limits: ShardLimits) -> Self {
        let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
        let shard = |shard| {
            let (limits, policies) = (limits.clone(), Arc::clone(&policies));
            Shard::new(ShardConfig { shard, epoch: EPOCH, seed: SEED, policies, limits })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            dispatcher: Dispatcher::new(0, SEED, FanoutLimits::default()),
            head: Vec::new(),
            committed: Vec::new(),
        }
    }

    /// A new connection.
    pub fn connect(&mut self) -> SessionId {
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        self.dispatcher.open(options, NOW_MS)
    }

    /// A new connection that follows topics from now on, as subscription 1.
    pub fn subscriber(&mut self, pattern: &str) -> SessionId {
        let session = self.connect();
        let pattern = Pattern::parse(pattern).expect("a valid pattern");
        let (start, options) = (Start::Latest, SubscribeOptions::default());
        let frame = ClientFrame::Subscribe { req: 1, sub: 1, pattern, start, options };
        self.request(session, &encoded(&frame), &mut ByteCount::default());
        session
    }

    /// A new connection that watches a cell, as subscription 1.
    pub fn watcher(&mut self, kind: CellKind, name: &Name) -> SessionId {
        let session = self.connect();
        let (name, options) = (name.clone(), WatchOptions::default());
        let frame = ClientFrame::Watch { req: 1, sub: 1, kind, name, options };
        self.request(session, &encoded(&frame), &mut ByteCount::default());
        session
    }

    /// A frame of a client and everything that follows from it, on every connection.
    pub fn request(&mut self, session: SessionId, frame: &Bytes, sink: &mut dyn Sink) {
        let frame = ClientFrame::decode(frame);
        if let Some((shard, command)) = self.dispatcher.request(session, 0, frame, &voter_id)
            && let Some(shard) = self.shards.get_mut(usize::from(shard))
        {
            shard.handle(command, NOW_MS);
            commit(shard, &mut self.dispatcher, &mut self.committed);
        }
        while let Some((shard, command)) = self.dispatcher.outgoing() {
            if let Some(shard) = self.shards.get_mut(usize::from(shard)) {
                shard.handle(command, NOW_MS);
                commit(shard, &mut self.dispatcher, &mut self.committed);
            }
        }
        self.serve(sink);
    }

    /// The frames of a client that came with one read: what they ask of one shard is carried out in
    /// one round.
    pub fn read(&mut self, session: SessionId, mut message: Bytes, sink: &mut dyn Sink) {
        let mut last_name: Option<Name> = None;
        let mut collected: Vec<Command> = Vec::new();
        let mut number = 0;
        while let Ok(frame) = split_first(&mut message) {
            let frame = ClientFrame::decode_knowing(&frame, last_name.as_ref());
            if last_name.is_none() {
                last_name = frame.as_ref().ok().and_then(ClientFrame::name).cloned();
            }
            let Some((shard, command)) = self.dispatcher.request(session, 0, frame, &voter_id)
            else {
                continue;
            };
            number = usize::from(shard);
            let alone = match collected.last_mut() {
                Some(last) => last.join(command),
                None => Some(command),
            };
            collected.extend(alone);
        }
        if let Some(shard) = self.shards.get_mut(number) {
            collected.into_iter().for_each(|command| shard.handle(command, NOW_MS));
            commit(shard, &mut self.dispatcher, &mut self.committed);
        }
        self.serve(sink);
    }

    /// Lets every connection take what there is for it.
    pub fn serve(&mut self, sink: &mut dyn Sink) {
        serve(&mut self.dispatcher, &mut self.head, sink);
    }

    /// The batch that was committed last.
    #[must_use]
    pub fn newest_batch(&self) -> Option<&Arc<Batch>> {
        self.committed.last()
    }
}

/// Ends the round of a shard. It is committed at once, as in the journal that is memory.
fn commit(shard: &mut Shard, dispatcher: &mut Dispatcher, committed: &mut Vec<Arc<Batch>>) {
    let Some(round) = shard.seal() else { return };
    for (_, event) in round.events {
        dispatcher.apply(event, NOW_MS);
    }
    if let Some(newest) = round.batches.into_iter().last() {
        committed.clear();
        committed.push(newest);
    }
}

/// Lets every connection of a dispatcher take what there is for it. `head` is scratch memory.
pub fn serve(dispatcher: &mut Dispatcher, head: &mut Vec<u8>, sink: &mut dyn Sink) {
    while let Some(session) = dispatcher.next_ready() {
        dispatcher.pull(session, PULL_BYTES, NOW_MS, head, sink);
    }
}

/// Stands for the server's keyed hash of a voter, which is not the core's: cheap, and distinct for
/// names that differ in their last 16 bytes.
fn voter_id(_tally: &Name, voter: Voter<'_>) -> VoterId {
    let voter = voter.subject;
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().rev().zip(voter.bytes().rev()) {
        *place = byte;
    }
    VoterId(id)
}
