//! Ends of actors, and new lives of nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The node after a start with everything that it has saved.
fn restarted(counters: &EventualCounters, incarnation: u64) -> EventualCounters {
    let saved = rmp_serde::to_vec_named(&counters.save()).unwrap();
    let restored = EventualCounters::restore(rmp_serde::from_slice(&saved).unwrap(), 8).unwrap();
    let hash = |counters: &EventualCounters| {
        let mut hasher = crate::state_hash::StateHasher::new();
        counters.hash_into(&mut hasher);
        hasher.finish()
    };
    assert_eq!(hash(&restored), hash(counters), "what is saved is everything");
    restored.begin(incarnation).unwrap()
}

#[test]
fn a_node_that_has_kept_everything_takes_over_its_earlier_life_at_once() {
    let (mut one, mut two) = (node(1), node(2));
    one.add(&name("likes"), 5, by(9, 1, &[]), 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut two);
    add(&mut one, "likes", 2);
    let mut one = restarted(&one, 2);
    assert_eq!(one.value(&name("likes")), Some(7));
    assert_eq!(one.earlier_lives().collect::<Vec<_>>(), [(actor(1, 1), 2)]);
    add(&mut one, "likes", 10);
    tell(&one, &mut two);
    assert_eq!(two.totals(&name("likes")).count(), 2);
    one.take_over(&[(1, 2)], 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut two);
    assert_eq!(two.totals(&name("likes")).collect::<Vec<_>>(), [(actor(1, 2), 17)]);
    assert_eq!(two.value(&name("likes")), Some(17));
    assert_eq!(two.common_hash(), one.common_hash());
    let again = two.add(&name("likes"), 5, by(9, 1, &[actor(1, 1)]), 0).unwrap();
    assert_eq!((again.actor, again.version, again.duplicate), (actor(1, 1), 1, true));
    assert_eq!(two.seen(&[(actor(1, 1), 2), (actor(1, 2), 2)]), Seen::Yes);
}

#[test]
fn a_node_that_has_lost_its_memory_waits_until_its_last_version_is_back() {
    let (mut one, mut two, mut three) = (node(1), node(2), node(3));
    add(&mut one, "likes", 5);
    tell(&one, &mut two);
    add(&mut one, "likes", 2);
    tell(&one, &mut three);
    add(&mut one, "likes", 100);
    // What nobody has heard of is lost with the node.
    let mut one = EventualCounters::new(actor(1, 2), EventualLimits::default(), 7);
    add(&mut one, "likes", 1);
    tell(&two, &mut one);
    let last = two.known().of(actor(1, 1)).max(three.known().of(actor(1, 1)));
    let refused = NotFinal { actor: actor(1, 1), has: 1, last: Some(2) };
    assert_eq!(one.take_over(&[(1, last)], 0), Err(refused));
    tell(&three, &mut one);
    let unsaid = NotFinal { actor: actor(1, 1), has: 2, last: None };
    assert_eq!(one.take_over(&[], 0), Err(unsaid));
    one.take_over(&[(1, last)], 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut two);
    tell(&one, &mut three);
    assert_eq!(two.value(&name("likes")), Some(8));
    assert_eq!(three.common_hash(), two.common_hash());
    assert_eq!(two.seen(&[(actor(1, 1), 3)]), Seen::Never { actor: actor(1, 1), last: 2 });
    let tried = [actor(1, 1)];
    assert!(!two.add(&name("likes"), 100, by(9, 1, &tried), 0).unwrap().duplicate, "for certain");
}

#[test]
fn a_life_that_contains_another_one_is_not_missed_by_who_knows_only_that_one() {
    let (mut one, mut two, mut three) = (node(1), node(2), node(3));
    add(&mut one, "likes", 5);
    tell(&one, &mut three);
    add(&mut one, "likes", 2);
    let mut one = restarted(&one, 2);
    one.take_over(&[(1, 2)], 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut two);
    // It loses its memory, and only the node that knows the least can be reached.
    let mut one = EventualCounters::new(actor(1, 3), EventualLimits::default(), 7);
    tell(&three, &mut one);
    let last = last_versions([two.lives(1), three.lives(1), one.lives(1)]);
    assert_eq!(last, [(1, 2), (2, 1)]);
    assert!(one.take_over(&last, 0).is_err());
    let mut knows_all_of_the_first = last.clone();
    knows_all_of_the_first[0] = (1, 1);
    let missing = NotFinal { actor: actor(1, 2), has: 0, last: Some(1) };
    assert_eq!(one.take_over(&knows_all_of_the_first, 0), Err(missing));
    tell(&two, &mut one);
    one.take_over(&last, 0).unwrap();
    end_round(&mut one);
    tell(&one, &mut three);
    tell(&one, &mut two);
    for counters in [&one, &two, &three] {
        assert_eq!(counters.totals(&name("likes")).collect::<Vec<_>>(), [(actor(1, 3), 7)]);
    }
    assert_eq!(three.seen(&[(actor(1, 1), 2), (actor(1, 2), 1)]), Seen::Yes);
}

#[test]
fn a_node_that_goes_on_without_its_memory_under_the_same_incarnation_is_stopped() {
    let (mut one, mut two) = (node(1), node(2));
    add(&mut one, "likes", 5);
    tell(&one, &mut two);
    let mut one = node(1);
    let delta = owed(&two, &one).remove(0);
    assert_eq!(one.merge(delta), Merged::OwnAhead { version: 1 });
    assert!(one.begin(1).is_none());
    assert!(node(1).begin(2).is_some());
}

#[test]
fn a_read_says_what_it_lacks_and_as_of_when_it_is() {
    let (mut one, mut two) = (node(1), node(2));
    let added = add(&mut one, "likes", 5);
    let at_least = [(added.actor, added.version)];
    assert_eq!(two.seen(&at_least), Seen::NotYet { actor: actor(1, 1), has: 0 });
    tell(&one, &mut two);
    assert_eq!(two.seen(&at_least), Seen::Yes);
    let fresh = |heard_ms: &[(Actor, u64)], counters: &EventualCounters| {
        counters.freshness(1_000, &heard_ms.iter().copied().collect::<BTreeMap<_, _>>(), 300)
    };
    let heard = [(actor(1, 1), 800), (actor(3, 1), 700)];
    assert_eq!(fresh(&heard, &two), Freshness { as_of_ms: 700, stale: None });
    let heard = [(actor(1, 1), 699), (actor(3, 1), 900)];
    assert_eq!(fresh(&heard, &two), Freshness { as_of_ms: 699, stale: Some(actor(1, 1)) });
    assert_eq!(fresh(&[], &two), Freshness { as_of_ms: 0, stale: Some(actor(1, 1)) });
    two.remove(&BTreeSet::from([1]));
    assert_eq!(fresh(&[], &two), Freshness { as_of_ms: 1_000, stale: None });
}
