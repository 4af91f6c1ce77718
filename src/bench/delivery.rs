//! One topic under load: publishers, subscribers, and what became of every record.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tidewire_client::{AckLevel, Name};

use super::args::TimesArgs;
use super::flow::Flow;
use super::pace::{Pace, Rate, Schedule};
use super::payload::Batch;
use super::phase::{Gauge, Measured, Phase};
use super::progress::Progress;
use super::publishers::{Publishers, Task, Work};
use super::subscribers::{Audience, Read, Subscribers};
use super::target::Target;
use super::{unfinished, unique_name};
use crate::cli::CliError;
use crate::demo::freshness::Clock;

/// How long publishers and subscribers may take to finish what is under way at the end.
const FINISH: Duration = Duration::from_secs(20);
/// Publishes of one connection that are not acknowledged yet.
const IN_FLIGHT_MAX: usize = 512;

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) subscribers: u32,
    /// Connections that the subscribers share.
    pub(crate) connections: u32,
    pub(crate) publishers: u32,
    pub(crate) batch: Batch,
    /// Threads that read; publishers have one of their own.
    pub(crate) threads: usize,
    pub(crate) loop_: Loop,
    pub(crate) times: TimesArgs,
}

/// What publishers wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loop {
    /// The slowest subscriber, which is at most so many records behind.
    Closed(u64),
    /// A schedule.
    Open(Rate),
}

/// What became of it.
pub(crate) struct Delivered {
    pub(crate) measured: Measured,
    pub(crate) read: Read,
}

impl Load {
    /// Publishes and counts what arrives.
    ///
    /// # Errors
    /// When the server refuses something, a connection breaks, or a subscriber stands still.
    pub(crate) async fn run(
        self,
        target: &Target,
        progress: &Progress,
    ) -> Result<Delivered, CliError> {
        let topic = unique_name("fanout")?;
        let (clock, phase) = (Clock::start(), Arc::new(Phase::default()));
        let window = match self.loop_ {
            Loop::Closed(records) => records,
            Loop::Open(_) => u64::MAX,
        };
        let flow = Arc::new(Flow::new(whole(self.subscribers), window));
        progress.begin("connecting", self.connections.into());
        let audience = Audience {
            topic: topic.clone(),
            connections: whole(self.connections),
            threads: self.threads,
            batch: self.batch,
            flow: Arc::clone(&flow),
            phase: Arc::clone(&phase),
            clock,
            progress: progress.clone(),
            over_time: None,
        };
        let subscribers = Subscribers::start(target, audience).await?;
        let mut publishers = self.publish(target, &topic, &flow, &phase, clock).await?;
        let gauge = Gauge {
            times: self.times,
            server: target.usage(),
            progress,
            begin: || (),
            count: || subscribers.deliveries(),
        };
        let measured = tokio::select! {
            biased;
            failed = publishers.failure() => return Err(failed),
            measured = phase.run(gauge) => measured?,
        };
        progress.begin("finishing", 0);
        self.finish(publishers, subscribers, &flow).await.map(|read| Delivered { measured, read })
    }

    async fn publish(
        &self,
        target: &Target,
        topic: &Name,
        flow: &Arc<Flow>,
        phase: &Arc<Phase>,
        clock: Clock,
    ) -> Result<Publishers, CliError> {
        let work = Work {
            batch: self.batch,
            ack: AckLevel::Memory,
            in_flight_max: IN_FLIGHT_MAX,
            acknowledged: Arc::new(AtomicU64::new(0)),
            refused: None,
            phase: Arc::clone(phase),
            clock,
        };
        let (started_ns, batch) = (clock.now_ns(), u64::from(self.batch.records));
        let task = |number: u32| {
            let pace = match self.loop_ {
                Loop::Closed(_) => Pace::window(Arc::clone(flow), batch),
                Loop::Open(rate) => {
                    let publisher = (number.into(), self.publishers.into());
                    let schedule = Schedule { started_ns, publisher, batch, rate };
                    schedule.start(clock, Arc::clone(phase))?
                }
            };
            Ok(Task { topic: topic.clone(), pace, token: None })
        };
        let tasks = (0..self.publishers).map(task).collect::<Result<Vec<_>, CliError>>()?;
        Publishers::start(target, &work, tasks, 1).await
    }

    /// Waits until every record is where it belongs, and holds the counts to it.
    async fn finish(
        &self,
        publishers: Publishers,
        subscribers: Subscribers,
        flow: &Flow,
    ) -> Result<Read, CliError> {
        let Ok(sent) = tokio::time::timeout(FINISH, publishers.finish()).await else {
            let read = subscribers.finish().await;
            let stands = "a publisher waits for a subscriber that stands still".to_owned();
            let told = [stands].into_iter().chain(read.faults).collect::<Vec<_>>();
            return Err(unfinished(&told.join("; ")));
        };
        let end = sent?.end;
        let behind = tokio::time::timeout(FINISH, flow.all_reach(end)).await.is_err();
        let slowest = flow.slowest();
        let mut read = subscribers.finish().await;
        let expected = end * u64::from(self.subscribers);
        let known = read.received + read.missing;
        if behind {
            read.faults.push(format!(
                "a subscriber is at record {slowest} of {end} after another {FINISH:?}"
            ));
        } else if known != expected {
            read.faults.push(format!(
                "{expected} deliveries were due, and {} came with {} told to be missing",
                read.received, read.missing
            ));
        }
        Ok(read)
    }
}

fn whole(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
