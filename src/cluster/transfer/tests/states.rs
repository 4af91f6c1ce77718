//! Any state gets to another node, also in several attempts.

use proptest::prelude::*;

use super::node::Node;
use super::{attempt, whole};

/// A leader that has done so much, and has forgotten some of its log.
pub(super) fn leader(directory: &std::path::Path, seed: u64, turns: u64) -> Node {
    let mut leader = Node::open(&directory.join("leader"), seed);
    leader.shard.promote(1_000);
    drop(leader.shard.seal());
    for _ in 0..turns {
        leader.turn();
        if leader.chance.below(40) == 0 && leader.log().last().is_some() {
            leader.checkpoint();
        }
    }
    while leader.log().last().is_none() {
        leader.turn();
    }
    leader
}

/// What is there of a state that was taken, before and after a restart, and what goes on behind it.
fn check(mut leader: Node, mut taker: Node) {
    assert_eq!((taker.hash(), taker.records()), (leader.hash(), leader.records()));
    let mut taker = {
        assert_eq!(taker.log().last(), leader.log().last());
        taker = taker.reopened();
        assert_eq!((taker.hash(), taker.records()), (leader.hash(), leader.records()));
        assert_eq!(taker.group.membership, leader.base().membership);
        taker
    };
    // Its log goes on behind the state.
    for _ in 0..30 {
        leader.turn();
    }
    taker.follow(&leader);
    assert_eq!(taker.hash_as_leader(leader.now_ms), leader.hash_as_leader(leader.now_ms));
    taker.checkpoint();
    let (hash, records) = (taker.hash(), taker.records());
    taker = taker.reopened();
    assert_eq!((taker.hash(), taker.records()), (hash, records));
    // What it has taken it can give.
    let mut third = Node::open(&taker.data.with_extension("third"), 1);
    let taken = whole(&taker.source(), third.log());
    third.install(taken);
    assert_eq!((third.hash(), third.records()), (taker.hash(), taker.records()));
    third.verify();
    taker.verify();
    leader.verify();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]
    #[test]
    fn a_state_that_was_given_is_the_same_on_the_taker(
        seed in any::<u64>(), turns in 1_u64..250, behind in 0_u64..100,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut taker = Node::open(&directory.path().join("taker"), 5);
        let mut leading = leader(directory.path(), seed, turns);
        let taken = whole(&leading.source(), taker.log());
        taker.install(taken);
        assert_eq!((taker.hash(), taker.records()), (leading.hash(), leading.records()));
        if behind > 0 {
            // Another one takes the place of this one.
            for _ in 0..behind {
                leading.turn();
            }
            while leading.log().last() == taker.log().last() {
                leading.turn();
            }
            let taken = whole(&leading.source(), taker.log());
            taker.install(taken);
        }
        check(leading, taker);
    }
}

#[test]
fn a_transfer_that_breaks_at_every_piece_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut leading = leader(directory.path(), 11, 150);
    let mut taker = Node::open(&directory.path().join("taker"), 5);
    let (mut last, mut given) = (0, 0);
    for piece in 0.. {
        // The leader goes on meanwhile.
        leading.turn();
        let source = leading.source();
        let attempt =
            attempt(&source, taker.log(), |number, frame| (number < piece).then(|| vec![frame]));
        given += attempt.block_bytes;
        assert_eq!(taker.group.applied, None);
        last = attempt.pieces;
        if piece % 7 == 3 {
            taker = taker.reopened();
        }
        if let Ok(taken) = attempt.outcome {
            taker.install(taken.unwrap());
            break;
        }
    }
    assert!(last >= 3, "{last}");
    println!("{last} pieces in the last attempt, {given} bytes of blocks in all");
    check(leading, taker);
}

#[test]
fn what_is_here_already_is_not_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut leading = leader(directory.path(), 12, 100);
    let mut taker = Node::open(&directory.path().join("taker"), 5);
    let first = attempt(&leading.source(), taker.log(), |_, frame| Some(vec![frame]));
    assert!(first.block_bytes > 1_000, "{}", first.block_bytes);
    // It does not count, and is all here.
    drop(first.outcome);
    let second = attempt(&leading.source(), taker.log(), |_, frame| Some(vec![frame]));
    assert_eq!(second.block_bytes, 0);
    taker.install(second.outcome.unwrap().unwrap());
    // Of a newer state only what is new is given.
    for _ in 0..20 {
        leading.turn();
    }
    let third = attempt(&leading.source(), taker.log(), |_, frame| Some(vec![frame]));
    assert!(
        third.block_bytes * 2 < first.block_bytes,
        "{} of {}",
        third.block_bytes,
        first.block_bytes
    );
    let taken = third.outcome.unwrap().unwrap();
    assert!(taken.blocks().1 > 3, "{:?}", taken.blocks());
    taker.install(taken);
    check(leading, taker);
}
