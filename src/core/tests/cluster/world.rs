//! The cluster, what happens to it, and what is held against what in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use tidewire_protocol::options::GetOptions;

use tidewire_core::member::{Output, Proposal};
use tidewire_core::shard::{Command, Event, Interest, Origin, Reply, Request, SessionId, is_peer};
use tidewire_protocol::frame::{CellKind, TallyOp};
use tidewire_protocol::record::Records;
use tidewire_protocol::tally::{TallyKind, TallyRules};

use super::apart::Apart;
use super::chance::Chance;
use super::clients::Clients;
use super::log::{self, Content, Log};
use super::node::{CLIENTS, DURABLE, DURABLE_TOPICS, MEMORY, Node, Stream, copy_of, name};

/// How long a leader acts on what a majority last told it, and how long the others wait at least
/// before they elect another one.
const LEASE_MS: u64 = 400;
const ELECTION_MS: u64 = 500;
/// Epochs of shards in memory.
const EPOCHS: u64 = 1 << 48;

pub(crate) struct World {
    chance: Chance,
    now_ms: u64,
    /// Of the nodes that hold a copy.
    logs: Vec<Log>,
    nodes: Vec<Option<Node>>,
    /// From, to.
    cut: BTreeSet<(usize, usize)>,
    /// When each node last heard from a leader, and a leader from each node.
    heard_ms: Vec<u64>,
    answered_ms: Vec<Vec<u64>>,
    pub(crate) clients: Clients,
    pub(crate) apart: Apart,
    is_healed: bool,
    trace: u64,
    /// What followers were delivered, in all lives of all nodes.
    delivered: BTreeMap<super::follower::Place, Vec<u8>>,
    failovers: u64,
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
            cut: BTreeSet::new(),
            heard_ms: vec![0; nodes],
            answered_ms: vec![vec![0; nodes]; nodes],
            clients: Clients::new(),
            apart: Apart::new(seed, nodes),
            is_healed: false,
            trace: seed,
            delivered: BTreeMap::new(),
            failovers: 0,
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

    fn note(&mut self, what: u64) {
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

    fn attempt(&mut self, client: usize, node: usize) {
        if self.nodes[node].is_some()
            && let Some((shard, session, request)) = self.clients.ask(client, node)
        {
            self.ask(node, shard, session, request);
        }
    }

    fn ask(&mut self, node: usize, shard: usize, session: SessionId, request: Request) {
        let origin = Origin { session, stream: 0, req: 1 };
        if let Some(node) = &mut self.nodes[node] {
            node.waiting[shard].push_back(Command::Request(origin, request));
        }
    }

    /// Breaks something, or mends it.
    fn fail(&mut self) {
        let count = self.nodes.len() as u64;
        let node = self.chance.below(count) as usize;
        match self.chance.below(100) {
            0 => {
                let other = self.chance.below(count) as usize;
                self.cut.insert((node, other));
            }
            1 => {
                for other in 0..self.nodes.len() {
                    self.cut.extend([(node, other), (other, node)]);
                }
            }
            2..=4 => self.cut.clear(),
            5 => self.crash(node),
            6..=8 => self.restart(node),
            9 | 10 => self.elect(node),
            11 => self.clients.leave(node),
            _ => {}
        }
    }

    fn crash(&mut self, node: usize) {
        if let Some(crashed) = self.nodes[node].take() {
            self.collect(&crashed);
            self.clients.leave(node);
            self.apart.crash(node);
            if let Some(log) = self.logs.get_mut(node) {
                log.leads = false;
            }
        }
    }

    fn restart(&mut self, node: usize) {
        if self.nodes[node].is_none() {
            let seed = self.chance.next();
            self.nodes[node] = Some(Node::start(self.logs.get(node), seed, self.now_ms));
            self.heard_ms[node] = self.now_ms;
            self.apart.start(node);
        }
    }

    /// What the follower of a node was delivered agrees with what others were.
    fn collect(&mut self, node: &Node) {
        for (place, payload) in &node.follower.records {
            let known = self.delivered.entry(place.clone()).or_insert_with(|| payload.clone());
            assert_eq!(known, payload, "two records at {place:?}");
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.nodes[from].is_some() && self.nodes[to].is_some() && !self.cut.contains(&(from, to))
    }

    fn elect(&mut self, candidate: usize) {
        if candidate >= self.logs.len() || self.nodes[candidate].is_none() {
            return;
        }
        let is_quiet = |node: usize| self.heard_ms[node] + ELECTION_MS < self.now_ms;
        let reachable: Vec<usize> = (0..self.logs.len())
            .filter(|node| {
                *node == candidate
                    || self.reaches(candidate, *node) && self.reaches(*node, candidate)
            })
            .filter(|node| is_quiet(*node))
            .collect();
        if reachable.contains(&candidate) && log::elect(&mut self.logs, candidate, &reachable) {
            self.failovers += 1;
            self.answered_ms[candidate] = vec![0; self.nodes.len()];
        }
    }

    /// The leader with the newest term, if it acts as one.
    fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| self.logs[*node].leads && self.nodes[*node].is_some();
        (0..self.logs.len()).filter(leads).max_by_key(|node| self.logs[*node].term)
    }

    fn has_lease(&self, node: usize) -> bool {
        let is_recent = |at_ms: &&u64| **at_ms + LEASE_MS > self.now_ms;
        let others = self.answered_ms[node].iter().take(self.logs.len());
        let recent = others.filter(is_recent).count();
        self.logs[node].leads && (recent + 1) * 2 > self.logs.len()
    }

    /// Lets everything move on a little.
    fn turn(&mut self) {
        self.replicate();
        for node in 0..self.nodes.len() {
            self.lead_or_follow(node);
            self.stream(node);
            self.act(node);
        }
    }

    fn replicate(&mut self) {
        for leader in 0..self.logs.len() {
            for node in 0..self.logs.len() {
                if node == leader || !self.logs[leader].leads || !self.reaches(leader, node) {
                    continue;
                }
                if !self.is_healed && self.chance.one_in(3) {
                    continue;
                }
                let is_answered = self.reaches(node, leader);
                let entries = 1 + self.chance.below(4) as usize;
                let is_new = self.logs[leader].term >= self.logs[node].term;
                if is_new || is_answered {
                    log::replicate(&mut self.logs, leader, node, entries, is_answered);
                }
                if is_new {
                    self.heard_ms[node] = self.now_ms;
                    if is_answered {
                        self.answered_ms[leader][node] = self.now_ms;
                        self.heard_ms[leader] = self.now_ms;
                    }
                }
            }
        }
    }

    /// Entries are applied, and the node finds out what it is.
    fn lead_or_follow(&mut self, at: usize) {
        let (now_ms, entries) = (self.now_ms, self.chance.below(6));
        let seed = self.chance.next();
        let Some(node) = &mut self.nodes[at] else { return };
        let Some(log) = self.logs.get(at) else { return };
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

    /// Streams to the leaders of the shards begin, end, and carry some of what is on its way.
    fn stream(&mut self, at: usize) {
        for shard in [MEMORY, DURABLE] {
            let leader = self.leader().filter(|leader| {
                let there = self.nodes[*leader].as_ref().unwrap().members[shard].term();
                there == Some(self.logs[*leader].term)
            });
            let both_ways = |other: usize| self.reaches(at, other) && self.reaches(other, at);
            let leads = |other: usize, term: u64| {
                let there = self.nodes[other].as_ref();
                there.is_some_and(|node| node.members[shard].term() == Some(term))
            };
            let Some(node) = &self.nodes[at] else { continue };
            let ends = node.streams[shard]
                .as_ref()
                .is_some_and(|stream| !both_ways(stream.to) || !leads(stream.to, stream.term));
            let begins = node.streams[shard].is_none()
                && node.members[shard].term().is_none()
                && leader.is_some_and(|leader| leader != at && both_ways(leader));
            if ends {
                self.end_stream(at, shard);
            } else if begins && self.chance.one_in(3) {
                let to = leader.unwrap();
                let (up, down, term) = (VecDeque::new(), VecDeque::new(), self.logs[to].term);
                let node = self.nodes[at].as_mut().unwrap();
                node.streams[shard] = Some(Stream { to, term, up, down });
                node.members[shard].connect();
            }
            self.carry(at, shard);
        }
    }

    fn end_stream(&mut self, at: usize, shard: usize) {
        let node = self.nodes[at].as_mut().unwrap();
        let stream = node.streams[shard].take().unwrap();
        node.members[shard].disconnect();
        if let Some(leader) = &mut self.nodes[stream.to] {
            leader.members[shard].peer_ended(peer(at));
        }
    }

    fn carry(&mut self, at: usize, shard: usize) {
        let (up, down) = (self.chance.below(5), self.chance.below(5));
        let (up, down) = if self.is_healed { (50, 50) } else { (up, down) };
        let Some(stream) = self.nodes[at].as_mut().and_then(|node| node.streams[shard].as_mut())
        else {
            return;
        };
        let to = stream.to;
        let sent: Vec<Vec<u8>> = (0..up).map_while(|_| stream.up.pop_front()).collect();
        let heard: Vec<Vec<u8>> = (0..down).map_while(|_| stream.down.pop_front()).collect();
        // A leader that may be none any more takes nothing.
        if self.has_lease(to) {
            let leader = self.nodes[to].as_mut().unwrap();
            for command in sent {
                let command = rmp_serde::from_slice(&command).unwrap();
                assert!(leader.members[shard].handle_peer(peer(at), command, self.now_ms));
            }
        } else {
            let stream = self.nodes[at].as_mut().unwrap().streams[shard].as_mut().unwrap();
            sent.into_iter().rev().for_each(|command| stream.up.push_front(command));
        }
        let node = self.nodes[at].as_mut().unwrap();
        for event in heard {
            node.members[shard].take(rmp_serde::from_slice(&event).unwrap());
        }
    }

    /// A node does what it was asked for, and tells what has come of it.
    fn act(&mut self, at: usize) {
        let has_lease = self.logs.get(at).is_none_or(|log| !log.leads) || self.has_lease(at);
        for shard in [MEMORY, DURABLE] {
            let Some(node) = &mut self.nodes[at] else { return };
            let member = &mut node.members[shard];
            if has_lease || member.term().is_none() {
                for command in node.waiting[shard].drain(..) {
                    member.handle(command, self.now_ms);
                }
            }
            member.handle_timeout(self.now_ms);
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

    fn pass_on(&mut self, at: usize, shard: usize, output: Output) {
        let node = self.nodes[at].as_mut().unwrap();
        if let Some(stream) = &mut node.streams[shard] {
            let encode = |command: &Command| rmp_serde::to_vec_named(command).unwrap();
            stream.up.extend(output.to_leader.iter().map(encode));
        }
        for (to, event) in node.hear(output.told) {
            if is_peer(to) {
                let other = self.nodes[usize::from(to) - 64].as_mut();
                let stream = other.and_then(|other| other.streams[shard].as_mut());
                if let Some(stream) = stream.filter(|stream| stream.to == at) {
                    stream.down.push_back(rmp_serde::to_vec_named(&event).unwrap());
                }
            } else {
                self.clients.hear(&event);
            }
        }
    }

    /// Mends everything, and lets everybody come to an end.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.cut.clear();
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

    pub(crate) fn check(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        nodes.iter().flatten().for_each(|node| self.collect(node));
        self.nodes = nodes;
        let leader = self.leader().unwrap();
        self.check_topics(leader);
        self.check_cells(leader);
        self.check_followers(leader);
        self.apart.check();
    }

    /// Every acknowledged publish stands once, at its place, and nothing else does.
    fn check_topics(&mut self, leader: usize) {
        let log = self.logs[leader].clone();
        let mut shard = copy_of(&log, log.committed, 1);
        let mut stored = BTreeMap::new();
        for topic in DURABLE_TOPICS {
            shard.handle(Command::Follow(5, Interest::Topic(name(topic))), self.now_ms);
            for (_, event) in shard.seal().unwrap().events {
                let Event::TopicSnapshot { batches, epoch, .. } = event else { continue };
                for batch in batches {
                    let body = batch.body.warm().unwrap();
                    for (offset, record) in (batch.base..).zip(Records::of(body)) {
                        let payload = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
                        let place = (name(topic), epoch, offset);
                        let earlier = stored.insert(payload, place);
                        assert_eq!(earlier, None, "a publish stands there twice");
                    }
                }
            }
        }
        for (payload, place) in &self.clients.published {
            assert_eq!(stored.get(payload), Some(place), "{payload} was acknowledged");
        }
        assert!(stored.keys().all(|payload| self.clients.begun.contains(payload)));
        assert_eq!(stored.len(), self.clients.published.len(), "all were repeated until known");
        for (payload, place) in &stored {
            let delivered = self.delivered.get(place);
            assert!(delivered.is_none_or(|delivered| delivered == payload.as_bytes()), "{place:?}");
        }
        for (place, payload) in &self.clients.mentioned {
            let delivered = self.delivered.get(place);
            assert!(delivered.is_none_or(|delivered| delivered == payload.as_bytes()), "{place:?}");
        }
    }

    /// What was counted and voted is what there is.
    fn check_cells(&mut self, leader: usize) {
        let node = self.nodes[leader].as_mut().unwrap();
        let session = SessionId { dispatcher: 9, slot: 1, generation: 1 };
        let origin = Origin { session, stream: 0, req: 1 };
        let get = |kind, text| Request::Get {
            kind,
            name: name(text),
            key: None,
            options: GetOptions::default(),
        };
        let requests = [get(CellKind::Counter, "count"), get(CellKind::Tally, "poll")];
        for request in requests {
            let command = Command::Request(origin, request);
            node.members[DURABLE].handle(command, self.now_ms);
        }
        let mut found = Vec::new();
        for (_, event) in node.members[DURABLE].seal().told {
            if let Event::Reply { reply: Reply::Value { value, .. }, .. } = event {
                found.push(format!("{value:?}"));
            }
        }
        assert_eq!(self.clients.counted, self.clients.counts_begun);
        let counter = match self.clients.counted {
            0 => "Absent".to_owned(),
            counted => format!("Counter({counted})"),
        };
        assert_eq!(found[0], counter);
        let of = |choice: u64| self.clients.voted.values().filter(|c| **c == choice).count();
        // Of a voter who was repeating one ballot while another was under way the last one counts,
        // whichever that was; there is one ballot for each in any case.
        let ballots = of(0) + of(1);
        assert!(found[1].contains(&format!("ballots: {ballots},")), "{ballots}: {}", found[1]);
    }

    /// All nodes have come to the same, and their followers have been told so.
    fn check_followers(&mut self, leader: usize) {
        let of_leader = &self.nodes[leader].as_ref().unwrap().follower;
        let (topics, values) = (of_leader.topics.clone(), of_leader.values.clone());
        for (at, node) in self.nodes.iter().enumerate() {
            let node = node.as_ref().unwrap();
            assert_eq!(node.follower.topics, topics, "node {at}");
            for (cell, value) in &values {
                assert_eq!(node.follower.values.get(cell), Some(value), "node {at}, {cell:?}");
            }
            if at < self.logs.len() {
                assert_eq!(node.applied, self.logs[leader].committed, "node {at}");
            }
        }
        assert!(self.failovers > 0);
    }
}

fn peer(node: usize) -> u8 {
    64 + node as u8
}
