//! Copies of a durable shard on several nodes: they repeat what the leader has logged, tell their own
//! followers, and take over from each other.

use proptest::prelude::*;
use tidewire_core::shard::{Command, DispatcherId, Following, Interest, LogEntry, Round, Shard};
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::commands::Chance;
use super::recovery::shard_config;
use super::told::Told;

/// Who follows on each node, beside those of the random commands.
const FOLLOWER: DispatcherId = 70;
/// Who looks once.
const VISITOR: DispatcherId = 71;

/// What is committed as one.
struct Entry {
    changes: Vec<Vec<u8>>,
    version: u64,
    time_ms: u64,
}

/// What is followed on a node. On the first one no topic is, so that topics come and go there while
/// others follow them.
fn interests(node: u64) -> Vec<Interest> {
    let name = |kind: &str, number| Name::parse(&format!("{kind}.{number}")).unwrap();
    let mut interests = vec![Interest::CommitLog];
    for number in 0..6 {
        if node > 0 {
            let topics = ["plain", "map", "idle"].map(|kind| Interest::Topic(name(kind, number)));
            interests.extend(topics);
        }
        interests.push(Interest::Cell(CellKind::Map, name("map", number)));
        interests.push(Interest::Cell(CellKind::Counter, name("counter", number)));
        interests.push(Interest::Cell(CellKind::Tally, name("tally", number)));
    }
    interests
}

/// A node with its copy of the shard, and somebody who follows everything there.
struct Node {
    number: u64,
    shard: Shard,
    told: Told,
}

impl Node {
    fn new(seed: u64, number: u64) -> Self {
        let shard = Shard::new(shard_config(seed ^ number));
        let mut node = Self { number, shard, told: Told::default() };
        node.follow();
        node
    }

    /// Tallies that do not exist yet cannot be followed.
    fn follow(&mut self) {
        let followed = self.shard.interests();
        for interest in interests(self.number) {
            let is_this =
                |known: &&Following| known.interest == interest && known.to.contains(FOLLOWER);
            if !followed.iter().any(|known| is_this(&known)) {
                let now_ms = self.shard.now_ms();
                self.shard.handle(Command::Follow(FOLLOWER, interest), now_ms);
            }
        }
        self.told.take_all(FOLLOWER, self.shard.seal());
    }

    fn repeat(&mut self, entry: &Entry) {
        replicate(&mut self.shard, entry);
        let round = self.shard.seal();
        assert!(
            round.as_ref().is_none_or(|round| round.log.is_empty()),
            "a replica decides nothing"
        );
        self.told.take_all(FOLLOWER, round);
    }

    /// What the follower was told is what there is.
    fn check(&mut self) {
        for interest in interests(self.number) {
            let now_ms = self.shard.now_ms();
            self.shard.handle(Command::Follow(VISITOR, interest.clone()), now_ms);
            self.shard.handle(Command::Unfollow(VISITOR, interest), now_ms);
        }
        let mut seen = Told::default();
        let events = self.shard.seal().into_iter().flat_map(|round| round.events);
        events.filter(|(to, _)| *to == VISITOR).for_each(|(_, event)| seen.take(event));
        assert_eq!(self.told.topics, seen.topics);
        assert_eq!(self.told.sequence, seen.sequence);
        for (cell, value) in seen.cells {
            let told = self.told.cells.get(&cell).cloned().unwrap_or_default();
            assert_eq!(told, value, "{cell:?}");
        }
    }
}

fn replicate(shard: &mut Shard, entry: &Entry) {
    let changes = entry.changes.iter().map(|change| rmp_serde::from_slice(change).unwrap());
    shard.replicate(changes, entry.version, entry.time_ms).unwrap();
}

fn entry(round: &Round, time_ms: u64) -> Entry {
    let encode = |change: &LogEntry| rmp_serde::to_vec(change).unwrap();
    let changes = round.log.iter().map(encode).collect();
    Entry { changes, version: round.version, time_ms }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn copies_tell_their_followers_everything_and_take_over(
        seed in any::<u64>(),
        turns in 0_usize..200,
    ) {
        take_turns(seed, turns);
    }
}

/// Commands, failovers and rounds that are lost, as this seed says; then all copies are held against each other.
fn take_turns(seed: u64, turns: usize) {
    let (mut chance, mut now_ms) = (Chance(seed), 1);
    let mut log: Vec<Entry> = Vec::new();
    let mut nodes: Vec<Node> = (0..3).map(|number| Node::new(seed, number)).collect();
    let mut leader = 0;
    nodes[leader].shard.promote(now_ms);
    for _ in 0..turns {
        let commands = chance.turn(&mut now_ms);
        let shard = &mut nodes[leader].shard;
        shard.handle_timeout(now_ms);
        commands.into_iter().for_each(|command| shard.handle(command, now_ms));
        let round = shard.seal();
        let is_lost = chance.below(12) == 0;
        if is_lost {
            // What was under way is committed by nobody: the leader's copy has gone too far.
            let interests = nodes[leader].shard.interests();
            let mut shard = Shard::new(shard_config(chance.next()));
            log.iter().for_each(|entry| replicate(&mut shard, entry));
            shard.seal();
            shard.take_interests(interests);
            nodes[leader].shard = shard;
            let round = nodes[leader].shard.seal();
            nodes[leader].told.take_all(FOLLOWER, round);
        } else if let Some(round) = round {
            if !round.log.is_empty() {
                log.push(entry(&round, now_ms));
                let entry = log.last().unwrap();
                let others = (0..3).filter(|node| *node != leader);
                others.for_each(|node| nodes[node].repeat(entry));
            }
            nodes[leader].told.take_all(FOLLOWER, Some(round));
        }
        if is_lost || chance.below(12) == 0 {
            let refusal = Refusal::new(ErrorCode::Unavailable, "another node leads it");
            nodes[leader].shard.demote(&refusal);
            let round = nodes[leader].shard.seal();
            nodes[leader].told.take_all(FOLLOWER, round);
            leader = chance.below(3) as usize;
            nodes[leader].shard.promote(now_ms);
            // What has become due meanwhile, such as the opening of a poll, is done at once.
            nodes[leader].shard.handle_timeout(now_ms);
            let round = nodes[leader].shard.seal();
            if let Some(round) = round.as_ref().filter(|round| !round.log.is_empty()) {
                log.push(entry(round, now_ms));
                let entry = log.last().unwrap();
                let others = (0..3).filter(|node| *node != leader);
                others.for_each(|node| nodes[node].repeat(entry));
            }
            nodes[leader].told.take_all(FOLLOWER, round);
        }
        nodes.iter_mut().for_each(Node::follow);
    }
    nodes.iter_mut().for_each(Node::check);
    // Each of them could lead now, and would begin with the same.
    let mut hashes = Vec::new();
    for node in &mut nodes {
        node.shard.promote(now_ms);
        node.shard.seal();
        hashes.push(node.shard.durable_hash());
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

/// Found by chance once.
#[test]
fn copies_agree_when_a_poll_opens_while_its_leader_is_lost() {
    take_turns(12_428_335_964_967_686_844, 54);
}
