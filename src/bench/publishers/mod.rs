//! Publishers: a bounded number of publishes under way on each connection, and how long each takes
//! to be acknowledged.

mod client;
mod lean;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidewire_client::{AckLevel, Name};
use tokio::task::JoinSet;
use tokio_util::task::{AbortOnDropHandle, LocalPoolHandle};

use super::pace::Pace;
use super::payload::Batch;
use super::phase::Phase;
use super::target::Target;
use super::unfinished;
use crate::cli::CliError;
use crate::demo::freshness::Clock;
use crate::demo::latency::Latencies;

/// What every publisher of a run does.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) batch: Batch,
    pub(crate) ack: AckLevel,
    /// Publishes that are not acknowledged yet, on each connection.
    pub(crate) in_flight_max: usize,
    /// Counts what is acknowledged in the measured time.
    pub(crate) acknowledged: Arc<AtomicU64>,
    /// For those who flood: counts what is refused; without it a refusal is the end. Their thread
    /// lets all others go first, since floods come from elsewhere.
    pub(crate) refused: Option<Arc<AtomicU64>>,
    pub(crate) phase: Arc<Phase>,
    pub(crate) clock: Clock,
}

/// What one publisher does by itself.
pub(crate) struct Task {
    pub(crate) topic: Name,
    pub(crate) pace: Pace,
    /// What its connection shows, where there are lean ones.
    pub(crate) token: Option<Arc<str>>,
}

/// What publishers have done.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The offset after the last record, in whichever topic it is highest.
    pub(crate) end: u64,
    /// From when a batch counts to its acknowledgement, in the measured time.
    pub(crate) latency: Latencies,
}

/// Publishers at work. Dropping them ends them.
#[derive(Default)]
pub(crate) struct Publishers {
    tasks: JoinSet<Result<Sent, CliError>>,
    sent: Sent,
}

impl Publishers {
    /// Starts a publisher for each task, on so many threads where the transport lets it.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub(crate) async fn start(
        target: &Target,
        work: &Work,
        tasks: Vec<Task>,
        threads: usize,
    ) -> Result<Self, CliError> {
        let mut publishers = Self::default();
        match target.endpoint() {
            Some(endpoint) => {
                let pool = LocalPoolHandle::new(threads.clamp(1, tasks.len().max(1)));
                let mut connecting = Vec::new();
                for (number, task) in tasks.into_iter().enumerate() {
                    let (connected, connects) = tokio::sync::oneshot::channel();
                    let (endpoint, work) = (endpoint.clone(), work.clone());
                    let run = move || lean::publish(endpoint, work, task, connected);
                    let running = pool.spawn_pinned_by_idx(run, number % pool.num_threads());
                    publishers.spawn(AbortOnDropHandle::new(running));
                    connecting.push(connects);
                }
                for connects in connecting {
                    // Dropped: it has failed, and its task says why.
                    if connects.await.is_err() {
                        return Err(publishers.failure().await);
                    }
                }
            }
            None => {
                let clients = target.connect_many(tasks.len()).await?;
                for (client, task) in clients.into_iter().zip(tasks) {
                    publishers.tasks.spawn(client::publish(client, work.clone(), task));
                }
            }
        }
        Ok(publishers)
    }

    fn spawn(&mut self, running: AbortOnDropHandle<Result<Sent, CliError>>) {
        self.tasks.spawn(async move {
            running.await.map_err(|fault| unfinished(&format!("a publisher failed: {fault}")))?
        });
    }

    /// Waits for a publisher that fails. Those that are done are no failure: they see the end of
    /// the run before everybody else.
    pub(crate) async fn failure(&mut self) -> CliError {
        match self.wait().await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    }

    /// Waits until every publisher is done.
    ///
    /// # Errors
    /// The first publish that was refused, or how a connection ended.
    pub(crate) async fn finish(mut self) -> Result<Sent, CliError> {
        self.wait().await?;
        Ok(self.sent)
    }

    /// May be cancelled.
    async fn wait(&mut self) -> Result<(), CliError> {
        while let Some(ended) = self.tasks.join_next().await {
            let Sent { end, latency } =
                ended.map_err(|fault| unfinished(&format!("a publisher failed: {fault}")))??;
            self.sent.end = self.sent.end.max(end);
            self.sent.latency.merge(latency);
        }
        Ok(())
    }
}

/// The acknowledgements that one publisher gets.
struct Acknowledged {
    work: Work,
    sent: Sent,
}

impl Acknowledged {
    fn new(work: Work) -> Self {
        Self { work, sent: Sent::default() }
    }

    /// A batch that counts from this time is acknowledged, with the offset of its first record.
    fn take(&mut self, from_ns: u64, offset: Option<u64>) {
        let records = u64::from(self.work.batch.records);
        self.sent.end = self.sent.end.max(offset.unwrap_or(0) + records);
        if self.work.phase.is_measuring() {
            self.work.acknowledged.fetch_add(records, Ordering::Relaxed);
            self.sent.latency.record(self.work.clock.now_ns().saturating_sub(from_ns), 1);
        }
    }
}
