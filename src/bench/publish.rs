//! The publish workload: publishers alone, and what is acknowledged to them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewire_client::Name;

use super::args::PublishArgs;
use super::fanout::records;
use super::pace::{Pace, Rate, SECOND_NS, Schedule};
use super::phase::{Gauge, Phase};
use super::progress::Progress;
use super::publishers::{Publishers, Task, Work};
use super::report::{Distribution, Report};
use super::sizes::Sizes;
use super::target::Target;
use super::{unfinished, unique_name};
use crate::cli::CliError;
use crate::demo::freshness::Clock;

/// How long the last acknowledgements may take.
const FINISH: Duration = Duration::from_secs(20);
/// Publishes under way on one connection when a schedule does not wait for their answers: as many
/// as a server answers at once.
const OPEN_IN_FLIGHT_MAX: usize = 1024;

/// Publishes and counts what is acknowledged.
///
/// # Errors
/// When the server refuses something or a connection breaks.
pub(crate) async fn run(
    args: &PublishArgs,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    let (clock, phase) = (Clock::start(), Arc::new(Phase::default()));
    let work = Work {
        batch: args.batch.shape(),
        ack: args.ack.level(),
        in_flight_max: args.rate.map_or(args.window.into(), |_| OPEN_IN_FLIGHT_MAX),
        acknowledged: Arc::new(AtomicU64::new(0)),
        refused: None,
        phase: Arc::clone(&phase),
        clock,
    };
    progress.begin("connecting", args.publishers.into());
    let tasks = tasks(args, &work)?;
    let mut publishers = Publishers::start(target, &work, tasks, args.threads.count()).await?;
    let counted = || work.acknowledged.load(Ordering::Relaxed);
    let gauge =
        Gauge { times: args.times, server: target.usage(), progress, begin: || (), count: counted };
    let measured = tokio::select! {
        biased;
        failed = publishers.failure() => return Err(failed),
        measured = phase.run(gauge) => measured?,
    };
    let acknowledged = counted();
    let sent = tokio::time::timeout(FINISH, publishers.finish())
        .await
        .map_err(|_elapsed| unfinished("the last publishes are not acknowledged"))??;
    let mut report = Report::new("publish", target, sizes);
    report.explain_latency(if args.rate.is_some() {
        "from when a batch was to be published (the schedule, so free of coordinated omission) to \
         its acknowledgement"
    } else {
        "from publishing a batch into a full window to its acknowledgement"
    });
    report.count("acknowledged", acknowledged, &measured);
    report.figures().latency(&sent.latency);
    report.distribution(Distribution::of("", &sent.latency));
    report.cost(&measured, args.rate.map(NonZeroU32::get));
    Ok(report)
}

fn tasks(args: &PublishArgs, work: &Work) -> Result<Vec<Task>, CliError> {
    let topic = unique_name("publish")?;
    let started_ns = work.clock.now_ns();
    let task = |number: u32| {
        let pace = match args.rate {
            None => Pace::Free,
            Some(rate) => Schedule {
                started_ns,
                publisher: (number.into(), args.publishers.into()),
                batch: args.batch.batch.into(),
                rate: Rate { records: records(rate), per_ns: SECOND_NS },
            }
            .start(work.clock, Arc::clone(&work.phase))?,
        };
        let topic = Name::parse(&format!("{topic}.{}", number % args.topics));
        let topic = topic.map_err(|refusal| CliError::usage(refusal.message))?;
        Ok(Task { topic, pace, token: None })
    };
    (0..args.publishers).map(task).collect()
}
