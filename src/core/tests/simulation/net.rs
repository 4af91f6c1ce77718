//! Shards and dispatchers in one thread, and the wires between them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::access::Voter;
use tidewire_core::cell::VoterId;
use tidewire_core::fanout::{Dispatcher, FanoutLimits, Framing, Lane, SessionOptions, Sink};
use tidewire_core::is_durable;
use tidewire_core::shard::{
    Command, Event, Recall, Recaller, SessionId, Shard, ShardConfig, ShardLimits,
};
use tidewire_core::topic::PolicyTable;
use tidewire_protocol::frame::split_first;
use tidewire_protocol::{ClientFrame, Name, ServerFrame, stable_hash};

use crate::chance::Chance;
use crate::disk::Disk;
use crate::recorded::Recorded;

pub(crate) const DISPATCHERS: u8 = 3;
/// Epoch of the shards, and of topics until one is removed.
pub(crate) const EPOCH: u64 = 77;

/// Everything that a server does, without its threads and sockets.
pub(crate) struct Net {
    pub(crate) chance: Chance,
    pub(crate) now_ms: u64,
    pub(crate) shards: Vec<Recorded>,
    pub(crate) dispatchers: Vec<Dispatcher>,
    /// Events under way, per (shard, dispatcher).
    wires: HashMap<(usize, u8), VecDeque<Event>>,
    /// What durable shards have logged, and what is being read from that.
    pub(crate) disks: HashMap<usize, Disk>,
    pub(crate) reads: u64,
    pub(crate) recalls: Vec<(usize, Recall)>,
    /// What connections have asked and shards have not been told yet.
    collected: Vec<(u16, Command)>,
}

#[derive(Default)]
struct Received(Vec<Bytes>);

impl Sink for Received {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        let mut rest = Bytes::copy_from_slice(frames);
        while !rest.is_empty() {
            self.0.push(split_first(&mut rest).unwrap());
        }
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        self.0.push(Bytes::from([head, shared].concat()));
    }

    fn finish(&mut self, _sub: u32) {}
}

impl Net {
    pub(crate) fn new(seed: u64, policies: PolicyTable, limits: ShardLimits) -> Self {
        Self::with_fanout(seed, policies, limits, &FanoutLimits::default())
    }

    pub(crate) fn with_fanout(
        seed: u64,
        policies: PolicyTable,
        limits: ShardLimits,
        fanout: &FanoutLimits,
    ) -> Self {
        let policies = Arc::new(policies);
        let shard = |shard| {
            let (policies, limits) = (Arc::clone(&policies), limits.clone());
            Recorded::new(Shard::new(ShardConfig { shard, epoch: EPOCH, seed, policies, limits }))
        };
        Self {
            chance: Chance(seed),
            now_ms: 1,
            shards: (0..policies.shards()).map(shard).collect(),
            dispatchers: (0..DISPATCHERS)
                .map(|id| Dispatcher::new(id, seed, fanout.clone()))
                .map(|dispatcher| dispatcher.with_policies(Arc::clone(&policies)))
                .collect(),
            wires: HashMap::new(),
            disks: HashMap::new(),
            reads: 0,
            recalls: Vec::new(),
            collected: Vec::new(),
        }
    }

    /// A new connection to this dispatcher.
    pub(crate) fn open(&mut self, dispatcher: usize) -> SessionId {
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        self.dispatchers[dispatcher].open(options, self.now_ms)
    }

    pub(crate) fn close(&mut self, session: SessionId) {
        self.pass_on();
        self.dispatchers[usize::from(session.dispatcher)].close(session);
    }

    pub(crate) fn request(&mut self, session: SessionId, frame: ClientFrame) {
        let dispatcher = &mut self.dispatchers[usize::from(session.dispatcher)];
        let mut next = dispatcher.request(session, 0, Ok(frame), &voter_id);
        while let Some((shard, command)) = next {
            let alone = match self.collected.last_mut() {
                Some((last_shard, last)) if *last_shard == shard => last.join(command),
                _ => Some(command),
            };
            self.collected.extend(alone.map(|command| (shard, command)));
            next = dispatcher.more_commands();
        }
        if self.chance.index(4) == 0 {
            self.pass_on();
        }
    }

    /// Hands the shards what connections have asked, publishes of one read as one.
    fn pass_on(&mut self) {
        for (shard, command) in self.collected.drain(..) {
            self.shards[usize::from(shard)].handle(command, self.now_ms);
        }
    }

    /// Ends the shards' rounds and puts their events on the wires.
    pub(crate) fn seal(&mut self) {
        self.pass_on();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.handle_timeout(self.now_ms);
            let Some(mut round) = shard.seal() else { continue };
            for (dispatcher, event) in round.early.drain(..).chain(round.events.drain(..)) {
                self.wires.entry((number, dispatcher)).or_default().push_back(event);
            }
            self.recalls.extend(round.recalls.drain(..).map(|recall| (number, recall)));
            if is_durable(shard.shard.number()) {
                let disk = self.disks.entry(number).or_default();
                disk.append(&mut round);
                if self.chance.one_in(3) {
                    let next_sequence = shard.shard.progress().sequence;
                    shard.handle(disk.stored(next_sequence), self.now_ms);
                }
            }
        }
    }

    /// Lets some (or all) of what is recalled be read; it does not wait for other events.
    fn read_back(&mut self, all: bool) {
        while !self.recalls.is_empty() && (all || self.chance.one_in(2)) {
            let (shard, recall) = self.recalls.remove(self.chance.index(self.recalls.len()));
            self.reads += 1;
            let recalled = self.disks.get_mut(&shard).unwrap().read(&recall);
            match recall.to {
                Recaller::Dispatcher(dispatcher) => {
                    let recalled = Arc::new(recalled);
                    let event = Event::Recalled { shard: shard as u16, recalled };
                    self.dispatchers[usize::from(dispatcher)].apply(event, self.now_ms);
                }
                Recaller::Shard => {
                    let command = Command::Recalled(Box::new(recalled));
                    self.shards[shard].handle(command, self.now_ms);
                }
            }
        }
    }

    /// Lets some (or all) events arrive, and the dispatchers' commands reach the shards.
    pub(crate) fn arrive(&mut self, all: bool) {
        self.pass_on();
        let mut wires: Vec<(usize, u8)> = self.wires.keys().copied().collect();
        wires.sort_unstable();
        for wire in wires {
            let queue = self.wires.get_mut(&wire).unwrap();
            let count = if all { queue.len() } else { self.chance.index(queue.len() + 1) };
            for event in queue.drain(..count) {
                self.dispatchers[usize::from(wire.1)].apply(event, self.now_ms);
            }
        }
        self.read_back(all);
        for dispatcher in &mut self.dispatchers {
            dispatcher.handle_timeout(self.now_ms);
            while let Some((shard, command)) = dispatcher.outgoing() {
                self.shards[usize::from(shard)].handle(command, self.now_ms);
            }
        }
    }

    /// Lets everything arrive that is under way, and what follows from it.
    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            self.seal();
            self.arrive(true);
        }
    }

    /// What a connection takes of up to so many bytes.
    pub(crate) fn pull(&mut self, session: SessionId, budget: usize) -> Vec<ServerFrame> {
        let mut received = Received::default();
        let dispatcher = &mut self.dispatchers[usize::from(session.dispatcher)];
        dispatcher.pull(session, budget, self.now_ms, &mut Vec::new(), &mut received);
        received.0.iter().map(|frame| ServerFrame::decode(frame).unwrap()).collect()
    }

    /// Sends a request and returns everything that its connection has got once it has settled.
    pub(crate) fn ask(&mut self, session: SessionId, frame: ClientFrame) -> Vec<ServerFrame> {
        self.request(session, frame);
        self.settle();
        self.pull(session, usize::MAX)
    }

    /// Topics that exist in all shards.
    pub(crate) fn topics(&self) -> u64 {
        self.shards.iter().map(|shard| shard.stats().topics).sum()
    }

    /// Recalls that dispatchers had answered.
    pub(crate) fn recalled(&self) -> u64 {
        self.dispatchers.iter().map(|dispatcher| dispatcher.stats().recalls).sum()
    }

    /// Topics that have been removed because they were idle.
    pub(crate) fn expired(&self) -> u64 {
        self.shards.iter().map(|shard| shard.stats().topics_expired).sum()
    }
}

/// Stands for the server's keyed hash of a voter.
fn voter_id(_tally: &Name, voter: Voter<'_>) -> VoterId {
    let voter = voter.subject;
    let mut id = [0; 16];
    id[8..].copy_from_slice(&stable_hash(voter.as_bytes()).to_be_bytes());
    VoterId(id)
}
