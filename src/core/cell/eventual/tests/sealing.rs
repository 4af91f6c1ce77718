//! The end of nodes that were removed.

use std::collections::BTreeSet;

use super::*;

/// The decision that ends these nodes, as one member proposes it.
fn sealed(by: &EventualCounters, number: u64, nodes: &[u64]) -> Seal {
    let nodes: BTreeSet<u64> = nodes.iter().copied().collect();
    Seal { number, digest: by.digest_of(&nodes), nodes }
}

fn is_lost(counters: &EventualCounters, actor: Actor, version: u64) -> bool {
    matches!(counters.seen(&[(actor, version)]), Seen::Never { .. })
}

#[test]
fn all_who_know_the_same_of_a_removed_node_make_the_same_of_it() {
    let (mut one, mut two, mut three) = (node(1), node(2), node(3));
    one.add(&name("likes"), 5, by(9, 1, &[]), 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut two);
    one.add(&name("likes"), 2, by(9, 2, &[]), 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut three);
    one.add(&name("likes"), 9, by(9, 3, &[]), 0).unwrap();
    let gone = BTreeSet::from([1]);
    two.remove(&gone);
    three.remove(&gone);
    assert_ne!(two.digest_of(&gone), three.digest_of(&gone), "not yet");
    tell(&three, &mut two);
    assert_eq!(two.digest_of(&gone), three.digest_of(&gone));
    let seal = sealed(&two, 1, &[1]);
    for counters in [&mut two, &mut three] {
        counters.decide(seal.clone());
        assert_eq!((counters.apart(), counters.value(&name("likes"))), (0, Some(7)));
        assert_eq!(counters.seen(&[(actor(1, 1), 2)]), Seen::Yes);
        assert!(is_lost(counters, actor(1, 1), 3));
    }
    assert_eq!(two.common_hash(), three.common_hash());
    let tried = [actor(1, 1), actor(1, 2)];
    let again = two.add(&name("likes"), 2, by(9, 2, &tried), 0).unwrap();
    assert_eq!((again.actor, again.version, again.duplicate), (actor(1, 1), 2, true));
    assert!(!two.add(&name("likes"), 9, by(9, 3, &tried), 0).unwrap().duplicate, "for certain");
    // What is still told of it is left out, and reported.
    end_round(&mut one);
    let deltas = one.changes_since(&Versions::default(), usize::MAX).deltas;
    for delta in deltas {
        assert_eq!(three.merge(delta), Merged::Superseded);
    }
    assert_eq!(three.take_beyond().of(actor(1, 1)), 3);
    one.remove(&gone);
    assert_eq!(code(one.add(&name("likes"), 1, None, 0)), ErrorCode::Unavailable);
    assert!(one.begin(2).is_none());
}

#[test]
fn who_knows_less_or_nothing_gets_what_the_others_have_made_of_it() {
    let (mut one, mut two, mut three) = (node(1), node(2), node(3));
    add(&mut one, "likes", 5);
    tell(&one, &mut three);
    add(&mut one, "likes", 2);
    tell(&one, &mut two);
    let seal = sealed(&two, 1, &[1]);
    three.decide(seal.clone());
    assert_eq!((three.apart(), three.value(&name("likes"))), (1, Some(5)), "it has no more yet");
    two.decide(seal);
    tell(&two, &mut three);
    let mut four = node(4);
    tell(&three, &mut four);
    for counters in [&two, &three, &four] {
        assert_eq!((counters.apart(), counters.value(&name("likes"))), (0, Some(7)));
        assert_eq!(counters.totals(&name("likes")).count(), 1);
        assert_eq!(counters.common_hash(), two.common_hash());
    }
}

#[test]
fn further_nodes_that_are_removed_go_into_the_same_base() {
    let mut nodes: Vec<_> = (1..=5).map(node).collect();
    for (at, amount) in [(0, 1), (1, 10), (2, 100), (3, 1_000)] {
        add(&mut nodes[at], "likes", amount);
        let (from, to) = nodes.split_at_mut(4);
        tell(&from[at], &mut to[0]);
    }
    let mut last = nodes.remove(4);
    let mut gone = Vec::new();
    for (number, id) in [(1, 1), (2, 2), (3, 3)] {
        gone.push(id);
        let seal = sealed(&last, number, &gone);
        last.decide(seal);
        assert_eq!(last.value(&name("likes")), Some(1_111));
        assert_eq!(last.totals(&name("likes")).count(), 5 - gone.len());
        for id in &gone {
            assert_eq!(last.seen(&[(actor(*id, 1), 1)]), Seen::Yes);
            assert!(is_lost(&last, actor(*id, 1), 2));
        }
    }
    let mut four = nodes.remove(3);
    tell(&last, &mut four);
    assert_eq!(four.common_hash(), last.common_hash());
    let again = sealed(&last, 2, &[1]);
    last.decide(again);
    assert_eq!(last.seal().map(|seal| seal.number), Some(3), "an older decision is passed over");
}

#[test]
fn what_nobody_knows_any_more_ends_with_the_next_decision() {
    let (mut two, mut three) = (node(2), node(3));
    // All who knew it have started again since.
    let nodes = BTreeSet::from([1]);
    two.decide(Seal { number: 1, nodes, digest: 7 });
    add(&mut three, "likes", 4);
    tell(&three, &mut two);
    let seal = sealed(&two, 2, &[1, 3]);
    two.decide(seal);
    assert_eq!((two.apart(), two.value(&name("likes"))), (0, Some(4)));
    assert!(is_lost(&two, actor(1, 1), 1));
}
