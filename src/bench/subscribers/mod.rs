//! Subscribers of one topic: they count what each delivery covers, hold the server to it, and look
//! at the time of its first record.

mod client;
mod lean;

use std::sync::Arc;

use tidewire_client::Name;

use super::flow::Flow;
use super::over_time::OverTime;
use super::payload::Batch;
use super::phase::Phase;
use super::progress::Progress;
use super::target::Target;
use crate::cli::CliError;
use crate::demo::freshness::Clock;
use crate::demo::latency::Latencies;

/// Who subscribes, and what to.
#[derive(Clone)]
pub(crate) struct Audience {
    pub(crate) topic: Name,
    /// Connections that the subscribers share.
    pub(crate) connections: usize,
    /// Threads that read lean connections.
    pub(crate) threads: usize,
    /// What is published.
    pub(crate) batch: Batch,
    /// Where each of the subscribers is.
    pub(crate) flow: Arc<Flow>,
    pub(crate) phase: Arc<Phase>,
    pub(crate) clock: Clock,
    pub(crate) progress: Progress,
    /// Where the latency of each delivery is noted by its time as well.
    pub(crate) over_time: Option<Arc<OverTime>>,
}

impl Audience {
    /// How many subscribers the connection of this number has: as even as can be.
    fn share(&self, connection: usize) -> usize {
        (self.flow.subscribers() + self.connections - 1 - connection) / self.connections
    }
}

/// All subscribers. Dropping them ends them.
pub(crate) enum Subscribers {
    Lean(lean::Readers),
    Client(client::Readers),
}

/// What the subscribers have seen.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Records in the measured time, counted once for each subscriber.
    pub(crate) deliveries: u64,
    /// The same over the whole run.
    pub(crate) received: u64,
    /// Records that a subscriber was told it does not get, at any time.
    pub(crate) missing: u64,
    /// Of the first, which is the oldest, record of each delivery in the measured time.
    pub(crate) latency: Latencies,
    /// What ended, went missing or does not fit together.
    pub(crate) faults: Vec<String>,
}

impl Subscribers {
    /// Subscribes the whole audience.
    ///
    /// # Errors
    /// When a connection cannot be made, or the server refuses a subscription.
    pub(crate) async fn start(target: &Target, audience: Audience) -> Result<Self, CliError> {
        match target.endpoint() {
            Some(endpoint) => lean::Readers::start(endpoint, audience).await.map(Self::Lean),
            None => {
                let clients = target.connect_many(audience.connections).await?;
                Ok(Self::Client(client::Readers::start(&clients, audience).await?))
            }
        }
    }

    /// Records so far in the measured time.
    pub(crate) fn deliveries(&self) -> u64 {
        match self {
            Self::Lean(readers) => readers.deliveries(),
            Self::Client(readers) => readers.deliveries(),
        }
    }

    /// Ends all subscribers and sums up.
    pub(crate) async fn finish(self) -> Read {
        match self {
            Self::Lean(readers) => readers.finish().await,
            Self::Client(readers) => readers.finish(),
        }
    }
}

/// Something that went wrong, perhaps very often.
#[derive(Debug, Default)]
struct Faults {
    count: u64,
    first: Option<String>,
}

impl Faults {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(what);
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }

    /// `what`: several of them.
    fn tell(self, what: &str) -> Option<String> {
        let first = self.first?;
        Some(format!("{} {what}; the first: {first}", self.count))
    }
}
