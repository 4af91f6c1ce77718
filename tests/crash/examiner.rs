//! The examination: what the server holds after a crash, against the clients' own records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidewire_client::protocol::frame::CounterOp;
use tidewire_client::protocol::options::CounterOptions;
use tidewire_client::protocol::tally::Choice;
use tidewire_client::{
    Client, Name, Pattern, Pending, Start, SubscribeOptions, SubscriptionEvent, VoteStatus, Voted,
};
use tokio::time::timeout;

use crate::daemon::{Daemon, PATIENCE, Via};
use crate::ledger::Ledger;
use crate::load::{counter, map, tally};

/// Acknowledged ballots and increments that are sent again after each crash.
const REPEATED: usize = 200;
/// Ballots under way.
const WINDOW: usize = 64;

/// Examines what the last round has left, and one earlier round.
pub(crate) async fn examine(daemon: &Daemon, ledger: &mut Ledger, round: u64) {
    let client = daemon.connect(Via::Ws).await;
    for examined in BTreeSet::from([round, round / 2]) {
        let prefix = format!("orders.{examined}.");
        let topics: Vec<String> =
            ledger.sent.keys().filter(|topic| topic.starts_with(&prefix)).cloned().collect();
        for topic in topics {
            topic_is_whole(&client, ledger, &topic).await;
        }
    }
    cells_are_whole(&client, ledger).await;
}

/// Examines every topic, and every ballot.
pub(crate) async fn examine_all(daemon: &Daemon, ledger: &mut Ledger) {
    let client = daemon.connect(Via::Ws).await;
    let topics: Vec<String> = ledger.sent.keys().cloned().collect();
    for topic in topics {
        topic_is_whole(&client, ledger, &topic).await;
    }
    repeat_ballots(&client, ledger.ballots.iter()).await;
    cells_are_whole(&client, ledger).await;
}

async fn topic_is_whole(client: &Client, ledger: &Ledger, topic: &str) {
    let none = BTreeMap::new();
    let acknowledged = ledger.records.get(topic).unwrap_or(&none);
    let name = Name::parse(topic).unwrap();
    let Ok(info) = client.topic_info(&name).await else {
        assert!(acknowledged.is_empty(), "topic {topic} is gone");
        return;
    };
    assert_eq!(info.first, 0, "topic {topic} has lost its beginning");
    assert!(info.next <= ledger.sent[topic], "topic {topic} holds more than was sent");
    let held = records(client, topic, info.next).await;
    for (offset, payload) in acknowledged {
        assert_eq!(held.get(offset), Some(payload), "topic {topic}, offset {offset}");
    }
    let distinct: BTreeSet<&String> = held.values().collect();
    assert_eq!(distinct.len(), held.len(), "topic {topic} holds a record twice");
}

/// All records of a topic up to an offset, each offset once and in order.
async fn records(client: &Client, topic: &str, next: u64) -> BTreeMap<u64, String> {
    let pattern = Pattern::parse(topic).unwrap();
    let options = SubscribeOptions::default();
    let mut subscription = client.subscribe(&pattern, Start::Earliest, options).await.unwrap();
    let mut held = BTreeMap::new();
    while (held.len() as u64) < next {
        match timeout(PATIENCE, subscription.next()).await.unwrap().unwrap() {
            SubscriptionEvent::Started { .. } => {}
            SubscriptionEvent::Delivery(delivery) => {
                for (offset, record) in delivery.records() {
                    let payload = std::str::from_utf8(record.payload.unwrap()).unwrap().to_owned();
                    assert_eq!(offset, held.len() as u64, "topic {topic}");
                    held.insert(offset, payload);
                }
            }
            other => panic!("topic {topic}: {other:?}"),
        }
    }
    held
}

async fn cells_are_whole(client: &Client, ledger: &mut Ledger) {
    let increments: Vec<String> = ledger.increments.iter().rev().take(REPEATED).cloned().collect();
    for id in increments {
        let options = CounterOptions { id: Some(id.clone()), ..CounterOptions::default() };
        let counted = client.count(&counter(), CounterOp::Add, 1, options).await.unwrap();
        assert!(counted.duplicate, "increment {id} was acknowledged, and counts again");
    }
    let value = client.get_counter(&counter()).await.unwrap().unwrap_or(0);
    let bounds = ledger.increments.len() as u64..=ledger.increments_sent;
    assert!(bounds.contains(&u64::try_from(value).unwrap()), "{value} is not in {bounds:?}");

    repeat_ballots(client, ledger.ballots.iter().rev().take(REPEATED)).await;
    let (_, standings) = client.standings(&tally()).await.unwrap();
    let bounds = ledger.ballots.len() as u64..=ledger.ballots_sent;
    assert!(bounds.contains(&standings.ballots), "{} is not in {bounds:?}", standings.ballots);
    assert_eq!(standings.counts.iter().sum::<u64>(), standings.ballots);
    let mut least = vec![0; standings.counts.len()];
    for option in ledger.ballots.values() {
        least[usize::try_from(*option).unwrap()] += 1;
    }
    for (counted, least) in standings.counts.iter().zip(least) {
        assert!(*counted >= least, "{counted} votes, and {least} were acknowledged");
    }

    if !ledger.keys.is_empty() {
        let entries =
            client.entries(tidewire_client::protocol::frame::CellKind::Map, &map()).await.unwrap();
        for (key, value) in &ledger.keys {
            let encoded = &entries[key].value;
            assert!(encoded.ends_with(value.as_bytes()), "key {key}: {encoded:?}");
        }
    }
}

/// Sends ballots again, some at a time: all of them have to be there.
async fn repeat_ballots(client: &Client, ballots: impl Iterator<Item = (&String, &u64)>) {
    let mut under_way = VecDeque::new();
    for (voter, option) in ballots {
        let choices = vec![Choice::Index(*option)];
        let pending = client.start_vote(&tally(), voter, choices, None).await.unwrap();
        under_way.push_back((pending, voter));
        if under_way.len() >= WINDOW {
            is_there(under_way.pop_front().unwrap()).await;
        }
    }
    for repeated in under_way {
        is_there(repeated).await;
    }
}

async fn is_there((pending, voter): (Pending<Voted>, &String)) {
    let voted = pending.await.unwrap();
    assert_eq!(voted.status, VoteStatus::Duplicate, "the ballot of {voter} is not there");
}
