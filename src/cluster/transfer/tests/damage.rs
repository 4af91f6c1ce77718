//! What is damaged, or false, is refused.

use std::cell::RefCell;

use super::node::{Node, SHARD, config};
use super::states::leader;
use super::{attempt, decoded};
use crate::cluster::transfer::frame::{self, HEAD_BYTES};

/// The frames of a state, and the two nodes.
fn given(seed: u64) -> (tempfile::TempDir, Node, Node, Vec<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    let mut leading = leader(directory.path(), seed, 80);
    while leading.records().len() < 5 {
        leading.turn();
    }
    let taker = Node::open(&directory.path().join("taker"), 5);
    let frames = RefCell::new(Vec::new());
    let first = attempt(&leading.source(), taker.log(), |_, frame| {
        frames.borrow_mut().push(frame.clone());
        Some(vec![frame])
    });
    first.outcome.unwrap().unwrap();
    // It begins with nothing again.
    taker.close();
    std::fs::remove_dir_all(directory.path().join("taker")).unwrap();
    let taker = Node::open(&directory.path().join("taker"), 5);
    (directory, leading, taker, frames.into_inner())
}

#[test]
fn a_piece_that_is_damaged_at_any_byte_is_refused() {
    let (_directory, leading, taker, frames) = given(31);
    assert!(frames.len() > 4, "{}", frames.len());
    for (number, frame) in frames.iter().enumerate() {
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(decoded(&damaged).is_err(), "byte {at} of piece {number}");
            assert!(decoded(&frame[..at]).is_err(), "piece {number} cut at {at}");
        }
    }
    leading.close();
    taker.close();
}

#[test]
fn pieces_that_are_missing_or_come_twice_or_are_false_never_count() {
    let (_directory, leading, taker, frames) = given(32);
    let (hash, expected) = (taker.hash(), leading.hash());
    let source = leading.source();
    let refused = |change: &dyn Fn(usize, Vec<u8>) -> Vec<Vec<u8>>| {
        // Nothing of an earlier attempt is here.
        taker.log().begin_taking(source.base().clone()).unwrap().remove(0..u64::MAX).unwrap();
        let attempt = attempt(&source, taker.log(), |number, frame| Some(change(number, frame)));
        match attempt.outcome {
            Ok(Some(taken)) => {
                // What it says beside the state may be anything.
                let records = taken.snapshot_hash(config(SHARD, 77));
                assert_eq!(records, expected);
                false
            }
            Ok(None) | Err(_) => true,
        }
    };
    for number in 0..frames.len().min(12) {
        let skipped = |at, frame| if at == number { Vec::new() } else { vec![frame] };
        assert!(refused(&skipped), "without piece {number}");
        let twice = |at, frame: Vec<u8>| {
            if at == number { vec![frame.clone(), frame] } else { vec![frame] }
        };
        assert!(refused(&twice), "piece {number} twice");
    }
    // False ones, with checksums that are right.
    let mut were_refused = 0;
    for step in 0..60 {
        let number = step % frames.len().min(12);
        let change = |at, frame: Vec<u8>| {
            if at != number {
                return vec![frame];
            }
            let mut payload = frame[HEAD_BYTES..].to_vec();
            let place = (step * 37) % payload.len();
            payload[place] ^= 1 << (step % 8);
            vec![frame::encode(frame[HEAD_BYTES - 1], &payload).unwrap()]
        };
        were_refused += usize::from(refused(&change));
    }
    assert!(were_refused > 40, "{were_refused}");
    assert_eq!(taker.hash(), hash);
    drop(source);
    leading.close();
    taker.verify();
}

#[test]
fn a_state_that_is_not_newer_or_of_another_shard_is_refused() {
    let (_directory, leading, mut taker, _) = given(33);
    let source = leading.source();
    let first = attempt(&source, taker.log(), |_, frame| Some(vec![frame]));
    taker.install(first.outcome.unwrap().unwrap());
    let again = attempt(&source, taker.log(), |_, frame| Some(vec![frame])).outcome;
    let refused = again.unwrap_err().to_string();
    assert!(refused.contains("not newer"), "{refused}");
    drop(source);
    leading.close();
    taker.verify();
}
