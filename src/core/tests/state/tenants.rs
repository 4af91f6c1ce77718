//! Tenants in a shard: what they have is counted, and what they have too much of is their own loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidewire_core::partition_in;
use tidewire_core::shard::{
    Command, Event, Interest, Origin, Reply, Request, SessionId, Shard, ShardConfig, ShardLimits,
    TenantShare, TenantTable, TenantUse, Terms,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp};
use tidewire_protocol::options::CounterOptions;
use tidewire_protocol::record::payload_body;
use tidewire_protocol::{ErrorCode, Name};

use super::commands::Chance;
use super::recovery::{continued, keep, shard_config};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

fn table(tenants: &[(&str, u64)]) -> Arc<TenantTable> {
    let share = |(prefix, bytes_max): &(&str, u64)| TenantShare {
        prefix: name(prefix),
        names_max: 9,
        bytes_max: *bytes_max,
        is_full: false,
    };
    Arc::new(TenantTable::new(tenants.iter().map(share).collect()))
}

fn tenants() -> Arc<TenantTable> {
    table(&[("plain", 150), ("map", 90), ("room", 0), ("tally", 0), ("counter", 0)])
}

fn config(seed: u64, tenants: Arc<TenantTable>) -> ShardConfig {
    let config = shard_config(seed);
    let limits = ShardLimits { tenants, ..config.limits.clone() };
    ShardConfig { limits, ..config }
}

fn uses(shard: &Shard) -> BTreeMap<String, (u64, u64)> {
    let of = |(share, used): (&TenantShare, TenantUse)| {
        (share.prefix.as_str().to_owned(), (used.names, used.bytes))
    };
    shard.tenant_uses().map(of).collect()
}

/// The same from a walk over all there is.
fn counted(shard: &Shard) -> BTreeMap<String, (u64, u64)> {
    let inventory = shard.inventory();
    let mut all: BTreeMap<String, (u64, u64)> =
        shard.tenants().iter().map(|share| (share.prefix.as_str().to_owned(), (0, 0))).collect();
    let mut add = |name: &Name, bytes: u64| {
        if let Some(used) = all.get_mut(name.tokens().next().unwrap()) {
            *used = (used.0 + 1, used.1 + bytes);
        }
    };
    inventory.topics.iter().for_each(|topic| add(&topic.name, topic.bytes));
    inventory.counters.iter().for_each(|counter| add(&counter.name, 0));
    inventory.presence.iter().for_each(|set| add(&set.name, 0));
    let is_home = |name: &Name| partition_in(name, shard.number()) == 0;
    let tallies = inventory.tallies.iter().filter(|tally| is_home(&tally.name));
    tallies.for_each(|tally| add(&tally.name, 0));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_along_is_what_is_there(
        seed in any::<u64>(),
        turns in 1_usize..250,
        durable in any::<bool>(),
    ) {
        let (mut chance, mut now_ms) = (Chance(seed), 1);
        let number = if durable { shard_config(1).shard } else { 4 };
        let mut shard = Shard::new(ShardConfig { shard: number, ..config(seed, tenants()) });
        let mut log = Vec::new();
        for turn in 0..turns {
            let mut commands = chance.turn(&mut now_ms);
            if turn % 50 == 30 {
                commands.push(Command::Tenants(table(&[("plain", 60), ("map", 0), ("room", 9)])));
            } else if turn % 50 == 45 {
                commands.push(Command::Tenants(tenants()));
            }
            shard.handle_timeout(now_ms);
            for command in commands {
                let (before, makes) = (uses(&shard), shard.makes(&command).cloned());
                let is_other = matches!(command, Command::Tenants(_));
                shard.handle(command, now_ms);
                for (prefix, (names, _)) in uses(&shard) {
                    let may = makes.as_ref().is_some_and(|made| made.as_str().starts_with(&prefix));
                    let had = before.get(&prefix).map_or(0, |had| had.0);
                    prop_assert!(is_other || names <= had + u64::from(may), "{} unasked", prefix);
                }
            }
            keep(&mut log, shard.seal(), now_ms);
            prop_assert_eq!(uses(&shard), counted(&shard));
            let inventory = shard.inventory();
            for share in shard.tenants().iter().filter(|share| share.bytes_max > 0) {
                let of = |name: &Name| name.tokens().next() == Some(share.prefix.as_str());
                let own = inventory.topics.iter().filter(|topic| of(&topic.name));
                let (bytes, batches) =
                    own.fold((0, 0), |sum, topic| (sum.0 + topic.bytes, sum.1 + topic.batches));
                prop_assert!(bytes <= share.bytes_max || batches == 1, "{}", share.prefix);
            }
        }
        let stored = rmp_serde::to_vec_named(&shard.snapshot().unwrap()).unwrap();
        let copy = Shard::restore(rmp_serde::from_slice(&stored).unwrap()).unwrap();
        prop_assert_eq!(shard.state_hash(), copy.state_hash());
        prop_assert_eq!(uses(&copy), uses(&shard));
        if durable {
            // What had left for want of room then stays away, and nothing else goes: also under
            // other limits.
            for other in [tenants(), table(&[("plain", 1)]), Arc::default()] {
                let mut again = continued(Shard::new(config(seed ^ 1, other)), &log, now_ms);
                prop_assert_eq!(shard.durable_hash(), again.durable_hash());
                prop_assert_eq!(uses(&again), counted(&again));
                again.seal();
                prop_assert_eq!(uses(&again), counted(&again));
            }
        }
    }
}

fn origin() -> Origin {
    Origin { session: SessionId { dispatcher: 0, slot: 1, generation: 1 }, stream: 0, req: 1 }
}

fn publish(topic: &str, bytes: usize) -> Command {
    let (topic, ack) = (name(topic), AckLevel::Memory);
    let body = payload_body(&vec![7; bytes]);
    let request = Request::Publish { topic, ack, body, count: 1, terms: Terms::default() };
    Command::Request(origin(), request)
}

fn add(counter: &str) -> Command {
    let (name, options) = (name(counter), CounterOptions::default());
    let request = Request::Counter { name, op: CounterOp::Add, operand: 1, options };
    Command::Request(origin(), request)
}

/// Why the shard refuses what it is told, if it does.
fn refused(shard: &mut Shard, command: Command) -> Option<(ErrorCode, String)> {
    shard.handle(command, 5);
    let events = shard.seal().map(|round| round.events).unwrap_or_default();
    events.into_iter().find_map(|(_, event)| match event {
        Event::Reply { reply: Reply::Refused(refusal), .. }
        | Event::TopicRefused { refusal, .. } => Some((refusal.code, refusal.message)),
        _ => None,
    })
}

fn in_memory(tenants: Arc<TenantTable>) -> Shard {
    let policies = Arc::new(PolicyTable::new(Vec::new(), Policy::default()));
    let limits = ShardLimits { tenants, ..ShardLimits::default() };
    Shard::new(ShardConfig { shard: 4, epoch: 7, seed: 1, policies, limits })
}

#[test]
fn who_has_all_its_names_is_refused_more_and_others_are_not() {
    let mut shard = in_memory(table(&[("acme", 0), ("globex", 0)]));
    assert_eq!(refused(&mut shard, publish("acme.a", 9)), None);
    shard.handle(Command::TenantFull { prefix: name("acme"), is_full: true }, 5);
    let full = |shard: &mut Shard, command: Command| {
        let (code, message) = refused(shard, command).unwrap();
        assert_eq!(code, ErrorCode::LimitExceeded);
        assert!(message.contains("tenant 'acme' has all of its 9 names"), "{message}");
    };
    full(&mut shard, publish("acme.b", 9));
    full(&mut shard, add("acme.c"));
    full(&mut shard, Command::Follow(0, Interest::Topic(name("acme.d"))));
    // What is there goes on, as do those who are of another tenant, or of none.
    for topic in ["acme.a", "globex.a", "acme", "acme-2.a"] {
        assert_eq!(refused(&mut shard, publish(topic, 9)), None, "{topic}");
    }
    assert_eq!(shard.makes(&publish("acme.a", 9)), None);
    assert_eq!(shard.makes(&publish("acme.b", 9)), Some(&name("acme.b")));
    let map = Command::Follow(0, Interest::Cell(CellKind::Map, name("acme.m")));
    assert_eq!(shard.makes(&map), Some(&name("acme.m")));
    shard.handle(Command::TenantFull { prefix: name("acme"), is_full: false }, 5);
    assert_eq!(refused(&mut shard, add("acme.c")), None);
}

#[test]
fn who_publishes_too_much_loses_its_own_records_only() {
    let mut shard = in_memory(table(&[("acme", 1_000), ("globex", 1_000)]));
    for topic in ["globex.quiet", "free.quiet", "acme.first"] {
        assert_eq!(refused(&mut shard, publish(topic, 500)), None);
    }
    for number in 0..100 {
        assert_eq!(refused(&mut shard, publish(&format!("acme.{}", number % 3), 90)), None);
    }
    let topics = shard.inventory().topics;
    let of = |name: &str| topics.iter().find(|topic| topic.name.as_str() == name).unwrap();
    for quiet in ["globex.quiet", "free.quiet"] {
        assert_eq!((of(quiet).first, of(quiet).batches), (0, 1));
    }
    assert_eq!((of("acme.first").first, of("acme.first").batches), (1, 0));
    assert!(of("acme.0").bytes > 0 && of("acme.1").bytes > 0 && of("acme.2").bytes > 0);
    let (_, acme) = shard.tenant_uses().next().unwrap();
    assert!(acme.bytes > 800 && acme.bytes <= 1_000, "{acme:?}");
    assert!(acme.evicted_bytes > 8_000, "{acme:?}");
    // One record that is larger than all that may be kept stays until the next one comes.
    assert_eq!(refused(&mut shard, publish("acme.0", 3_000)), None);
    let (_, acme) = shard.tenant_uses().next().unwrap();
    assert!(acme.bytes >= 3_000, "{acme:?}");
    assert_eq!(refused(&mut shard, publish("acme.1", 10)), None);
    let (_, acme) = shard.tenant_uses().next().unwrap();
    assert!(acme.bytes < 100, "{acme:?}");
}
