//! All shards, a dispatcher, and connections that note what they get.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::SHARDS;
use tidewire_core::access::Voter;
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, Lane, SessionOptions, Sink};
use tidewire_core::shard::{
    Command, Origin, Request, SessionId, Shard, ShardConfig, ShardLimits, Terms,
};
use tidewire_core::shard_of;
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, DeliverView, Start};
use tidewire_protocol::options::SubscribeOptions;
use tidewire_protocol::{
    ClientFrame, Name, Pattern,
    record::{Records, payload_body},
};

pub(crate) const NOW_MS: u64 = 1_000;
const SEED: u64 = 7;
/// What a connection takes in a turn, as in the server.
const PULL_BYTES: usize = 256 * 1024;
/// The only subscription of each connection.
const SUB: u32 = 1;

/// A server without sockets and threads.
pub(crate) struct World {
    shards: Vec<Shard>,
    pub(crate) dispatcher: Dispatcher,
    /// Scratch memory of the pulls.
    head: Vec<u8>,
    /// Records so far, and the number of the next one.
    pub(crate) published: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let policies = Arc::new(PolicyTable::new(Vec::new(), Policy::default()));
        let shard = |shard| {
            let (policies, limits) = (Arc::clone(&policies), ShardLimits::default());
            Shard::new(ShardConfig { shard, epoch: 1, seed: SEED, policies, limits })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            dispatcher: Dispatcher::new(0, SEED, FanoutLimits::default()),
            head: Vec::with_capacity(1024),
            published: 0,
        }
    }

    /// Publishes the next record, whose payload is its number; the dispatcher hears of it, the connections have not been served yet.
    pub(crate) fn publish(&mut self, topic: &Name) {
        let session = SessionId { dispatcher: 0, slot: u32::MAX, generation: 0 };
        let body = payload_body(&self.published.to_be_bytes());
        self.published += 1;
        let (shard, topic) = (shard_of(topic), topic.clone());
        let (ack, count, terms) = (AckLevel::None, 1, Terms::default());
        let publish = Request::Publish { topic, ack, body, count, terms };
        let origin = Origin { session, stream: 0, req: 0 };
        self.carry_out(shard, Command::Request(origin, publish));
    }

    /// A new connection that has asked for what matches a pattern from now on. What it is answered
    /// waits to be served.
    pub(crate) fn subscribe(&mut self, pattern: &Pattern) -> SessionId {
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        let session = self.dispatcher.open(options, NOW_MS);
        let frame = ClientFrame::Subscribe {
            req: 1,
            sub: SUB,
            pattern: pattern.clone(),
            start: Start::Latest,
            options: SubscribeOptions::default(),
        };
        let hash_voter = |_: &Name, _: Voter<'_>| VoterId([0; 16]);
        assert!(self.dispatcher.request(session, 0, Ok(frame), &hash_voter).is_none());
        self.pass_on();
        session
    }

    pub(crate) fn close(&mut self, session: SessionId) {
        self.dispatcher.close(session);
        self.pass_on();
    }

    /// What the dispatcher has for shards, and what they answer.
    fn pass_on(&mut self) {
        while let Some((shard, command)) = self.dispatcher.outgoing() {
            self.carry_out(shard, command);
        }
    }

    /// One round of a shard, committed at once.
    fn carry_out(&mut self, shard: u16, command: Command) {
        let shard = &mut self.shards[usize::from(shard)];
        shard.handle(command, NOW_MS);
        let Some(round) = shard.seal() else { return };
        for (_, event) in round.events {
            self.dispatcher.apply(event, NOW_MS);
        }
    }

    /// Lets every connection take what there is for it.
    pub(crate) fn serve(&mut self, received: &mut Received) {
        while let Some(session) = self.dispatcher.next_ready() {
            received.slot = session.slot as usize;
            self.dispatcher.pull(session, PULL_BYTES, NOW_MS, &mut self.head, received);
        }
    }
}

/// What connections got, by the slots of their sessions.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) by_slot: Vec<Log>,
    slot: usize,
    frame: Vec<u8>,
}

/// What one connection got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) records: u64,
    /// Number of the record that has to come next.
    pub(crate) next: u64,
    /// Records that were not the next one: missed, out of order, or a second time.
    pub(crate) misplaced: u64,
}

impl Received {
    /// For connections with slots up to this one, which have seen the records before `next`.
    pub(crate) fn from(next: u64, slots: usize) -> Self {
        let log = Log { next, ..Log::default() };
        Self { by_slot: vec![log; slots], slot: 0, frame: Vec::with_capacity(1024) }
    }

    fn take(&mut self, frame: &[u8]) {
        let Some((view, rest)) = DeliverView::split_first(frame).unwrap() else { return };
        assert!(rest.is_empty() && view.is_dense);
        let log = &mut self.by_slot[self.slot];
        for record in Records::of(view.body) {
            let number = u64::from_be_bytes(record.payload.unwrap().try_into().unwrap());
            log.records += 1;
            log.misplaced += u64::from(number != log.next);
            log.next = number + 1;
        }
    }
}

impl Sink for Received {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, _frames: &[u8]) {}

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend_from_slice(head);
        frame.extend_from_slice(shared);
        self.take(&frame);
        self.frame = frame;
    }

    fn finish(&mut self, _sub: u32) {}
}
