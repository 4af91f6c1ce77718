use super::*;

const MS: u64 = 1_000_000;

fn meter(senders: usize, watchers: usize) -> Meter {
    Meter::new(
        (0..senders).map(|_| Arc::default()).collect(),
        (0..watchers).map(|_| Arc::default()).collect(),
    )
}

fn watcher(meter: &Meter, index: usize) -> Arc<WatcherLog> {
    Arc::clone(&meter.watchers[index].log)
}

fn max_ms(latencies: &Latencies) -> f64 {
    latencies.summary_ms().unwrap().max
}

#[test]
fn a_vote_counts_once_for_each_watcher_and_once_for_the_last() {
    let mut meter = meter(1, 2);
    meter.senders[0].sent(MS);
    meter.senders[0].answered(Some(5));
    watcher(&meter, 0).received(5, 3 * MS);
    watcher(&meter, 0).received(6, 4 * MS);
    meter.tick(10 * MS);
    assert_eq!((meter.each.count(), meter.last.count()), (1, 0));
    watcher(&meter, 1).received(9, 12 * MS);
    meter.tick(20 * MS);
    assert_eq!((meter.each.count(), meter.last.count()), (2, 1));
    assert!((max_ms(&meter.last) - 11.0).abs() < 0.02);
    assert!(meter.votes.is_empty());
}

#[test]
fn an_update_that_overtakes_the_answer_is_not_lost() {
    let mut meter = meter(1, 1);
    meter.senders[0].sent(MS);
    watcher(&meter, 0).received(5, 3 * MS);
    meter.tick(4 * MS);
    assert_eq!(meter.each.count(), 0);
    meter.senders[0].answered(Some(5));
    meter.tick(5 * MS);
    assert_eq!(meter.each.count(), 1);
    assert!((max_ms(&meter.each) - 2.0).abs() < 0.01);
}

#[test]
fn a_slow_sender_does_not_put_its_votes_to_later_updates() {
    let mut meter = meter(2, 1);
    meter.senders[0].sent(MS);
    meter.senders[1].sent(2 * MS);
    meter.senders[1].answered(Some(8));
    watcher(&meter, 0).received(7, 3 * MS);
    watcher(&meter, 0).received(8, 90 * MS);
    meter.tick(100 * MS);
    meter.senders[0].answered(Some(7));
    meter.tick(101 * MS);
    assert_eq!(meter.each.count(), 2);
    // Version 7 came after 2 ms, version 8 after 88 ms.
    assert!((max_ms(&meter.each) - 88.0).abs() < 0.1);
    assert!((meter.each.summary_ms().unwrap().p50 - 2.0).abs() < 0.01);
}

#[test]
fn refused_and_duplicate_votes_are_no_samples() {
    let mut meter = meter(1, 1);
    meter.senders[0].sent(MS);
    meter.senders[0].sent(2 * MS);
    meter.senders[0].answered(None);
    meter.senders[0].answered(Some(3));
    watcher(&meter, 0).received(3, 4 * MS);
    meter.tick(5 * MS);
    assert_eq!(meter.each.count(), 1);
    assert!((max_ms(&meter.each) - 2.0).abs() < 0.01);
}

#[test]
fn what_is_too_much_to_measure_is_thinned_and_keeps_its_weight() {
    let mut meter = meter(1, 100);
    for version in 1..=4001 {
        meter.senders[0].sent(MS);
        meter.senders[0].answered(Some(version));
    }
    meter.tick(2 * MS);
    assert_eq!(meter.votes.len(), 801);
    for index in 0..100 {
        watcher(&meter, index).received(4001, 2 * MS);
    }
    meter.tick(3 * MS);
    assert_eq!(meter.each.count(), 400_100);
    assert_eq!(meter.last.count(), 4001);
}

#[test]
fn full_notes_overstate_and_never_understate() {
    let mut meter = meter(1, 1);
    let log = watcher(&meter, 0);
    for _ in 0..UPDATES_MAX {
        log.received(1, MS);
    }
    meter.senders[0].sent(2 * MS);
    meter.senders[0].answered(Some(2));
    log.received(2, 3 * MS);
    meter.tick(4 * MS);
    assert_eq!(meter.each.count(), 0);
    log.received(3, 9 * MS);
    meter.tick(10 * MS);
    assert!((max_ms(&meter.each) - 7.0).abs() < 0.01);
}

#[test]
fn votes_that_a_dead_watcher_never_sees_do_not_pile_up() {
    let mut meter = meter(1, 1);
    let log = watcher(&meter, 0);
    let newest = (3 * VOTES_MAX) as u64;
    for version in 1..=newest {
        meter.senders[0].sent(MS);
        meter.senders[0].answered(Some(version));
        if version % 50_000 == 0 {
            meter.tick(2 * MS);
            assert!(meter.votes.len() <= VOTES_MAX);
        }
    }
    meter.tick(2 * MS);
    assert_eq!(meter.votes.len(), VOTES_MAX);
    log.received(newest, 3 * MS);
    meter.tick(4 * MS);
    assert_eq!(meter.each.count(), VOTES_MAX as u64);
}
