//! What was acknowledged, held against what is there.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_client::Name;

use crate::follow::{Follower, Told, Until};
use crate::load::{self, Operation, Sent};
use crate::seat::{Seat, Stage};

/// Everything that was acknowledged of a kept topic is told on every node, in the same order and once.
pub(crate) async fn topics(stage: &Stage, sent: &[Sent], followed: Vec<(Name, Told)>) -> usize {
    let mut count = 0;
    for number in 0..load::TOPICS {
        let topic = load::topic(number);
        let wanted: Told = sent
            .iter()
            .filter(|sent| sent.topic == topic)
            .map(|sent| ((sent.epoch, sent.offset), sent.payload.clone()))
            .collect();
        assert_eq!(wanted.len(), sent.iter().filter(|sent| sent.topic == topic).count());
        let last = *wanted.last_key_value().unwrap().0;
        count += wanted.len();
        let mut all: Option<Told> = None;
        for node in 0..stage.count() {
            let follower = Follower::of(stage, node, topic.clone(), true);
            let mut told = follower.run(Until::Told(last)).await;
            // What was sent and not answered last may be there or not, as long as nobody knows.
            told.retain(|at, _| *at <= last);
            check(&topic, &told, &wanted);
            assert!(all.as_ref().is_none_or(|all| *all == told), "{topic}: nodes differ");
            all = Some(told);
        }
        for (_, told) in followed.iter().filter(|(followed, _)| *followed == topic) {
            let all = all.as_ref().unwrap();
            let is_part =
                told.iter().all(|(at, payload)| *at > last || all.get(at) == Some(payload));
            assert!(is_part, "{topic}: a follower was told something else");
        }
    }
    count
}

fn check(topic: &Name, told: &Told, wanted: &Told) {
    for (at, payload) in wanted {
        assert_eq!(told.get(at), Some(payload), "{topic} at {at:?}");
    }
    let payloads: BTreeSet<&String> = told.values().collect();
    assert_eq!(payloads.len(), told.len(), "{topic}: something is there twice");
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for payload in told.values() {
        let (producer, sequence) = payload.split_once(':').unwrap();
        let sequence: u64 = sequence.parse().unwrap();
        let before = last.insert(producer, sequence).unwrap_or(0);
        assert_eq!(before + 1, sequence, "{topic}: records of {producer} are out of order");
    }
}

/// What was told of a topic in memory is what was acknowledged, in each of its histories.
pub(crate) fn passing(sent: &[Sent], followed: &[Told]) -> usize {
    let mut all = Told::new();
    for told in followed {
        for (at, payload) in told {
            let known = all.entry(*at).or_insert_with(|| payload.clone());
            assert_eq!(known, payload, "followers were told different records at {at:?}");
        }
    }
    let mut lost = 0;
    for Sent { epoch, offset, payload, .. } in sent {
        match all.get(&(*epoch, *offset)) {
            Some(told) => assert_eq!(told, payload, "at {epoch}, {offset}"),
            None => lost += 1,
        }
    }
    lost
}

/// Whoever has voted counts once, on every node.
pub(crate) async fn tally(stage: &Stage, voted: [u64; 3]) -> u64 {
    for node in 0..stage.count() {
        let mut seat = Seat::at(stage, node);
        let asked = seat.ask(async |client| client.standings(&load::tally()).await).await;
        let (_, standings) = asked.answer;
        assert_eq!(standings.counts, voted, "node {}", node + 1);
        assert_eq!(standings.ballots, voted.iter().sum::<u64>());
    }
    voted.iter().sum()
}

/// Whether there is an order in which all of this could have happened one after the other, each between
/// its beginning and its end: what is called linearizable (Herlihy and Wing, 1990).
///
/// For a counter that only grows by one it is found without searching: each answer says its own place. Only
/// repetitions do not, and they fill what is missing.
pub(crate) fn counter(mut operations: Vec<Operation>) -> i64 {
    let unknown = operations.iter().filter(|operation| operation.value.is_none()).count();
    let increments = operations.iter().filter(|operation| !operation.is_read).count();
    let mut values = BTreeSet::new();
    for operation in operations.iter().filter(|operation| !operation.is_read) {
        let is_new = operation.value.is_none_or(|value| values.insert(value));
        assert!(is_new, "two increments were answered with {:?}", operation.value);
    }
    let total = i64::try_from(increments).unwrap();
    assert!(values.range(..1).next().is_none() && values.range(total + 1..).next().is_none());
    assert_eq!(values.len() + unknown, increments);
    // Increments come before the readings of what they have made, and those in any order.
    operations.sort_by_key(|operation| (operation.value, operation.is_read, operation.begun));
    let mut last: Option<&Operation> = None;
    for operation in operations.iter().filter(|operation| operation.value.is_some()) {
        let is_in_order = last.is_none_or(|last| last.begun <= operation.ended);
        assert!(is_in_order, "{operation:?} comes after {last:?}, which began when it had ended");
        if last.is_none_or(|last| last.begun < operation.begun) {
            last = Some(operation);
        }
        assert!(operation.value <= Some(total), "{operation:?} of {total}");
    }
    // A repetition stands for a value that is missing: it had begun before any later one ended.
    let missing = (1..=total).filter(|value| !values.contains(value));
    let mut repeated: Vec<_> = operations.iter().filter(|one| one.value.is_none()).collect();
    repeated.sort_by_key(|one| one.begun);
    for (one, value) in repeated.iter().zip(missing) {
        let later = operations.iter().filter(|other| other.value > Some(value));
        let first = later.map(|other| other.ended).min();
        assert!(first.is_none_or(|first| one.begun <= first), "{one:?} made {value} too late");
    }
    total
}
