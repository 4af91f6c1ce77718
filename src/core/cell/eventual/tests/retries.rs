//! Increments that are tried again.

use super::*;

#[test]
fn a_repeated_increment_gets_the_first_answer_also_on_another_node() {
    let (mut one, mut two) = (node(1), node(2));
    let first = one.add(&name("likes"), 5, by(9, 1, &[]), 0).unwrap();
    one.add(&name("likes"), 1, None, 0).unwrap();
    end_round(&mut one);
    let again = Added { duplicate: true, ..first };
    assert_eq!(one.add(&name("likes"), 5, by(9, 1, &[]), 0), Ok(again));
    let tried = [actor(1, 1)];
    let retry = by(9, 1, &tried);
    assert_eq!(code(two.add(&name("likes"), 5, retry, 0)), ErrorCode::OutcomeUnknown);
    tell(&one, &mut two);
    assert_eq!(two.add(&name("likes"), 5, retry, 0), Ok(again));
    assert_eq!(two.value(&name("likes")), Some(6));
}

#[test]
fn a_retry_is_known_as_a_duplicate_as_soon_as_the_total_that_has_it_is_there() {
    let (mut one, mut two) = (node(1), node(2));
    for sequence in 1..=40 {
        one.add(&name("likes"), 1, by(9, sequence, &[]), 0).unwrap();
    }
    end_round(&mut one);
    while !two.known().covers(&one.known()) {
        let delta = one.changes_since(&two.known(), 300).deltas.remove(0);
        two.merge(delta);
        let total = two.exact(&name("likes")).unwrap();
        for sequence in 1..=40 {
            let retry = two.add(&name("likes"), 1, by(9, sequence, &[actor(1, 1)]), 0);
            match i128::from(sequence) <= total {
                true => assert!(retry.unwrap().duplicate),
                false => {
                    let refusal = retry.unwrap_err();
                    assert_eq!(refusal.code, ErrorCode::OutcomeUnknown);
                    assert_eq!(i128::from(refusal.actual.unwrap()), total, "the last one known");
                }
            }
        }
    }
}

#[test]
fn what_is_below_the_window_is_not_counted_again() {
    let mut one = node(1);
    for sequence in 1..=100 {
        one.add(&name("likes"), 1, by(9, sequence * 2, &[]), 0).unwrap();
    }
    for old in [2, 72] {
        let refusal = one.add(&name("likes"), 1, by(9, old, &[]), 0).unwrap_err();
        assert_eq!((refusal.code, refusal.actual), (ErrorCode::OutcomeUnknown, Some(200)));
    }
    assert!(one.add(&name("likes"), 1, by(9, 74, &[]), 0).unwrap().duplicate);
    assert!(!one.add(&name("likes"), 1, by(9, 75, &[]), 0).unwrap().duplicate, "known to be new");
    assert_eq!(one.value(&name("likes")), Some(101));
}

#[test]
fn another_increment_under_a_sequence_that_is_taken_is_a_mistake() {
    let mut one = node(1);
    one.add(&name("likes"), 5, by(9, 1, &[]), 0).unwrap();
    for (counter, amount) in [("likes", 6), ("shares", 5)] {
        let refused = one.add(&name(counter), amount, by(9, 1, &[]), 0);
        assert_eq!(code(refused), ErrorCode::InvalidArgument);
    }
    let many = [actor(1, 1); 17];
    assert_eq!(code(one.add(&name("likes"), 1, by(9, 2, &many), 0)), ErrorCode::InvalidArgument);
}

#[test]
fn a_session_that_was_closed_at_one_node_goes_on_at_another_without_doubt() {
    let (mut one, mut two) = (node(1), node(2));
    one.add(&name("likes"), 1, by(9, 1, &[]), 0).unwrap();
    one.close_session(9, 0);
    one.close_session(10, 0);
    end_round(&mut one);
    let tried = [actor(1, 1)];
    assert_eq!(code(two.add(&name("likes"), 1, by(9, 2, &tried), 0)), ErrorCode::OutcomeUnknown);
    tell(&one, &mut two);
    assert!(two.add(&name("likes"), 1, by(9, 1, &tried), 0).unwrap().duplicate);
    assert!(!two.add(&name("likes"), 1, by(9, 2, &tried), 0).unwrap().duplicate);
    assert!(!two.add(&name("likes"), 1, by(10, 1, &tried), 0).unwrap().duplicate);
    // What comes late to the first one is not counted there any more.
    assert_eq!(code(one.add(&name("likes"), 1, by(9, 2, &[]), 0)), ErrorCode::ProducerUnknown);
    assert_eq!(two.value(&name("likes")), Some(3));
}

#[test]
fn a_forgotten_session_is_never_taken_for_new() {
    let mut one = EventualCounters::new(actor(1, 1), small(), 7);
    let mut two = node(2);
    for session in 1..=17 {
        one.add(&name("likes"), 1, by(session, 1, &[]), session).unwrap();
    }
    end_round(&mut one);
    assert_eq!(code(one.add(&name("likes"), 1, by(1, 2, &[]), 20)), ErrorCode::ProducerUnknown);
    let own = [actor(1, 1)];
    assert_eq!(code(one.add(&name("likes"), 1, by(1, 1, &own), 20)), ErrorCode::OutcomeUnknown);
    one.close_session(1, 20);
    end_round(&mut one);
    tell(&one, &mut two);
    assert_eq!(code(two.add(&name("likes"), 1, by(1, 1, &own), 20)), ErrorCode::OutcomeUnknown);
    assert_eq!(code(one.add(&name("likes"), 1, by(5, 1, &[]), 9_000)), ErrorCode::ProducerUnknown);
    assert_eq!(one.activity.len(), 0, "all were idle for too long");
    assert!(one.add(&name("likes"), 1, by(18, 1, &[]), 9_000).is_ok());
}
