//! What is written while a backup is made, and what is there after it was restored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tidewire_client::{Choice, Client, Name, TallyKind, TallyRules};

use super::super::shards::{Producer, body_of, count, name, records, subscribe};
use crate::daemon::PATIENCE;

pub(super) const PAYLOAD_BYTES: usize = 16 * 1024;

/// Topics in so many different shards that each node lacks some where there are four.
pub(super) fn topics() -> Vec<Name> {
    (0..10).map(|number| name(&format!("log.{number}"))).collect()
}

pub(super) type Records = BTreeMap<Name, BTreeMap<u64, String>>;

/// What was acknowledged so far.
#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) records: std::sync::Mutex<Records>,
    pub(super) counted: AtomicI64,
    pub(super) votes: AtomicU64,
}

/// Somebody who publishes, counts and votes until told to stop.
pub(super) struct Load {
    pub(super) acknowledged: Arc<Acknowledged>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) tasks: tokio::task::JoinSet<()>,
}

/// A voter's ballot, which counts once however often it is sent.
pub(super) async fn cast(client: &Client, number: u64) {
    let (poll, voter) = (name("poll.b"), format!("voter {number}"));
    let started = std::time::Instant::now();
    while let Err(error) = client.vote(&poll, &voter, vec![Choice::Index(number % 2)], None).await {
        assert!(error.is_retryable() && started.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

impl Load {
    pub(super) async fn begin(client: &Client) -> Self {
        let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
        client.create_tally(&name("poll.b"), rules).await.unwrap();
        let (acknowledged, stop) =
            (Arc::new(Acknowledged::default()), Arc::new(AtomicBool::new(false)));
        let mut tasks = tokio::task::JoinSet::new();
        for topic in topics() {
            let (client, known, stop) =
                (client.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut producer = Producer::new(&client).await;
                for number in 0.. {
                    let payload = format!("{number} of {topic} {}", "x".repeat(PAYLOAD_BYTES));
                    let offset = producer.publish(&client, &topic, &payload).await;
                    known
                        .records
                        .lock()
                        .unwrap()
                        .entry(topic.clone())
                        .or_default()
                        .insert(offset, payload);
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let (client, known, stopped) =
            (client.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
        tasks.spawn(async move {
            for number in 0.. {
                known
                    .counted
                    .store(count(&client, &name("count.b"), number).await, Ordering::SeqCst);
                cast(&client, number).await;
                known.votes.fetch_add(1, Ordering::SeqCst);
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self { acknowledged, stop, tasks }
    }

    pub(super) fn records(&self) -> usize {
        self.acknowledged.records.lock().unwrap().values().map(BTreeMap::len).sum()
    }

    pub(super) fn now(&self) -> State {
        let Acknowledged { records, counted, votes } = &*self.acknowledged;
        let records = records.lock().unwrap().clone();
        State {
            counted: counted.load(Ordering::SeqCst),
            votes: votes.load(Ordering::SeqCst),
            records,
        }
    }

    /// Until so many records are acknowledged.
    pub(super) async fn reaches(&self, records: usize) {
        while self.records() < records {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn end(mut self) -> State {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.now()
    }
}

/// What is there, or was acknowledged.
#[derive(Debug)]
pub(super) struct State {
    pub(super) records: Records,
    pub(super) counted: i64,
    pub(super) votes: u64,
}

/// All that a server has. Writes one more record to each topic.
pub(super) async fn state_of(client: &Client) -> State {
    let mut all = Records::new();
    for topic in topics() {
        let last = publish_last(client, &topic).await;
        let mut found = records(&mut subscribe(client, &topic).await, last + 1).await;
        assert_eq!(found.pop_last().unwrap().1, "the last");
        all.insert(topic, found);
    }
    let counted = client.get_counter(&name("count.b")).await.unwrap().unwrap_or_default();
    let (_, standings) = client.standings(&name("poll.b")).await.unwrap();
    State { records: all, counted, votes: standings.ballots }
}

/// Publishes the last record of a topic, at whatever level the server has; returns its offset.
pub(super) async fn publish_last(client: &Client, topic: &Name) -> usize {
    let level = tidewire_client::AckLevel::Policy;
    let published = client.publish_body(topic, body_of("the last"), level, Default::default());
    usize::try_from(published.await.unwrap().offset.unwrap()).unwrap()
}

/// Everything from before is there, and nothing that was never acknowledged, each at its place.
pub(super) fn is_between(before: &State, restored: &State, after: &State) {
    for (topic, wanted) in &before.records {
        let found = &restored.records[topic];
        for (offset, payload) in wanted {
            assert_eq!(found.get(offset), Some(payload), "{topic} at {offset}");
        }
        for (offset, payload) in found {
            assert_eq!(after.records[topic].get(offset), Some(payload), "{topic} at {offset}");
        }
    }
    let counted = before.counted..=after.counted;
    assert!(counted.contains(&restored.counted), "{} of {counted:?}", restored.counted);
    let votes = before.votes..=after.votes;
    assert!(votes.contains(&restored.votes), "{} of {votes:?}", restored.votes);
}
