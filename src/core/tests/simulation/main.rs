//! A seeded simulation of shards, dispatchers and thousands of clients in one thread.
//!
//! Events travel from shards to dispatchers with random delays (in order, as over a queue),
//! clients read when chance lets them, lag behind, vanish and come back to where they were. The
//! law: every acknowledged record reaches every subscriber once and in order, or an explicit gap
//! says that it does not. The same seed gives the same run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect is to fail"
)]

mod access;
mod boards;
#[path = "../cluster/chance.rs"]
mod chance;
mod cold;
mod disk;
mod expiry;
mod net;
mod partitions;
mod polls;
mod recorded;
mod topics;

use std::collections::{BTreeMap, HashMap};

use tidewire_core::SHARDS;
use tidewire_core::shard::SessionId;
use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::options::SubscribeOptions;
use tidewire_protocol::{ClientFrame, Pattern, ServerFrame};

use net::DISPATCHERS;
use recorded::{Input, Recorded};
use topics::{TOPICS, World, topic};

#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    seen: u64,
    missed: u64,
    renewed: u64,
    expired: u64,
    recalled: u64,
}

fn run(seed: u64, clients: usize, steps: usize) -> Figures {
    run_in(World::new(seed, clients), seed, steps)
}

fn run_in(mut world: World, seed: u64, steps: usize) -> Figures {
    for _ in 0..steps {
        world.step();
    }
    world.settle();
    assert!(world.asked.is_empty(), "seed {seed}: every request is answered");
    let (expired, recalled) = (world.net.expired(), world.net.recalled());
    let mut figures = Figures { expired, recalled, ..Figures::default() };
    for client in &world.clients {
        assert!(world.is_at_end(client), "seed {seed}: every client reaches the end");
        figures.seen += client.seen;
        figures.missed += client.missed;
        figures.renewed += client.renewed;
    }
    figures
}

#[test]
fn every_acknowledged_record_is_seen_once_in_order_or_named_in_a_gap() {
    let mut sum = Figures::default();
    for seed in 1..=30 {
        let figures = run(seed, 100, 300);
        sum.seen += figures.seen;
        sum.missed += figures.missed;
        sum.renewed += figures.renewed;
        sum.expired += figures.expired;
    }
    // All of it happens, or the simulation would show nothing.
    assert!(sum.seen > 100_000 && sum.missed > 1_000, "{sum:?}");
    assert!(sum.expired > 100 && sum.renewed > 100, "{sum:?}");
}

#[test]
fn thousands_of_clients_get_through_as_well() {
    let figures = run(4711, 3_000, 120);
    assert!(figures.seen > 100_000, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(99, 60, 150), run(99, 60, 150));
}

#[test]
fn what_was_recorded_from_the_middle_on_replays_to_the_same_state() {
    for seed in 1..=20 {
        let mut world = match seed % 2 {
            0 => World::new(seed, 60),
            _ => World::on_disk(seed, 60),
        };
        (0..100).for_each(|_| world.step());
        world.net.seal();
        world.net.shards.iter_mut().for_each(Recorded::record);
        (0..100).for_each(|_| world.step());
        let mut inputs = 0;
        for recorded in &world.net.shards {
            let hash = recorded.replay();
            assert_eq!(hash, recorded.shard.state_hash(), "seed {seed}");
            inputs += recorded.inputs.len();
        }
        assert!(inputs > 1_000, "{inputs}");
    }
}

#[test]
fn a_replay_that_misses_one_command_ends_in_another_state() {
    let mut world = World::new(3, 60);
    (0..50).for_each(|_| world.step());
    world.net.seal();
    world.net.shards.iter_mut().for_each(Recorded::record);
    (0..50).for_each(|_| world.step());
    for mut recorded in world.net.shards {
        let is_command = |input: &Input| matches!(input, Input::Command(..));
        let Some(missed) = recorded.inputs.iter().rposition(is_command) else { continue };
        recorded.inputs.remove(missed);
        assert_ne!(recorded.replay(), recorded.shard.state_hash());
    }
}

#[test]
fn a_pattern_holds_one_position_per_shard_and_misses_nothing() {
    let mut world = World::new(5, 0);
    let mut held = Held::default();
    let mut session = follow_all(&mut world, &held);
    for step in 0..600 {
        world.net.now_ms += 2;
        world.publish();
        world.net.seal();
        world.net.arrive(step % 3 == 0);
        world.take_acks();
        read_pattern(&mut world, session, &mut held);
        if step % 100 == 99 {
            world.net.close(session);
            session = follow_all(&mut world, &held);
        }
    }
    world.net.settle();
    world.take_acks();
    read_pattern(&mut world, session, &mut held);
    for index in 0..TOPICS {
        let published = (world.len(index) > 0).then(|| (world.epochs[index], world.len(index)));
        assert_eq!(held.ends.get(topic(index).as_str()).copied(), published, "{}", topic(index));
    }
    assert!(world.net.expired() > 5, "who follows a pattern keeps no topic");
}

/// What the client of a pattern knows.
#[derive(Default)]
struct Held {
    positions: BTreeMap<u64, Position>,
    /// Epoch and next offset of each topic.
    ends: HashMap<String, (u64, u64)>,
}

fn follow_all(world: &mut World, held: &Held) -> SessionId {
    let dispatcher = world.net.chance.index(DISPATCHERS.into());
    let session = world.net.open(dispatcher);
    let pattern = Pattern::parse("sim.>").unwrap();
    let start = match held.positions.is_empty() {
        true => Start::Earliest,
        false => Start::Positions(held.positions.values().copied().collect()),
    };
    let options = SubscribeOptions::default();
    let frame = ClientFrame::Subscribe { req: 1, sub: 1, pattern, start, options };
    world.net.request(session, frame);
    session
}

fn read_pattern(world: &mut World, session: SessionId, held: &mut Held) {
    for frame in world.net.pull(session, usize::MAX) {
        let position = match frame {
            ServerFrame::Subscribed { positions, status, .. } => {
                assert_eq!(status, u64::from(!held.positions.is_empty()), "nothing is missing");
                let positions = positions.unwrap();
                assert_eq!(positions.len(), usize::from(SHARDS));
                held.positions.extend(positions.into_iter().map(|at| (at.0, at)));
                continue;
            }
            ServerFrame::Deliver { topic, epoch, from, next, position, .. } => {
                let (known, end) = held.ends.get(topic.as_str()).copied().unwrap_or((epoch, 0));
                assert!(epoch >= known);
                assert_eq!(from, if epoch == known { end } else { 0 });
                held.ends.insert(topic.as_str().into(), (epoch, next));
                position.unwrap()
            }
            ServerFrame::Progress { position, .. } => position.unwrap(),
            other => panic!("a pattern got {other:?}"),
        };
        held.positions.insert(position.0, position);
    }
}

#[test]
fn a_shard_forgets_a_topic_that_was_only_followed() {
    let mut world = World::new(6, 1);
    world.connect(0);
    world.net.arrive(true);
    world.net.seal();
    assert_eq!(world.net.topics(), 1);
    world.vanish(0);
    world.net.arrive(true);
    assert_eq!(world.net.topics(), 0);
}
