//! Recovery of a durable shard: what it has logged makes it again, wherever it was cut off.

use std::sync::Arc;

use proptest::prelude::*;
use tidewire_core::shard::{
    Command, LogEntry, Origin, Request, Round, SessionId, Shard, ShardConfig, ShardLimits,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_core::{SHARDS, shard_of};
use tidewire_protocol::frame::{AckLevel, TallyOp};
use tidewire_protocol::tally::{TallyKind, TallyRules};
use tidewire_protocol::{Name, Pattern};

use super::commands::Chance;

/// What the journal keeps of a round.
pub(crate) struct Kept {
    entries: Vec<LogEntry>,
    version: u64,
    now_ms: u64,
}

fn shard(seed: u64) -> Shard {
    Shard::new(shard_config(seed))
}

pub(crate) fn shard_config(seed: u64) -> ShardConfig {
    let ack_max = AckLevel::Disk;
    let map = Policy {
        map_keys_max: 7,
        retention_ms: Some(60),
        retention_records: 9,
        allow_delete: true,
        ack_max,
        ..Policy::default()
    };
    let rules = vec![(Pattern::parse("map.>").unwrap(), map)];
    let plain = Policy {
        retention_records: 20,
        idle_timeout_ms: Some(40),
        allow_delete: true,
        ack_max,
        ..Policy::default()
    };
    ShardConfig {
        shard: SHARDS + 4,
        epoch: 77,
        seed,
        policies: Arc::new(PolicyTable::new(rules, plain)),
        limits: ShardLimits {
            batches_max: 30,
            names_max: 64,
            voters_max: 12,
            batch_bytes_max: 60,
            ..ShardLimits::default()
        },
    }
}

/// A shard that is made again from what was kept; the entries are encoded in between.
fn recovered(seed: u64, log: &[Kept], now_ms: u64) -> Shard {
    continued(shard(seed), log, now_ms)
}

pub(crate) fn continued(mut shard: Shard, log: &[Kept], now_ms: u64) -> Shard {
    for Kept { entries, version, now_ms } in log {
        for entry in entries {
            let stored = rmp_serde::to_vec(entry).unwrap();
            shard.recover(rmp_serde::from_slice(&stored).unwrap(), *now_ms).unwrap();
        }
        shard.recover_round(*version, *now_ms);
    }
    shard.end_recovery(now_ms);
    shard
}

pub(crate) fn keep(log: &mut Vec<Kept>, round: Option<Round>, now_ms: u64) {
    if let Some(Round { log: entries, version, .. }) = round
        && !entries.is_empty()
    {
        log.push(Kept { entries, version, now_ms });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn what_was_logged_makes_the_same_shard(seed in any::<u64>(), turns in 0_usize..300) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let mut original = shard(seed);
        let mut log = Vec::new();
        for _ in 0..turns {
            let commands = chance.turn(&mut now_ms);
            original.handle_timeout(now_ms);
            commands.into_iter().for_each(|command| original.handle(command, now_ms));
            keep(&mut log, original.seal(), now_ms);
        }
        let copy = recovered(seed ^ 1, &log, now_ms);
        prop_assert_eq!(original.durable_hash(), copy.durable_hash());
        prop_assert_eq!(original.progress().sequence, copy.progress().sequence);
    }

    #[test]
    fn a_saved_state_and_the_log_behind_it_make_the_same_shard(
        seed in any::<u64>(),
        before in 0_usize..150,
        after in 0_usize..150,
    ) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let mut original = shard(seed);
        let mut log = Vec::new();
        let mut snapshot = None;
        for turn in 0..before + after {
            if turn == before {
                let saved = rmp_serde::to_vec_named(&original.snapshot().unwrap()).unwrap();
                snapshot = Some(saved);
                log.clear();
            }
            let commands = chance.turn(&mut now_ms);
            original.handle_timeout(now_ms);
            commands.into_iter().for_each(|command| original.handle(command, now_ms));
            keep(&mut log, original.seal(), now_ms);
        }
        let copy = match snapshot {
            Some(saved) => {
                let saved = rmp_serde::from_slice(&saved).unwrap();
                let resumed = Shard::resume(saved, shard_config(seed ^ 1)).unwrap();
                continued(resumed, &log, now_ms)
            }
            None => recovered(seed ^ 1, &log, now_ms),
        };
        prop_assert_eq!(original.durable_hash(), copy.durable_hash());
        prop_assert_eq!(original.progress().sequence, copy.progress().sequence);
    }

    #[test]
    fn a_shard_goes_on_after_any_number_of_crashes(seed in any::<u64>()) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let mut shard = shard(seed);
        let mut log = Vec::new();
        for life in 0..5 {
            for _ in 0..chance.below(40) {
                let commands = chance.turn(&mut now_ms);
                shard.handle_timeout(now_ms);
                commands.into_iter().for_each(|command| shard.handle(command, now_ms));
                keep(&mut log, shard.seal(), now_ms);
            }
            let before = shard.durable_hash();
            // The round that was under way when it crashed is lost as a whole.
            let commands = chance.turn(&mut now_ms);
            commands.into_iter().for_each(|command| shard.handle(command, now_ms - now_ms % 2));
            shard = recovered(life, &log, now_ms);
            if now_ms == log.last().map_or(0, |kept| kept.now_ms) {
                prop_assert_eq!(before, shard.durable_hash());
            }
        }
    }
}

#[test]
fn the_random_commands_reach_every_kind_of_change() {
    let (mut chance, mut now_ms) = (Chance(3), 1);
    let (mut original, mut log) = (shard(3), Vec::new());
    for _ in 0..2_000 {
        let commands = chance.turn(&mut now_ms);
        original.handle_timeout(now_ms);
        commands.into_iter().for_each(|command| original.handle(command, now_ms));
        keep(&mut log, original.seal(), now_ms);
    }
    let text: Vec<String> =
        log.iter().flat_map(|kept| &kept.entries).map(|entry| format!("{entry:?}")).collect();
    for kind in [
        "Batch",
        "TopicRemoved",
        "MapKey",
        "Counter ",
        "CounterRemoved",
        "Tally ",
        "TallyRemoved",
        "Ballot",
        "Truncated",
        "Invalidated",
        "Produced",
        "GroupMade",
        "GroupRemoved",
        "GroupReset",
        "GroupSettled",
        "GroupFailed",
    ] {
        let count = text.iter().filter(|entry| entry.starts_with(kind)).count();
        assert!(count > 0, "none of {kind}");
    }
}

fn create(name: &str) -> Command {
    let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
    let (name, rules) = (Name::parse(name).unwrap(), Some(Arc::new(rules)));
    let session = SessionId { dispatcher: 0, slot: 1, generation: 1 };
    let request = Request::Tally { name, op: TallyOp::Create, rules, incarnation: None };
    Command::Request(Origin { session, stream: 0, req: 1 }, request)
}

#[test]
fn a_poll_under_another_number_of_partitions_is_refused() {
    let at_home = |name: &String| shard_of(&Name::parse(name).unwrap()) == 4;
    let poll = (0..).map(|number| format!("poll.{number}")).find(at_home).unwrap();
    let mut original = shard(1);
    original.handle(create(&poll), 5);
    let entries = original.seal().unwrap().log;
    let log = [Kept { entries, version: 1, now_ms: 5 }];
    assert_eq!(recovered(1, &log, 6).check_partitions(), Ok(()));
    let policy = Policy { partitions: 4, ack_max: AckLevel::Disk, ..Policy::default() };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    let other = Shard::new(ShardConfig { policies, ..shard_config(1) });
    let refused = continued(other, &log, 6).check_partitions().unwrap_err();
    assert_eq!(refused.as_str(), poll);
}

#[test]
fn limits_that_are_lowered_keep_what_is_there_through_any_number_of_restarts() {
    let (mut chance, mut now_ms) = (Chance(9), 1);
    let mut life = shard(1);
    for _ in 0..100 {
        let commands = chance.turn(&mut now_ms);
        life.handle_timeout(now_ms);
        commands.into_iter().for_each(|command| life.handle(command, now_ms));
        life.seal();
    }
    let before = life.durable_hash();
    let lowered = |seed| {
        let config = shard_config(seed);
        let limits = ShardLimits { names_max: 1, ..config.limits.clone() };
        ShardConfig { limits, ..config }
    };
    for seed in 1..4 {
        let saved = life.snapshot().unwrap();
        life = Shard::resume(saved, lowered(seed)).unwrap();
        life.end_recovery(now_ms);
        life.seal();
        assert_eq!(life.durable_hash(), before);
    }
}

#[test]
fn a_map_that_was_not_kept_for_a_while_does_not_come_back() {
    let without = |seed| {
        let policy = Policy { ack_max: AckLevel::Disk, ..Policy::default() };
        let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
        ShardConfig { policies, ..shard_config(seed) }
    };
    let (mut chance, mut now_ms) = (Chance(5), 1);
    let (mut original, mut log) = (shard(5), Vec::new());
    for _ in 0..60 {
        let commands = chance.turn(&mut now_ms);
        commands.into_iter().for_each(|command| original.handle(command, now_ms));
        keep(&mut log, original.seal(), now_ms);
    }
    let keys = |shard: &Shard| {
        let topics = shard.inventory().topics;
        topics.iter().filter_map(|topic| topic.map_keys).sum::<usize>()
    };
    assert!(keys(&original) > 0);
    let mut off = continued(Shard::new(without(5)), &log, now_ms);
    keep(&mut log, off.seal(), now_ms);
    assert_eq!(keys(&recovered(5, &log, now_ms)), 0);
}

#[test]
fn a_log_that_lacks_a_batch_is_refused() {
    let (mut chance, mut now_ms) = (Chance(5), 1);
    let mut original = shard(5);
    let mut log = Vec::new();
    for _ in 0..200 {
        let commands = chance.turn(&mut now_ms);
        commands.into_iter().for_each(|command| original.handle(command, now_ms));
        keep(&mut log, original.seal(), now_ms);
    }
    let is_batch = |kept: &Kept| kept.entries.iter().any(|e| matches!(e, LogEntry::Batch(_)));
    let gone = log.iter().rposition(is_batch).unwrap();
    let before = log.iter().take(gone).rposition(is_batch).unwrap();
    log.remove(before);
    let mut copy = shard(5);
    let outcome = log
        .into_iter()
        .flat_map(|kept| kept.entries)
        .try_for_each(|entry| copy.recover(entry, now_ms));
    assert!(outcome.unwrap_err().to_string().contains("does not continue"));
}
