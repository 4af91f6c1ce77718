//! Nodes that are removed.

use super::*;
use crate::cell::eventual::Seal;

fn is_stale(nodes: &mut Nodes, at: usize) -> bool {
    nodes.at(at).as_of().unwrap().is_stale
}

#[test]
fn a_removed_node_ends_and_what_all_know_of_it_stays_on_all() {
    let mut nodes = Nodes::new(3);
    nodes.reach_all();
    nodes.count_times(2, 7);
    nodes.add(2, numbered(1, &[])).unwrap();
    nodes.join(2, "cat");
    nodes.join(0, "ann");
    nodes.settle(500);
    nodes.nodes[2] = None;
    nodes.remove(2, &[0, 1]);
    assert_eq!((nodes.present(0), nodes.present(1)), (set(&["ann"]), set(&["ann"])), "at once");
    nodes.settle(STALE_AFTER_MS + 1_000);
    assert!(!is_stale(&mut nodes, 0) && !is_stale(&mut nodes, 1));
    assert_eq!(nodes.at(1).stats().removed_apart, 1);
    assert!(nodes.seal());
    for at in [0, 1] {
        assert_eq!(nodes.read(at, Vec::new()).unwrap(), 8);
        assert_eq!(nodes.at(at).stats().removed_apart, 0);
        assert_eq!(nodes.at(at).agreed(), None, "it is decided");
        let again = nodes.add(at, numbered(1, &[(3, 1)])).unwrap();
        let Reply::Counted { counted, as_of, .. } = again else { panic!("{again:?}") };
        assert_eq!((counted.duplicate, as_of.map(|of| (of.0, of.1))), (true, Some((3, 1))));
        let never = nodes.read(at, alloc::vec![(3, 1, 99)]).unwrap_err();
        assert_eq!(never.code, ErrorCode::NotFound);
    }
    let counted = nodes.add(0, numbered(2, &[(3, 1)])).unwrap();
    let Reply::Counted { counted, .. } = counted else { panic!("{counted:?}") };
    assert!(!counted.duplicate, "for certain it was not counted before");
    nodes.start(1);
    nodes.reach(0, 1);
    nodes.settle(1_000);
    assert_eq!(nodes.read(1, Vec::new()).unwrap(), 9, "who starts again gets it from the others");
}

#[test]
fn nothing_is_decided_before_all_members_have_heard_of_it_and_know_the_same() {
    let mut nodes = Nodes::new(4);
    nodes.reach_all();
    nodes.settle(500);
    (0..2).for_each(|at| nodes.cut(at, 3));
    nodes.cut(2, 0);
    nodes.cut(2, 1);
    nodes.count_times(3, 5);
    nodes.settle(500);
    nodes.remove(3, &[0, 1]);
    nodes.settle(1_000);
    assert!(!nodes.seal(), "the third one is not reached");
    assert_eq!(nodes.read(2, Vec::new()).unwrap(), 5);
    nodes.reach(2, 1);
    nodes.reach(2, 0);
    nodes.settle(1_000);
    assert!(!nodes.seal(), "the third one still hears the removed one");
    nodes.count_times(3, 2);
    nodes.settle(500);
    nodes.decide(2);
    nodes.count_times(3, 9);
    nodes.settle(1_000);
    assert!(nodes.seal());
    nodes.settle(500);
    for at in 0..3 {
        assert_eq!(nodes.read(at, Vec::new()).unwrap(), 7, "all that anybody had heard");
        assert_eq!(nodes.at(at).stats().removed_apart, 0);
    }
}

#[test]
fn a_removed_node_counts_nothing_and_says_that_it_is_behind() {
    let mut nodes = Nodes::new(2);
    nodes.reach_all();
    nodes.count(1);
    nodes.settle(500);
    nodes.remove(1, &[0, 1]);
    let refused = nodes.add(1, CounterOptions::default()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unavailable);
    let (name, op, data) = (name("room"), PresenceOp::Join, Bytes::new());
    let join = Request::Presence { name, op, member: "bob".to_string(), data };
    assert_eq!(nodes.ask(1, join).unwrap_err().code, ErrorCode::Unavailable);
    assert!(is_stale(&mut nodes, 1));
    nodes.reach(0, 1);
    nodes.settle(500);
    assert_eq!(nodes.at(0).stats().links, 0, "nobody talks with it any more");
    assert!(nodes.seal(), "the last one decides alone");
    assert_eq!(nodes.read(0, Vec::new()).unwrap(), 1);
}

#[test]
fn what_is_kept_does_not_grow_with_the_nodes_that_were_removed() {
    let mut nodes = Nodes::new(7);
    nodes.reach_all();
    (0..7).for_each(|at| nodes.count_times(at, at + 1));
    nodes.settle(1_000);
    for gone in (2..7).rev() {
        nodes.nodes[gone] = None;
        nodes.remove(gone, &(0..gone).collect::<Vec<_>>());
        nodes.settle(1_000);
        assert!(nodes.seal());
    }
    nodes.settle(500);
    let seal = nodes.seal.clone().map(|Seal { number, nodes, .. }| (number, nodes.len()));
    assert_eq!(seal, Some((5, 5)));
    for at in 0..2 {
        assert_eq!(nodes.read(at, Vec::new()).unwrap(), 28);
        assert_eq!(nodes.at(at).lives(), 3, "the two that are there, and what was before");
    }
}
