//! Snapshots of a shard: what is restored has the same hash, and goes on in the same way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect is to fail"
)]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tidewire_core::cell::VoterId;
use tidewire_core::shard::{
    Command, Interest, Origin, Request, SessionId, Shard, ShardConfig, ShardLimits, ShardSnapshot,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp, PresenceOp, TallyOp};
use tidewire_protocol::options::CounterOptions;
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{Name, Pattern};

/// SplitMix64 (Steele, Lea, Flood 2014): the commands of a seed are always the same.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn maybe(&mut self, limit: u64) -> Option<u64> {
        (self.below(2) == 0).then(|| self.below(limit))
    }

    fn name(&mut self, kind: &str) -> Name {
        Name::parse(&format!("{kind}.{}", self.below(6))).unwrap()
    }

    fn session(&mut self) -> SessionId {
        SessionId { dispatcher: self.below(3) as u8, slot: self.below(5) as u32, generation: 1 }
    }

    fn command(&mut self) -> Command {
        let dispatcher = self.below(2) as u8;
        match self.below(18) {
            0..=2 => Command::Follow(dispatcher, self.interest()),
            3..=5 => Command::Unfollow(dispatcher, self.interest()),
            6 => Command::SessionEnded(self.session()),
            _ => {
                let origin = Origin { session: self.session(), stream: 0, req: self.below(99) };
                Command::Request(origin, self.request())
            }
        }
    }

    fn interest(&mut self) -> Interest {
        match self.below(7) {
            0 => Interest::CommitLog,
            1 => Interest::Topic(self.name("plain")),
            // Nobody publishes to these, so that topics come and go.
            5 | 6 => Interest::Topic(self.name("idle")),
            2 => Interest::Cell(CellKind::Map, self.name("map")),
            3 => Interest::Cell(CellKind::Tally, self.name("tally")),
            _ => Interest::Cell(CellKind::Presence, self.name("room")),
        }
    }

    fn request(&mut self) -> Request {
        match self.below(8) {
            0 | 1 => self.publish(),
            2 => {
                let op = [CounterOp::Add, CounterOp::Add, CounterOp::Set, CounterOp::Reset];
                let op = op[self.below(4) as usize];
                let operand = if op == CounterOp::Reset { 0 } else { self.below(9) as i64 - 4 };
                let options = CounterOptions {
                    ttl_ms: self.maybe(90),
                    id: self.maybe(5).map(|id| format!("id {id}")),
                    min: self.maybe(2).map(|_| -5),
                    ..CounterOptions::default()
                };
                Request::Counter { name: self.name("counter"), op, operand, options }
            }
            3 => Request::Tally {
                name: self.name("tally"),
                op: [
                    TallyOp::Create,
                    TallyOp::Create,
                    TallyOp::Open,
                    TallyOp::Close,
                    TallyOp::Delete,
                ][self.below(5) as usize],
                rules: Some(self.rules()),
                incarnation: self.maybe(2),
            },
            4 | 5 => Request::Vote {
                tally: self.name("tally"),
                voter: VoterId([self.below(20) as u8; 16]),
                choices: (0..self.below(3)).map(|_| self.choice()).collect(),
                revision: self.maybe(9),
            },
            6 => Request::Get { kind: CellKind::Topic, name: self.name("map"), key: None },
            _ => Request::Presence {
                name: self.name("room"),
                op: if self.below(3) == 0 { PresenceOp::Leave } else { PresenceOp::Join },
                member: format!("member {}", self.below(8)),
                data: Bytes::from(vec![self.below(3) as u8]),
            },
        }
    }

    fn publish(&mut self) -> Request {
        let mut body = BodyBuilder::new();
        let count = 1 + self.below(4);
        for _ in 0..count {
            let key = format!("key {}", self.below(9));
            let payload = vec![self.below(256) as u8; self.below(30) as usize];
            let payload = (self.below(4) > 0).then_some(payload.as_slice());
            body.push(Some(&key), &[], payload);
        }
        let kind = if self.below(2) == 0 { "map" } else { "plain" };
        let (topic, ttl_ms) = (self.name(kind), self.maybe(80));
        let (ack, body) = (AckLevel::Memory, body.finish());
        Request::Publish { topic, ack, body, count, ttl_ms }
    }

    fn rules(&mut self) -> Arc<TallyRules> {
        let kind = [TallyKind::Single, TallyKind::Multiple, TallyKind::Ranked];
        let options = ["A", "B", "C"].map(str::to_owned).to_vec();
        let opens_at_ms = self.maybe(400);
        Arc::new(TallyRules {
            opens_at_ms,
            closes_at_ms: self.maybe(400).map(|after| after + opens_at_ms.unwrap_or(0) + 1),
            ..TallyRules::new(kind[self.below(3) as usize], options)
        })
    }

    fn choice(&mut self) -> Choice {
        match self.below(5) {
            0 => Choice::Skipped,
            1 => Choice::Over,
            2 => Choice::Name("B".to_owned()),
            _ => Choice::Index(self.below(3)),
        }
    }

    /// One turn of a shard: its time, and its commands.
    fn turn(&mut self, now_ms: &mut u64) -> Vec<Command> {
        *now_ms += self.below(12);
        (0..self.below(5)).map(|_| self.command()).collect()
    }
}

fn shard(seed: u64) -> Shard {
    let map = Policy {
        map_keys_max: 7,
        retention_ms: Some(60),
        retention_records: 9,
        ..Policy::default()
    };
    let rules = vec![(Pattern::parse("map.>").unwrap(), map)];
    let plain = Policy { retention_records: 20, idle_timeout_ms: Some(40), ..Policy::default() };
    Shard::new(ShardConfig {
        shard: 4,
        epoch: 77,
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
        let mut original = shard(seed);
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
        let mut original = shard(seed);
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
    let mut shard = shard(1);
    shard.handle(Command::Follow(1, Interest::CommitLog), 5);
    assert!(shard.snapshot().is_none());
    shard.seal();
    assert!(shard.snapshot().is_some());
}

#[test]
fn a_snapshot_of_another_version_is_refused_by_its_number() {
    let snapshot = stored(&mut shard(1));
    let mut value: serde_json::Value = rmp_serde::from_slice(&snapshot).unwrap();
    value["version"] = 99.into();
    let read: ShardSnapshot = serde_json::from_value(value).unwrap();
    let refused = Shard::restore(read).unwrap_err().to_string();
    assert!(refused.contains("99"), "{refused}");
}

#[test]
fn a_new_topic_gets_the_same_number_after_others_have_gone() {
    let mut original = shard(1);
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
