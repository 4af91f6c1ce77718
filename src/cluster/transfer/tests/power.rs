//! The taker's power is cut, at each of its writes.

use std::path::Path;

use super::node::{Node, SHARD, config};
use super::states::leader;
use super::{attempt, whole};
use crate::journal::tests::{Cut, copy_dir};

/// Takes the leader's state with a cut; returns whether it came before the end.
fn taken_until(leading: &Node, earlier: &Path, data: &Path, cut: &Cut) -> bool {
    copy_dir(earlier, data);
    let key = |data: &Path| data.with_extension("master-key");
    std::fs::copy(key(earlier), key(data)).unwrap();
    let before = Node::open(data, 5);
    let (hash, records) = (before.hash(), before.records());
    before.close();
    let taker = Node::open_cut(data, cut);
    let attempt = attempt(&leading.source(), taker.log(), |_, frame| Some(vec![frame]));
    let installed = attempt.outcome.and_then(|taken| taken.unwrap().install(config(SHARD, 77)));
    taker.close();

    let mut after = Node::open(data, 5);
    let found = (after.hash(), after.records());
    let is_new = found == (leading.hash(), leading.records());
    assert!(is_new || found == (hash, records), "{cut:?}");
    // What was told to be there is.
    assert!(is_new || installed.is_err(), "{cut:?}");
    if !is_new {
        let taken = whole(&leading.source(), after.log());
        after.install(taken);
    }
    assert_eq!((after.hash(), after.records()), (leading.hash(), leading.records()), "{cut:?}");
    after = after.reopened();
    assert_eq!((after.hash(), after.records()), (leading.hash(), leading.records()), "{cut:?}");
    assert_eq!(after.log().last(), leading.log().last());
    after.verify();
    std::fs::remove_dir_all(data).unwrap();
    cut.has_come()
}

/// `behind`: an earlier state, with cold records of its own, is there.
fn cut_everywhere(is_behind: bool) {
    let directory = tempfile::tempdir().unwrap();
    let mut leading = leader(directory.path(), 21, 60);
    let earlier = directory.path().join("earlier");
    let mut taker = Node::open(&earlier, 5);
    if is_behind {
        let taken = whole(&leading.source(), taker.log());
        taker.install(taken);
        for _ in 0..40 {
            leading.turn();
        }
        taker.follow(&leading);
        taker.checkpoint();
        assert!(!taker.records().is_empty());
        for _ in 0..60 {
            leading.turn();
        }
        leading.checkpoint();
    }
    taker.close();
    let mut cuts = 0;
    for after in 0..100 {
        let data = directory.path().join(format!("taker-{after}"));
        let came = [false, true]
            .map(|leaves_all| taken_until(&leading, &earlier, &data, &Cut::new(after, leaves_all)));
        if came == [false, false] {
            break;
        }
        cuts += 1;
    }
    assert!((4..100).contains(&cuts), "{cuts}");
    println!("the power was cut at each of {cuts} writes");
    leading.close();
}

#[test]
fn a_power_cut_leaves_the_earlier_state_whole() {
    cut_everywhere(true);
}

#[test]
fn a_power_cut_leaves_an_empty_shard_if_there_was_nothing() {
    cut_everywhere(false);
}
