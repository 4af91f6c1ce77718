//! Snapshots of a shard: what is restored has the same hash, and goes on in the same way.

use std::sync::Arc;

use proptest::prelude::*;
use tidewire_core::shard::{Command, Interest, Shard, ShardConfig, ShardLimits, ShardSnapshot};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::{Name, Pattern};

use super::commands::Chance;

pub(crate) fn shard(seed: u64, epoch: u64) -> Shard {
    let map = Policy {
        map_keys_max: 7,
        retention_ms: Some(60),
        retention_records: 9,
        ..Policy::default()
    };
    let rules = vec![(Pattern::parse("map.>").unwrap(), map)];
    let plain = Policy {
        retention_records: 20,
        idle_timeout_ms: Some(40),
        allow_delete: true,
        ..Policy::default()
    };
    Shard::new(ShardConfig {
        shard: 4,
        epoch,
        seed,
        policies: Arc::new(PolicyTable::new(rules, plain)),
        limits: ShardLimits {
            batches_max: 30,
            names_max: 32,
            members_max: 5,
            voters_max: 12,
            batch_bytes_max: 60,
            ..ShardLimits::default()
        },
    })
}

fn take(shard: &mut Shard, now_ms: u64, commands: &[Command]) -> String {
    shard.handle_timeout(now_ms);
    for command in commands {
        shard.handle(command.clone(), now_ms);
    }
    format!("{:?}", shard.seal())
}

fn stored(shard: &mut Shard) -> Vec<u8> {
    rmp_serde::to_vec_named(&shard.snapshot().unwrap()).unwrap()
}

fn restored(stored: &[u8]) -> Shard {
    Shard::restore(rmp_serde::from_slice::<ShardSnapshot>(stored).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_shard_has_the_same_hash_and_does_the_same(
        seed in any::<u64>(),
        before in 0_usize..200,
        after in 0_usize..200,
    ) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let mut original = shard(seed, 77);
        for _ in 0..before {
            let commands = chance.turn(&mut now_ms);
            take(&mut original, now_ms, &commands);
        }
        let snapshot = stored(&mut original);
        let mut copy = restored(&snapshot);
        prop_assert_eq!(original.state_hash(), copy.state_hash());
        for _ in 0..after {
            let commands = chance.turn(&mut now_ms);
            let did = take(&mut original, now_ms, &commands);
            prop_assert_eq!(did, take(&mut copy, now_ms, &commands));
            prop_assert_eq!(original.state_hash(), copy.state_hash());
        }
        prop_assert_eq!(original.next_timeout_ms(), copy.next_timeout_ms());
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_restored_but_never_a_panic(
        seed in any::<u64>(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let mut original = shard(seed, 77);
        for _ in 0..60 {
            let commands = chance.turn(&mut now_ms);
            take(&mut original, now_ms, &commands);
        }
        let mut snapshot = stored(&mut original);
        let at = at.index(snapshot.len());
        snapshot[at] = byte;
        if let Ok(read) = rmp_serde::from_slice::<ShardSnapshot>(&snapshot) {
            drop(Shard::restore(read));
        }
    }
}

#[test]
fn there_is_no_snapshot_while_a_round_is_open() {
    let mut shard = shard(1, 77);
    shard.handle(Command::Follow(1, Interest::CommitLog), 5);
    assert!(shard.snapshot().is_none());
    shard.seal();
    assert!(shard.snapshot().is_some());
}

#[test]
fn a_snapshot_of_another_version_is_refused_by_its_number() {
    let snapshot = stored(&mut shard(1, 77));
    let mut value: serde_json::Value = rmp_serde::from_slice(&snapshot).unwrap();
    value["version"] = 99.into();
    let read: ShardSnapshot = serde_json::from_value(value).unwrap();
    let refused = Shard::restore(read).unwrap_err().to_string();
    assert!(refused.contains("99"), "{refused}");
}

#[test]
fn a_new_topic_gets_the_same_number_after_others_have_gone() {
    let mut original = shard(1, 77);
    let names: Vec<Name> = (0..6).map(|n| Name::parse(&format!("t.{n}")).unwrap()).collect();
    for name in &names {
        original.handle(Command::Follow(1, Interest::Topic(name.clone())), 5);
    }
    for gone in [3, 1, 4] {
        original.handle(Command::Unfollow(1, Interest::Topic(names[gone].clone())), 5);
    }
    original.seal();
    let mut copy = restored(&stored(&mut original));
    for at in [1, 3, 4] {
        let follow = [Command::Follow(2, Interest::Topic(names[at].clone()))];
        assert_eq!(take(&mut original, 6, &follow), take(&mut copy, 6, &follow));
    }
    assert_eq!(original.state_hash(), copy.state_hash());
}
