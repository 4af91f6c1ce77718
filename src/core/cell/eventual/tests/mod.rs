mod laws;
mod lives;
mod retries;
mod sealing;
mod simulation;

use std::vec::Vec;

use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::*;
use crate::cell::replicated::{Delta, Merged, Versions};

pub(super) fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

pub(super) fn actor(node: u64, incarnation: u64) -> Actor {
    Actor { node, incarnation }
}

/// Small enough that everything that has a bound comes to it.
pub(super) fn small() -> EventualLimits {
    EventualLimits {
        counters_max: 8,
        actors_max: 64,
        sessions_max: 16,
        session_idle_ms: 5_000,
        log: LogLimits { changes_max: 6, bytes_max: 4_096 },
    }
}

pub(super) fn node(id: u64) -> EventualCounters {
    EventualCounters::new(actor(id, 1), EventualLimits::default(), 7)
}

pub(super) fn by(session: u64, sequence: u64, tried: &[Actor]) -> Option<Attempt<'_>> {
    Some(Attempt { session, sequence, tried })
}

pub(super) fn end_round(counters: &mut EventualCounters) {
    let version = counters.end_round();
    counters.release(version);
}

/// Adds without a session, in a round of its own.
pub(super) fn add(counters: &mut EventualCounters, counter: &str, amount: i64) -> Added {
    let added = counters.add(&name(counter), amount, None, 0).unwrap();
    end_round(counters);
    added
}

/// Everything that one lacks of the other, as it would travel.
pub(super) fn owed(from: &EventualCounters, to: &EventualCounters) -> Vec<Delta<Change>> {
    let owed = from.changes_since(&to.known(), usize::MAX);
    let snapshots = owed.snapshots.iter().filter_map(|actor| from.snapshot(*actor, 100));
    let deltas = owed.deltas.into_iter().chain(snapshots.flatten());
    let travel = |delta| {
        let bytes = rmp_serde::to_vec_named(&delta).unwrap();
        rmp_serde::from_slice(&bytes).unwrap()
    };
    deltas.map(travel).collect()
}

pub(super) fn tell(from: &EventualCounters, to: &mut EventualCounters) {
    for delta in owed(from, to) {
        to.merge(delta);
    }
}

pub(super) fn code(result: Result<Added, Refusal>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn every_node_comes_to_the_sum_of_what_all_have_added() {
    let mut nodes = [node(1), node(2), node(3)];
    for (index, amount) in [5, -2, i64::MAX].into_iter().enumerate() {
        add(&mut nodes[index], "likes", amount);
    }
    let [one, two, three] = &mut nodes;
    tell(one, two);
    tell(two, three);
    tell(three, one);
    tell(three, two);
    for counters in [one, two, three] {
        assert_eq!(counters.exact(&name("likes")), Some(i128::from(i64::MAX) + 3));
        assert_eq!(counters.value(&name("likes")), Some(i64::MAX), "what is shown has 64 bits");
        assert_eq!(counters.totals(&name("likes")).count(), 3);
        assert_eq!(counters.take_changed().collect::<Vec<_>>(), [name("likes")]);
        assert_eq!(counters.take_changed().count(), 0);
    }
    add(&mut nodes[0], "likes", -10);
    assert_eq!(nodes[0].value(&name("likes")), Some(i64::MAX - 7), "the sum is exact");
}

#[test]
fn increments_of_one_round_that_nobody_repeats_are_one_change() {
    let (mut one, mut two) = (node(1), node(2));
    let versions: Vec<u64> =
        (0..1_000).map(|_| one.add(&name("likes"), 1, None, 0).unwrap().version).collect();
    assert!(versions.iter().all(|version| *version == 1));
    assert_eq!(owed(&one, &two), [], "and nobody hears of it before the round is released");
    let version = one.end_round();
    assert_eq!(owed(&one, &two), []);
    one.release(version);
    assert_eq!(one.add(&name("likes"), 1, None, 0).unwrap().version, 2);
    tell(&one, &mut two);
    assert_eq!((two.value(&name("likes")), one.value(&name("likes"))), (Some(1_000), Some(1_001)));
}

#[test]
fn a_hole_is_seen_and_nothing_behind_it_is_taken_over() {
    let (mut one, mut two) = (node(1), node(2));
    let mut deltas = Vec::new();
    let mut known = Versions::default();
    for amount in 1..=3 {
        add(&mut one, "likes", amount);
        deltas.extend(one.changes_since(&known, usize::MAX).deltas);
        known = one.known();
    }
    assert_eq!(two.merge(deltas[1].clone()), Merged::Hole { has: 0 });
    assert_eq!(two.merge(deltas[0].clone()), Merged::Applied { version: 1 });
    assert_eq!(two.merge(deltas[2].clone()), Merged::Hole { has: 1 });
    assert_eq!(two.merge(deltas[0].clone()), Merged::Known);
    assert_eq!(two.value(&name("likes")), Some(1));
    tell(&one, &mut two);
    assert_eq!(two.value(&name("likes")), Some(6));
}

#[test]
fn who_is_behind_the_log_gets_a_snapshot_in_pieces_all_at_once() {
    let mut one = EventualCounters::new(actor(1, 1), small(), 7);
    let mut two = EventualCounters::new(actor(2, 1), small(), 7);
    add(&mut one, "counter.0", 100);
    tell(&one, &mut two);
    for counter in 0..8 {
        add(&mut one, &std::format!("counter.{counter}"), 1);
    }
    let owed = one.changes_since(&two.known(), usize::MAX);
    assert_eq!((owed.deltas.len(), owed.snapshots), (0, std::vec![actor(1, 1)]));
    let pieces = one.snapshot(actor(1, 1), 150).unwrap();
    assert!(pieces.len() > 3, "{}", pieces.len());
    assert_eq!(two.merge(pieces[1].clone()), Merged::PieceMissing { offset: 0 });
    for piece in pieces.iter().take(pieces.len() - 1) {
        assert!(matches!(two.merge(piece.clone()), Merged::Staged { .. }));
        assert_eq!(two.value(&name("counter.0")), Some(100), "nothing is seen of half a snapshot");
    }
    // Pieces of another size go together with those.
    let rest = one.snapshot(actor(1, 1), 210).unwrap().pop().unwrap();
    assert_eq!(two.merge(rest), Merged::Applied { version: 9 });
    assert_eq!(two.value(&name("counter.0")), Some(101));
    assert_eq!(two.common_hash(), one.common_hash());
}

#[test]
fn a_delta_holds_about_as_much_as_was_asked_for_and_the_rest_follows() {
    let (mut one, mut two) = (node(1), node(2));
    for number in 0..50 {
        add(&mut one, &std::format!("counter.{number}"), 1);
    }
    let mut rounds = 0;
    while !two.known().covers(&one.known()) {
        let owed = one.changes_since(&two.known(), 500);
        assert!(owed.deltas.len() == 1 && rmp_serde::to_vec(&owed.deltas).unwrap().len() < 600);
        owed.deltas.into_iter().for_each(|delta| assert!(two.merge(delta) != Merged::Known));
        rounds += 1;
    }
    assert!((5..20).contains(&rounds), "{rounds}");
    assert_eq!(one.known().digest(), two.known().digest());
}

#[test]
fn bounds_refuse_what_is_new_here_and_take_over_what_others_have() {
    let mut one = EventualCounters::new(actor(1, 1), small(), 7);
    let mut two = EventualCounters::new(actor(2, 1), small(), 7);
    for number in 0..8 {
        add(&mut one, &std::format!("one.{number}"), 1);
        add(&mut two, &std::format!("two.{number}"), 1);
    }
    assert_eq!(code(one.add(&name("another"), 1, None, 0)), ErrorCode::LimitExceeded);
    tell(&two, &mut one);
    assert_eq!(one.len(), 16);
    assert_eq!(one.add(&name("two.3"), 1, None, 0).unwrap().value, 2);
    for number in 10..100 {
        let mut other = EventualCounters::new(actor(number, 1), small(), 7);
        add(&mut other, "two.3", 1);
        let merged = one.merge(owed(&other, &one).remove(0));
        let expected = if number < 72 { Merged::Applied { version: 1 } } else { Merged::NoRoom };
        assert_eq!(merged, expected, "actor {number}");
    }
}
