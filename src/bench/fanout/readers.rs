//! Subscribers: they count what each delivery covers and look at the time of its first record.
//! The other records are not decoded, so that counting costs little beside receiving.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use tidewire_client::{
    Client, Delivery, Error, Name, Pattern, Start, SubscribeOptions, Subscription,
    SubscriptionEvent,
};
use tokio::task::JoinSet;

use super::super::phase::Phase;
use super::flow::Flow;
use crate::demo::freshness::{Clock, lock};
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
    missing: AtomicU64,
    latency: Vec<Mutex<Latencies>>,
    ends: Mutex<Vec<String>>,
}

/// What the subscribers have counted in the measured time.
#[derive(Debug)]
pub(crate) struct Read {
    /// Records, counted once for each subscriber.
    pub(crate) deliveries: u64,
    /// Records that a subscriber was told it does not get, at any time.
    pub(crate) missing: u64,
    /// Of the first, which is the oldest, record of each delivery.
    pub(crate) latency: Latencies,
    /// What ended or went missing.
    pub(crate) faults: Vec<String>,
}

struct Reader {
    number: usize,
    counts: Arc<Counts>,
    flow: Arc<Flow>,
    phase: Arc<Phase>,
    clock: Clock,
}

impl Readers {
    /// Subscribes every subscriber of the flow, spread evenly over the connections.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub(crate) async fn start(
        clients: &[Client],
        topic: &Name,
        flow: &Arc<Flow>,
        phase: &Arc<Phase>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let pattern = Pattern::parse(topic.as_str())?;
        let (count, connections) = (flow.subscribers(), clients.len().max(1));
        let shares = clients.iter().enumerate().map(|(at, client)| {
            let share = (count + connections - 1 - at) / connections;
            subscribe(client, share, &pattern)
        });
        let subscriptions = try_join_all(shares).await?;
        let counts = Arc::new(Counts {
            deliveries: (0..count).map(|_| AtomicU64::new(0)).collect(),
            missing: AtomicU64::new(0),
            latency: (0..LATENCY_SETS).map(|_| Mutex::default()).collect(),
            ends: Mutex::default(),
        });
        let mut reading = JoinSet::new();
        for (number, subscription) in subscriptions.into_iter().flatten().enumerate() {
            let reader = Reader {
                number,
                counts: Arc::clone(&counts),
                flow: Arc::clone(flow),
                phase: Arc::clone(phase),
                clock,
            };
            reading.spawn(reader.read(subscription));
        }
        Ok(Self { counts, _reading: reading })
    }

    /// Ends all subscribers and sums up.
    pub(crate) fn finish(self) -> Read {
        let mut latency = Latencies::default();
        for set in &self.counts.latency {
            latency.merge(std::mem::take(&mut *lock(set)));
        }
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let missing = counted(&self.counts.missing);
        let mut faults = Vec::new();
        if missing > 0 {
            faults.push(format!("{missing} records were not delivered (gaps)"));
        }
        let ends = lock(&self.counts.ends);
        if let Some(first) = ends.first() {
            faults.push(format!("{} subscriptions ended: {first}", ends.len()));
        }
        Read {
            deliveries: self.counts.deliveries.iter().map(counted).sum(),
            missing,
            latency,
            faults,
        }
    }
}

async fn subscribe(
    client: &Client,
    count: usize,
    pattern: &Pattern,
) -> Result<Vec<Subscription>, Error> {
    let mut subscriptions = Vec::with_capacity(count);
    for _ in 0..count {
        let options = SubscribeOptions::default();
        subscriptions.push(client.subscribe(pattern, Start::Earliest, options).await?);
    }
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
                    self.flow.reach(self.number, gap.next);
                }
                SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_) => {}
                SubscriptionEvent::Ended(refusal) => end = refusal.to_string(),
            }
        }
        lock(&self.counts.ends).push(end);
    }

    fn count(&self, delivery: &Delivery) {
        if self.phase.is_measuring() {
            if let Some(count) = self.counts.deliveries.get(self.number) {
                count.fetch_add(delivery.count(), Ordering::Relaxed);
            }
            let set = self.counts.latency.get(self.number % LATENCY_SETS);
            if let (Some(from_ns), Some(set)) = (counts_from_ns(delivery), set) {
                lock(set).record(self.clock.now_ns().saturating_sub(from_ns), 1);
            }
        }
        self.flow.reach(self.number, delivery.next);
    }
}

fn counts_from_ns(delivery: &Delivery) -> Option<u64> {
    let (_, record) = delivery.records().next()?;
    Some(u64::from_be_bytes(*record.payload?.first_chunk()?))
}
