//! The fan-out workload: records of one topic, delivered to many subscribers.

mod flow;
mod pacer;
mod publishers;
mod readers;

use std::sync::Arc;
use std::time::Duration;

use tidewire_client::{Error, Name};
use tokio::task::JoinSet;

use super::args::FanoutArgs;
use super::phase::Phase;
use super::report::{Figures, Report};
use super::sizes::Sizes;
use super::target::Target;
use super::{unfinished, unique_name};
use crate::cli::CliError;
use crate::demo::freshness::Clock;
use flow::Flow;
use publishers::Publisher;
use readers::Readers;

/// How long publishers and subscribers may take to finish what is under way at the end.
const FINISH: Duration = Duration::from_secs(20);

/// Publishes and counts what arrives.
///
/// # Errors
/// When the server refuses something, a connection breaks, or a subscriber stands still.
pub(crate) async fn run(args: &FanoutArgs, target: &Target) -> Result<Report, CliError> {
    let topic = unique_name("fanout")?;
    let (clock, phase) = (Clock::start(), Arc::new(Phase::default()));
    let subscribers = usize::try_from(args.subscribers).unwrap_or(usize::MAX);
    let flow = Arc::new(Flow::new(subscribers, window(args)));
    let connections = args.connections.unwrap_or(args.subscribers).min(args.subscribers);
    let clients = target.connect_many(usize::try_from(connections).unwrap_or(1)).await?;
    let readers = Readers::start(&clients, &topic, &flow, &phase, clock).await?;
    let mut publishing = publish(args, target, &topic, &flow, &phase, clock).await?;

    let measured = tokio::select! {
        biased;
        failed = publishing.failure() => return Err(failed),
        measured = phase.run(&args.run, target.usage(), || ()) => measured?,
    };
    let end = tokio::time::timeout(FINISH, publishing.finish())
        .await
        .map_err(|_elapsed| unfinished("a publisher waits for a subscriber that stands still"))??;
    let behind = tokio::time::timeout(FINISH, flow.all_reach(end)).await.is_err();

    let read = readers.finish();
    let mut faults = read.faults;
    if behind {
        let slowest = flow.slowest();
        faults
            .push(format!("a subscriber is at record {slowest} of {end} after another {FINISH:?}"));
    }
    let sizes = Sizes {
        subscribers: Some(args.subscribers),
        connections,
        publishers: Some(args.publishers),
        payload_bytes: Some(args.payload),
        batch: Some(args.batch),
        window: args.rate.is_none().then(|| window(args)),
        ..Sizes::of(&args.run, args.rate)
    };
    let figures = Figures::Fanout {
        deliveries: read.deliveries,
        latency: read.latency.summary_us(),
        missing: read.missing,
    };
    Ok(Report::new(target, sizes, measured, figures, faults))
}

/// Two batches at least: one under way, one being made.
fn window(args: &FanoutArgs) -> u64 {
    u64::from(args.window).max(2 * u64::from(args.batch))
}

async fn publish(
    args: &FanoutArgs,
    target: &Target,
    topic: &Name,
    flow: &Arc<Flow>,
    phase: &Arc<Phase>,
    clock: Clock,
) -> Result<Publishing, CliError> {
    let clients = target.connect_many(usize::try_from(args.publishers).unwrap_or(1)).await?;
    let mut publishing = Publishing::default();
    let started_ns = clock.now_ns();
    for (number, client) in (0_u64..).zip(clients) {
        let publisher = Publisher {
            client,
            topic: topic.clone(),
            payload_bytes: usize::try_from(args.payload).unwrap_or(usize::MAX),
            batch: args.batch,
            phase: Arc::clone(phase),
            clock,
        };
        match args.rate {
            None => drop(publishing.tasks.spawn(publisher.saturate(Arc::clone(flow)))),
            Some(rate) => {
                let schedule = pacer::Schedule::new(
                    started_ns,
                    (number, args.publishers.into()),
                    args.batch.into(),
                    rate.get().into(),
                );
                let due = pacer::start(schedule, clock, Arc::clone(phase))?;
                drop(publishing.tasks.spawn(publisher.follow(due)));
            }
        }
    }
    Ok(publishing)
}

/// The publishers at work.
#[derive(Default)]
struct Publishing {
    tasks: JoinSet<Result<u64, Error>>,
    /// The end of the topic, as far as publishers that are done know it.
    end: u64,
}

impl Publishing {
    /// Waits for a publisher that fails. Those that are done are no failure: they see the end of
    /// the run before everybody else.
    async fn failure(&mut self) -> CliError {
        match self.finish().await {
            Ok(_) => std::future::pending().await,
            Err(error) => error,
        }
    }

    /// Waits until every publisher is done, and returns the end of the topic. May be cancelled.
    async fn finish(&mut self) -> Result<u64, CliError> {
        while let Some(ended) = self.tasks.join_next().await {
            let own = ended.map_err(|fault| unfinished(&format!("a publisher failed: {fault}")))?;
            self.end = self.end.max(own?);
        }
        Ok(self.end)
    }
}
