//! The cluster, what happens to it, and what is held against what in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tidewire_core::member::Proposal;
use tidewire_core::shard::{Command, Origin, Request, SessionId};
use tidewire_protocol::frame::TallyOp;
use tidewire_protocol::tally::{TallyKind, TallyRules};

use super::apart::Apart;
use super::chance::Chance;
use super::clients::Clients;
use super::log::{self, Content, Log};
use super::node::{CLIENTS, DURABLE, MEMORY, Node, copy_of, name};

/// Epochs of shards in memory.
const EPOCHS: u64 = 1 << 48;

/// What has happened to the copies of the durable shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Happened {
    /// States that were saved, and that were given to a node whose log lacked too much.
    pub(crate) saved: u64,
    pub(crate) installed: u64,
    /// Entries that a crash has taken, because they were not on the disk yet.
    pub(crate) unflushed: u64,
    /// Clocks that have been set.
    pub(crate) clocks: u64,
}

impl Happened {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { saved, installed, unflushed, clocks } = other;
        self.saved += saved;
        self.installed += installed;
        self.unflushed += unflushed;
        self.clocks += clocks;
    }
}

pub(crate) struct World {
    pub(super) chance: Chance,
    pub(super) now_ms: u64,
    /// Of the nodes that hold a copy.
    pub(super) logs: Vec<Log>,
    pub(super) nodes: Vec<Option<Node>>,
    /// By how much the clock of each node goes ahead of time.
    pub(super) ahead_ms: Vec<u64>,
    /// From, to.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// When each node last heard from a leader, and a leader from each node.
    pub(super) heard_ms: Vec<u64>,
    pub(super) answered_ms: Vec<Vec<u64>>,
    pub(crate) clients: Clients,
    pub(crate) apart: Apart,
    pub(super) is_healed: bool,
    pub(super) trace: u64,
    /// What followers were delivered, in all lives of all nodes.
    pub(super) delivered: BTreeMap<super::follower::Place, Vec<u8>>,
    pub(super) failovers: u64,
    pub(crate) happened: Happened,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let mut chance = Chance(seed);
        let copies = 3;
        let logs = vec![Log::default(); copies];
        let started =
            (0..nodes).map(|node| Some(Node::start(logs.get(node), chance.next(), 1))).collect();
        let mut world = Self {
            chance,
            now_ms: 10_000,
            logs,
            nodes: started,
            ahead_ms: vec![0; nodes],
            cut: BTreeSet::new(),
            heard_ms: vec![0; nodes],
            answered_ms: vec![vec![0; nodes]; nodes],
            clients: Clients::new(),
            apart: Apart::new(seed, nodes),
            is_healed: false,
            trace: seed,
            delivered: BTreeMap::new(),
            failovers: 0,
            happened: Happened::default(),
        };
        world.create_poll();
        world
    }

    /// The poll is there before anything happens.
    fn create_poll(&mut self) {
        while self.leader().is_none() {
            self.elect(0);
            self.turn();
        }
        let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
        let (tally, op, rules) = (name("poll"), TallyOp::Create, Some(rules.into()));
        let request = Request::Tally { name: tally, op, rules, incarnation: None };
        self.ask(0, DURABLE, SessionId { dispatcher: CLIENTS, slot: 99, generation: 1 }, request);
        (0..20).for_each(|_| self.turn());
    }

    pub(super) fn note(&mut self, what: u64) {
        self.trace = Chance(self.trace ^ what).next();
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    pub(crate) fn step(&mut self) {
        self.now_ms += self.chance.below(30);
        self.fail();
        let client = self.chance.below(self.clients.clients.len() as u64) as usize;
        if self.clients.clients[client].task.is_none() {
            self.clients.begin(client, &mut self.chance);
        }
        let node = self.chance.below(self.nodes.len() as u64) as usize;
        self.attempt(client, node);
        self.turn();
        let (nodes, cut) = (&self.nodes, &self.cut);
        let is_open = |from: usize, to: usize| nodes[from].is_some() && !cut.contains(&(from, to));
        self.apart.step(self.now_ms, &|a, b| is_open(a, b) && is_open(b, a));
        self.note(self.now_ms ^ self.clients.answers);
    }

    pub(super) fn attempt(&mut self, client: usize, node: usize) {
        if self.nodes[node].is_some()
            && let Some((shard, session, request)) = self.clients.ask(client, node)
        {
            self.ask(node, shard, session, request);
        }
    }

    pub(super) fn ask(&mut self, node: usize, shard: usize, session: SessionId, request: Request) {
        let origin = Origin { session, stream: 0, req: 1 };
        if let Some(node) = &mut self.nodes[node] {
            node.waiting[shard].push_back(Command::Request(origin, request));
        }
    }

    /// What a node takes for the time.
    pub(super) fn clock_ms(&self, node: usize) -> u64 {
        self.now_ms + self.ahead_ms[node]
    }

    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        self.nodes[from].is_some() && self.nodes[to].is_some() && !self.cut.contains(&(from, to))
    }

    /// Lets everything move on a little.
    fn turn(&mut self) {
        self.flush();
        self.replicate();
        for node in 0..self.nodes.len() {
            self.lead_or_follow(node);
            self.stream(node);
            self.act(node);
            self.save(node);
        }
    }

    /// Entries are applied, and the node finds out what it is.
    fn lead_or_follow(&mut self, at: usize) {
        let (now_ms, entries) = (self.clock_ms(at), self.chance.below(6));
        let seed = self.chance.next();
        let Some(node) = &mut self.nodes[at] else { return };
        let Some(log) = self.logs.get(at) else { return };
        self.happened.installed += u64::from(node.install(log, seed));
        if node.members[DURABLE].is_awaited() && seed.is_multiple_of(4) {
            let shard = copy_of(log, node.applied, seed);
            node.members[DURABLE].replace_copy(shard);
        }
        for _ in 0..entries {
            node.apply(log);
        }
        // Its own first entry of the term is applied, so it has everything before that.
        let is_ready =
            log.leads && log.entries.iter().take(node.applied).any(|(term, _)| *term == log.term);
        for member in &mut node.members {
            match (is_ready, member.term()) {
                (true, Some(term)) if term == log.term => {}
                (true, Some(_)) => member.follow(),
                (true, None) => member.lead(log.term, EPOCHS + log.term, now_ms),
                (false, Some(_)) if !log.leads => member.follow(),
                (false, _) => {}
            }
        }
    }

    /// A node does what it was asked for, and tells what has come of it.
    fn act(&mut self, at: usize) {
        let has_lease = self.logs.get(at).is_none_or(|log| !log.leads) || self.has_lease(at);
        let now_ms = self.clock_ms(at);
        for shard in [MEMORY, DURABLE] {
            let Some(node) = &mut self.nodes[at] else { return };
            let member = &mut node.members[shard];
            if has_lease || member.term().is_none() {
                for command in node.waiting[shard].drain(..) {
                    member.handle(command, now_ms);
                }
            }
            member.handle_timeout(now_ms);
            let mut output = member.seal();
            if let Some(proposal) = output.proposal.take() {
                self.propose(at, shard, &proposal);
            }
            self.pass_on(at, shard, output);
        }
    }

    fn propose(&mut self, at: usize, shard: usize, proposal: &Proposal) {
        let Proposal { log, version, time_ms } = proposal;
        let changes = log.iter().map(|change| rmp_serde::to_vec(change).unwrap()).collect();
        let content =
            Content::Changes { changes: Rc::new(changes), version: *version, time_ms: *time_ms };
        // The engine of one that leads no more, or in another term, refuses it.
        let term = self.nodes[at].as_ref().unwrap().members[shard].term();
        if self.logs[at].leads && term == Some(self.logs[at].term) {
            log::propose(&mut self.logs, at, vec![content]);
        }
    }

    /// Mends everything, and lets everybody come to an end.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.cut.clear();
        self.logs.iter_mut().for_each(|log| log.is_slow = false);
        (0..self.nodes.len()).for_each(|node| self.restart(node));
        for round in 0..3_000_usize {
            self.now_ms += 10;
            if self.leader().is_none() {
                self.elect(round % self.logs.len());
            }
            for client in 0..self.clients.clients.len() {
                self.attempt(client, (client + round) % self.nodes.len());
            }
            self.turn();
        }
        self.apart.heal(self.now_ms);
        let busy: Vec<_> = self.clients.clients.iter().filter(|c| c.task.is_some()).collect();
        assert!(busy.is_empty(), "not answered: {busy:?}");
    }
}
