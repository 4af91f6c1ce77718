//! Subscribers through the client, for transports that the bench has no lean connection for. Beside
//! the first record of a delivery nothing is decoded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use tidewire_client::{
    Client, Delivery, Error, Pattern, Start, SubscribeOptions, Subscription, SubscriptionEvent,
};
use tokio::task::JoinSet;

use super::{Audience, Faults, Read};
use crate::demo::freshness::lock;
use crate::demo::latency::Latencies;

/// Subscribers share so many sets of latencies: one each would cost a quarter of a megabyte.
const LATENCY_SETS: usize = 16;

/// All subscribers. Dropping them ends them.
pub(crate) struct Readers {
    counts: Arc<Counts>,
    /// Ends the tasks with the readers.
    _reading: JoinSet<()>,
}

#[derive(Debug)]
struct Counts {
    deliveries: Vec<AtomicU64>,
    received: Vec<AtomicU64>,
    missing: AtomicU64,
    latency: Vec<Mutex<Latencies>>,
    gaps: Mutex<Faults>,
    ends: Mutex<Faults>,
}

struct Reader {
    number: usize,
    counts: Arc<Counts>,
    audience: Audience,
}

impl Readers {
    pub(super) async fn start(clients: &[Client], audience: Audience) -> Result<Self, Error> {
        let pattern = Pattern::parse(audience.topic.as_str())?;
        let shares = clients.iter().enumerate().map(|(connection, client)| {
            subscribe(client, audience.share(connection), &pattern, &audience)
        });
        let subscriptions = try_join_all(shares).await?;
        let zeros = || (0..audience.flow.subscribers()).map(|_| AtomicU64::new(0)).collect();
        let counts = Arc::new(Counts {
            deliveries: zeros(),
            received: zeros(),
            missing: AtomicU64::new(0),
            latency: (0..LATENCY_SETS).map(|_| Mutex::default()).collect(),
            gaps: Mutex::default(),
            ends: Mutex::default(),
        });
        let mut reading = JoinSet::new();
        for (number, subscription) in subscriptions.into_iter().flatten().enumerate() {
            let (counts, audience) = (Arc::clone(&counts), audience.clone());
            let reader = Reader { number, counts, audience };
            reading.spawn(reader.read(subscription));
        }
        Ok(Self { counts, _reading: reading })
    }

    pub(super) fn deliveries(&self) -> u64 {
        sum(&self.counts.deliveries)
    }

    pub(super) fn finish(self) -> Read {
        let counts = &self.counts;
        let mut latency = Latencies::default();
        for set in &counts.latency {
            latency.merge(std::mem::take(&mut *lock(set)));
        }
        let gaps = std::mem::take(&mut *lock(&counts.gaps)).tell("gaps were told");
        let ends = std::mem::take(&mut *lock(&counts.ends)).tell("subscriptions ended");
        Read {
            deliveries: sum(&counts.deliveries),
            received: sum(&counts.received),
            missing: counts.missing.load(Ordering::Relaxed),
            latency,
            faults: gaps.into_iter().chain(ends).collect(),
        }
    }
}

fn sum(counts: &[AtomicU64]) -> u64 {
    counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
}

async fn subscribe(
    client: &Client,
    count: usize,
    pattern: &Pattern,
    audience: &Audience,
) -> Result<Vec<Subscription>, Error> {
    let mut subscriptions = Vec::with_capacity(count);
    for _ in 0..count {
        let options = SubscribeOptions::default();
        subscriptions.push(client.subscribe(pattern, Start::Earliest, options).await?);
    }
    audience.progress.step(1);
    Ok(subscriptions)
}

impl Reader {
    async fn read(self, mut subscription: Subscription) {
        let mut end = "without a reason".to_owned();
        while let Some(event) = subscription.next().await {
            match event {
                SubscriptionEvent::Delivery(delivery) => self.count(&delivery),
                SubscriptionEvent::Gap(gap) => {
                    let missing = gap.next.saturating_sub(gap.from);
                    self.counts.missing.fetch_add(missing, Ordering::Relaxed);
                    let told = || format!("records {} to {}", gap.from, gap.next);
                    lock(&self.counts.gaps).add(told);
                    self.audience.flow.reach(self.number, gap.next);
                }
                SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_) => {}
                SubscriptionEvent::Ended(refusal) => end = refusal.to_string(),
            }
        }
        lock(&self.counts.ends).add(|| end);
    }

    fn count(&self, delivery: &Delivery) {
        let Audience { phase, clock, flow, .. } = &self.audience;
        add(&self.counts.received, self.number, delivery.count());
        if phase.is_measuring() {
            add(&self.counts.deliveries, self.number, delivery.count());
            let set = self.counts.latency.get(self.number % LATENCY_SETS);
            if let (Some(from_ns), Some(set)) = (counts_from_ns(delivery), set) {
                lock(set).record(clock.now_ns().saturating_sub(from_ns), 1);
            }
        }
        flow.reach(self.number, delivery.next);
    }
}

fn add(counts: &[AtomicU64], number: usize, records: u64) {
    if let Some(count) = counts.get(number) {
        count.fetch_add(records, Ordering::Relaxed);
    }
}

fn counts_from_ns(delivery: &Delivery) -> Option<u64> {
    let (_, record) = delivery.records().next()?;
    Some(u64::from_be_bytes(*record.payload?.first_chunk()?))
}
