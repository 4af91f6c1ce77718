//! Polls with partitions: one ballot per voter, and sums that are exact.

mod watcher;
mod world;

use std::collections::HashMap;

use tidewire_core::shard::ShardLimits;
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{CellKind, CounterOp, TallyOp};
use tidewire_protocol::options::{CounterOptions, GetOptions, WatchOptions};
use tidewire_protocol::tally::{Choice, Standings, TallyKind, TallyRules};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame, wire};

use crate::net::Net;

const PARTITIONS: u16 = 4;

fn poll() -> Name {
    Name::parse("parted.poll").unwrap()
}

fn options_of(generation: usize) -> usize {
    3 + generation
}

fn rules(generation: usize) -> TallyRules {
    let options = (0..options_of(generation)).map(|number| format!("option {number}")).collect();
    TallyRules::new(TallyKind::Ranked, options)
}

fn tally(op: TallyOp, name: &Name, rules: Option<TallyRules>) -> ClientFrame {
    ClientFrame::Tally { req: 7, op, tally: name.clone(), rules }
}

fn vote(name: &Name, voter: usize, choices: &[Choice]) -> ClientFrame {
    let (tally, voter, choices) = (name.clone(), format!("voter {voter}"), choices.to_vec());
    ClientFrame::Vote { req: 1, tally, voter, choices, revision: None }
}

fn get(kind: CellKind, name: &Name) -> ClientFrame {
    ClientFrame::Get { req: 3, kind, name: name.clone(), key: None, options: GetOptions::default() }
}

fn net(seed: u64) -> Net {
    let parted = Policy { partitions: PARTITIONS, ..Policy::default() };
    let rules = vec![(Pattern::parse("parted.>").unwrap(), parted)];
    let policies = PolicyTable::new(rules, Policy::default());
    Net::new(seed, policies, ShardLimits::default())
}

fn value<T: serde::de::DeserializeOwned>(frames: &[ServerFrame]) -> T {
    match frames {
        [ServerFrame::Value { value: Some(value), .. }] => wire::from_slice(value).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn refusal(frames: &[ServerFrame]) -> ErrorCode {
    match frames {
        [ServerFrame::Error { code, .. }] => ErrorCode::from_number(*code).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn voters_and_ballots_are_spread_over_the_shards() {
    let mut net = net(1);
    let session = net.open(1);
    net.ask(session, tally(TallyOp::Create, &poll(), Some(rules(0))));
    let cells: Vec<u64> = net.shards.iter().map(|shard| shard.stats().cells).collect();
    assert_eq!(cells.iter().filter(|cells| **cells == 1).count(), usize::from(PARTITIONS));
    let mut by_partition = HashMap::new();
    for voter in 0..400 {
        let frames = net.ask(session, vote(&poll(), voter, &[Choice::Index(1)]));
        let [ServerFrame::Voted { partition: Some(partition), status: 0, .. }] = frames[..] else {
            panic!("{frames:?}")
        };
        *by_partition.entry(partition).or_insert(0) += 1;
        let again = net.ask(session, vote(&poll(), voter, &[Choice::Index(1)]));
        assert!(matches!(again[..], [ServerFrame::Voted { status: 2, .. }]), "{again:?}");
    }
    assert_eq!(by_partition.len(), usize::from(PARTITIONS));
    assert!(by_partition.values().all(|count| (60..=140).contains(count)), "{by_partition:?}");
}

#[test]
fn two_who_create_the_poll_with_other_rules_do_not_make_half_of_each() {
    for seed in 1..=40 {
        let mut net = net(seed);
        let sessions = [0, 1, 2].map(|dispatcher| net.open(dispatcher));
        for (generation, session) in sessions.into_iter().enumerate() {
            net.request(session, tally(TallyOp::Create, &poll(), Some(rules(generation))));
            for _ in 0..net.chance.index(3) {
                net.seal();
                net.arrive(false);
            }
        }
        net.settle();
        net.settle();
        let replies: Vec<_> = sessions.map(|session| net.pull(session, usize::MAX)).to_vec();
        let created = |frames: &Vec<ServerFrame>| matches!(frames[..], [ServerFrame::Ok { .. }]);
        assert_eq!(replies.iter().filter(|frames| created(frames)).count(), 1, "{replies:?}");
        let winner = replies.iter().position(created).unwrap();
        let standings: Standings = value(&net.ask(sessions[0], get(CellKind::Tally, &poll())));
        assert_eq!(standings.counts.len(), options_of(winner), "every partition has these rules");
    }
}

#[test]
fn whoever_opens_closes_and_deletes_at_once_leaves_all_partitions_in_the_same_state() {
    let (mut open, mut shut, mut gone) = (0, 0, 0);
    for seed in 1..=60 {
        let mut net = net(seed);
        let admins = [0, 1, 2].map(|dispatcher| net.open(dispatcher));
        net.ask(admins[0], tally(TallyOp::Create, &poll(), Some(rules(0))));
        for _ in 0..12 {
            let op = match net.chance.index(7) {
                0 => TallyOp::Delete,
                1 | 2 => TallyOp::Create,
                3 | 4 => TallyOp::Open,
                _ => TallyOp::Close,
            };
            let admin = admins[net.chance.index(3)];
            net.request(admin, tally(op, &poll(), Some(rules(0))));
            if net.chance.one_in(2) {
                net.seal();
                net.arrive(false);
            }
        }
        net.settle();
        for admin in admins {
            net.pull(admin, usize::MAX);
        }
        let outcomes: Vec<_> = (0..40)
            .map(|voter| net.ask(admins[1], vote(&poll(), voter, &[Choice::Index(1)])))
            .map(|frames| match &frames[..] {
                [ServerFrame::Voted { .. }] => None,
                refused => Some(refusal(refused)),
            })
            .collect();
        assert!(outcomes.iter().all(|each| *each == outcomes[0]), "seed {seed}: {outcomes:?}");
        match outcomes[0] {
            None => open += 1,
            Some(ErrorCode::TallyClosed) => shut += 1,
            Some(ErrorCode::NotFound) => gone += 1,
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(open > 5 && shut > 5 && gone > 2, "{open} open, {shut} closed, {gone} gone");
}

#[test]
fn a_poll_that_finds_no_room_in_one_partition_is_refused_and_can_be_tried_again() {
    let parted = Policy { partitions: PARTITIONS, ..Policy::default() };
    let policies = PolicyTable::new(Vec::new(), parted);
    let mut net = Net::new(1, policies, ShardLimits { names_max: 1, ..ShardLimits::default() });
    let session = net.open(1);
    // A name that takes the room of one partition only: a counter is not spread.
    let taken = usize::from((tidewire_core::shard_of(&poll()) + 2) % 16);
    let is_there =
        |raw: &String| usize::from(tidewire_core::shard_of(&Name::parse(raw).unwrap())) == taken;
    let counter = Name::parse(&(0..).map(|n| format!("c.{n}")).find(is_there).unwrap()).unwrap();
    let count = |op| ClientFrame::Incr {
        req: 1,
        counter: counter.clone(),
        op,
        operand: 0,
        options: CounterOptions::default(),
    };
    net.ask(session, count(CounterOp::Set));
    let create = tally(TallyOp::Create, &poll(), Some(rules(0)));
    assert_eq!(refusal(&net.ask(session, create.clone())), ErrorCode::LimitExceeded);
    let watch = ClientFrame::Watch {
        req: 2,
        sub: 3,
        kind: CellKind::Tally,
        name: poll(),
        options: WatchOptions::default(),
    };
    assert_eq!(refusal(&net.ask(session, watch.clone())), ErrorCode::NotFound);
    net.ask(session, count(CounterOp::Reset));
    assert!(matches!(net.ask(session, create)[..], [ServerFrame::Ok { .. }]));
    let frames = net.ask(session, watch);
    assert!(matches!(frames[..], [ServerFrame::Watching { .. }, ServerFrame::Update { .. }]));
}
