use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp, PresenceOp, TallyOp};
use tidewire_protocol::options::CounterOptions;
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules, TallyState};
use tidewire_protocol::{Name, Pattern};

use super::super::message::{Command, Interest, Origin, Request, SessionId, Terms};
use super::*;
use crate::cell::VoterId;
use crate::state_hash::assert_each_counts;
use crate::topic::{Policy, PolicyTable};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

const SESSION: SessionId = SessionId { dispatcher: 1, slot: 4, generation: 2 };

fn request(request: Request) -> Command {
    Command::Request(Origin { session: SESSION, stream: 0, req: 1 }, request)
}

fn publish(topic: &str, key: Option<&str>, payload: &str, ttl_ms: Option<u64>) -> Command {
    let mut body = BodyBuilder::new();
    body.push(key, &[], Some(payload.as_bytes()));
    let (topic, ack, body) = (name(topic), AckLevel::Memory, body.finish());
    let terms = Terms { ttl_ms, ..Terms::default() };
    request(Request::Publish { topic, ack, body, count: 1, terms })
}

fn count(counter: &str, ttl_ms: Option<u64>, id: Option<&str>) -> Command {
    let options = CounterOptions { ttl_ms, id: id.map(Into::into), ..CounterOptions::default() };
    request(Request::Counter { name: name(counter), op: CounterOp::Add, operand: 2, options })
}

fn vote(voter: u8) -> Command {
    let (tally, choices) = (name("poll"), vec![Choice::Index(u64::from(voter % 2))]);
    request(Request::Vote {
        tally,
        voter: VoterId([voter; 16]),
        choices,
        revision: None,
        issuer: None,
    })
}

/// A shard with something of everything.
fn shard() -> Shard {
    let map = Policy { map_keys_max: 9, retention_ms: Some(900), ..Policy::default() };
    let few = Policy { retention_records: 1, ..Policy::default() };
    let rules =
        vec![(Pattern::parse("map.>").unwrap(), map), (Pattern::parse("few").unwrap(), few)];
    let mut shard = Shard::new(ShardConfig {
        shard: 3,
        epoch: 77,
        seed: 5,
        policies: Arc::new(PolicyTable::new(rules, Policy::default())),
        limits: ShardLimits::default(),
    });
    let options = vec!["soup".into(), "pie".into()];
    let rules =
        TallyRules { closes_at_ms: Some(5_000), ..TallyRules::new(TallyKind::Single, options) };
    let commands = [
        publish("gone", None, "x", None),
        publish("news", None, "x", None),
        publish("few", None, "x", None),
        publish("map.a", Some("k"), "v", Some(300)),
        count("hits", Some(700), Some("id")),
        request(Request::Tally {
            name: name("poll"),
            op: TallyOp::Create,
            rules: Some(rules.into()),
            incarnation: None,
        }),
        vote(1),
        vote(2),
        request(Request::Presence {
            name: name("room"),
            op: PresenceOp::Join,
            member: "ann".into(),
            data: Bytes::from_static(b"d"),
        }),
        Command::Follow(2, Interest::CommitLog),
        Command::Follow(1, Interest::Topic(name("followed"))),
        Command::Follow(1, Interest::Cell(CellKind::Counter, name("hits"))),
    ];
    for (command, at_ms) in commands.into_iter().zip(10..) {
        shard.handle(command, at_ms);
        shard.seal();
    }
    shard.handle(publish("few", None, "y", None), 30);
    shard.seal();
    shard
}

#[test]
fn every_command_that_changes_something_changes_the_hash() {
    let changes: &[fn(&mut Shard)] = &[
        |shard| shard.handle(publish("news", None, "y", None), 31),
        |shard| shard.handle(publish("other", None, "y", None), 30),
        |shard| shard.handle(publish("map.a", Some("k"), "w", None), 30),
        |shard| shard.handle(count("hits", None, None), 30),
        |shard| shard.handle(count("more", None, None), 30),
        |shard| shard.handle(vote(3), 30),
        |shard| shard.handle(Command::Follow(5, Interest::Topic(name("news"))), 30),
        |shard| shard.handle(Command::Follow(5, Interest::CommitLog), 30),
        |shard| shard.handle(Command::Follow(5, Interest::Cell(CellKind::Tally, name("poll"))), 30),
        |shard| shard.handle(Command::Unfollow(1, Interest::Topic(name("followed"))), 30),
        |shard| shard.handle(Command::SessionEnded(SESSION), 30),
        |shard| shard.handle_timeout(31),
        |shard| shard.handle_timeout(311),
        |shard| shard.handle_timeout(5_000),
    ];
    assert_each_counts(shard, Shard::hash_into, changes);
}

#[test]
fn every_field_of_a_shard_counts() {
    let changes: &[fn(&mut Shard)] = &[
        |shard| shard.config.shard += 1,
        |shard| shard.config.epoch += 1,
        |shard| shard.config.seed += 1,
        |shard| shard.config.policies = Arc::default(),
        |shard| shard.config.limits.names_max += 1,
        |shard| shard.config.limits.batches_max += 1,
        |shard| shard.config.limits.bytes_max += 1,
        |shard| shard.config.limits.batch_bytes_max += 1,
        |shard| shard.config.limits.voters_max += 1,
        |shard| shard.config.limits.members_max += 1,
        |shard| shard.now_ms += 1,
        |shard| shard.timers.clear(),
        |shard| shard.log_followers.insert(9),
        |shard| shard.round.number += 1,
        |shard| shard.topics.bytes += 1,
        |shard| shard.topics.batches += 1,
        |shard| shard.topics.find(&name("news")).unwrap().followers.insert(3),
        |shard| shard.topics.find(&name("news")).unwrap().map_followers.insert(3),
        |shard| shard.topics.find(&name("news")).unwrap().map_told += 1,
        |shard| shard.topics.find(&name("news")).unwrap().policy.retention_ms = Some(1),
        |shard| shard.topics.find(&name("map.a")).unwrap().map = None,
        |shard| assert!(shard.topics.find(&name("news")).unwrap().ring.pop().is_some()),
        |shard| shard.topics.log.remove(1),
        |shard| shard.cells.version += 1,
        |shard| shard.cells.counters.clear(),
        |shard| shard.cells.tallies.clear(),
        |shard| shard.cells.presence.clear(),
        |shard| shard.cells.followers.clear(),
        |shard| shard.cells.sessions.clear(),
        |shard| shard.cells.mark(CellKind::Map, &name("map.a")),
    ];
    assert_each_counts(shard, Shard::hash_into, changes);
}

#[test]
fn the_order_in_which_cells_were_made_does_not_count() {
    let hash = |names: &[&str]| {
        let mut cells = Cells::new(1);
        for raw in names {
            cells.counters.insert(name(raw), crate::cell::Counter::new());
        }
        let mut hasher = StateHasher::new();
        cells.hash_into(&mut hasher);
        hasher.finish()
    };
    let names: Vec<std::string::String> = (0..100).map(|n| std::format!("c.{n}")).collect();
    let forward: Vec<&str> = names.iter().map(|name| &**name).collect();
    let backward: Vec<&str> = forward.iter().rev().copied().collect();
    assert_eq!(hash(&forward), hash(&backward));
}

#[test]
fn progress_moves_with_what_a_shard_does_and_is_stored_in_order() {
    let mut shard = shard();
    let before = shard.progress();
    assert_eq!(Progress::from_array(before.to_array()), before);
    shard.handle(publish("fresh", None, "x", None), 40);
    shard.seal();
    shard.handle(count("hits", None, None), 40);
    shard.seal();
    let after = shard.progress();
    assert_eq!(after.round, before.round + 2);
    assert_eq!(after.version, before.version + 1);
    assert_eq!((after.sequence, after.names), (before.sequence + 1, before.names + 1));
    assert!(after.topic_bytes > before.topic_bytes);
}

#[test]
fn the_inventory_lists_everything_by_name() {
    let inventory = shard().inventory();
    let topics: Vec<_> = inventory.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(topics, ["few", "followed", "gone", "map.a", "news"]);
    let few = &inventory.topics[0];
    assert_eq!((few.first, few.next, few.batches, few.map_keys), (1, 2, 1, None));
    assert_eq!(inventory.topics[3].map_keys, Some(1));
    assert_eq!(inventory.counters[0].value, 2);
    let poll = &inventory.tallies[0];
    assert_eq!((poll.ballots, poll.state), (2, TallyState::Open));
    assert_eq!(poll.counts, [("soup".into(), 1), ("pie".into(), 1)]);
    assert_eq!(inventory.presence[0].members, 1);
}
