//! The flood workload: one identity asks for as much as it can, on many connections, and what that
//! does to the others.
//!
//! The others publish by a schedule that waits for nothing, each as somebody of its own, and their
//! records are delivered to subscribers. Three times are compared: before, while and after the
//! flood lasts.

mod outcome;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewire_client::AckLevel;
use tokio::time::{Instant, sleep_until};

use super::args::FloodArgs;
use super::flow::Flow;
use super::over_time::OverTime;
use super::pace::{Pace, Rate, SECOND_NS, Schedule};
use super::phase::Phase;
use super::progress::Progress;
use super::publishers::{Publishers, Task, Work};
use super::report::Report;
use super::sizes::Sizes;
use super::subscribers::{Audience, Read, Subscribers};
use super::target::Target;
use super::{USAGE, unfinished, unique_name};
use crate::cli::CliError;
use crate::demo::freshness::Clock;
use outcome::{Outcome, Sample};

/// Length of the parts that percentiles are taken of, and how often the server is looked at.
const STEP_MS: u64 = 500;
/// Before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what is under way at the end may take.
const FINISH: Duration = Duration::from_secs(30);
/// Publishes of one of the others that are not acknowledged yet.
const STEADY_IN_FLIGHT_MAX: usize = 512;

/// Publishes steadily, lets the flood come and go, and tells what the others had of it.
///
/// # Errors
/// When the server refuses the others something, or a connection breaks.
pub(crate) async fn run(
    args: &FloodArgs,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    let (clock, calm) = (Clock::start(), Arc::new(Phase::default()));
    let topic = unique_name("flood")?;
    let began_ns = clock.now_ns() + nanoseconds(WARM_UP);
    let parts = usize::try_from(u64::from(args.seconds()) * 1000 / STEP_MS).unwrap_or(usize::MAX);
    let over_time = Arc::new(OverTime::new(began_ns, STEP_MS * 1_000_000, parts));
    progress.begin("connecting", 0);
    let flow = Arc::new(Flow::new(count(args.subscribers), u64::MAX));
    let audience = Audience {
        topic: topic.clone(),
        connections: count(args.subscribers),
        threads: 1,
        batch: args.batch.shape(),
        flow: Arc::clone(&flow),
        phase: Arc::clone(&calm),
        clock,
        progress: progress.clone(),
        over_time: Some(Arc::clone(&over_time)),
    };
    let audience_target = target.shown_as("audience")?;
    let subscribers = Subscribers::start(&audience_target, audience).await?;
    let work = steady_work(args, &calm, clock);
    let mut steady =
        Publishers::start(target, &work, steady_tasks(args, target, &topic, &work)?, 1).await?;
    let began = Instant::now() + Duration::from_nanos(began_ns.saturating_sub(clock.now_ns()));
    let samples = tokio::select! {
        biased;
        failed = steady.failure() => return Err(failed),
        flooded = flood(args, target, progress, began, clock) => flooded?,
    };
    calm.end();
    progress.begin("finishing", 0);
    let end = finish(steady, &flow, args).await?;
    let read = check(subscribers.finish().await, end, args.subscribers);
    let outcome = Outcome { args, parts: over_time.take(), samples, read };
    let mut report = Report::new("flood", target, sizes);
    outcome.tell(&mut report);
    Ok(report)
}

fn steady_work(args: &FloodArgs, phase: &Arc<Phase>, clock: Clock) -> Work {
    Work {
        batch: args.batch.shape(),
        ack: AckLevel::Memory,
        in_flight_max: STEADY_IN_FLIGHT_MAX,
        acknowledged: Arc::new(AtomicU64::new(0)),
        refused: None,
        phase: Arc::clone(phase),
        clock,
    }
}

fn steady_tasks(
    args: &FloodArgs,
    target: &Target,
    topic: &tidewire_client::Name,
    work: &Work,
) -> Result<Vec<Task>, CliError> {
    let started_ns = work.clock.now_ns();
    let rate =
        Rate { records: u64::from(args.rate.get()).try_into().unwrap_or(ONE), per_ns: SECOND_NS };
    let task = |number: u32| {
        let schedule = Schedule {
            started_ns,
            publisher: (number.into(), args.publishers.into()),
            batch: args.batch.batch.into(),
            rate,
        };
        let pace = schedule.start(work.clock, Arc::clone(&work.phase))?;
        let token = target.token(&format!("steady-{number}"))?;
        Ok(Task { topic: topic.clone(), pace, token })
    };
    (0..args.publishers).map(task).collect()
}

const ONE: std::num::NonZeroU64 = std::num::NonZeroU64::MIN;

/// Looks on from the beginning to the end, with the flood in the middle.
async fn flood(
    args: &FloodArgs,
    target: &Target,
    progress: &Progress,
    began: Instant,
    clock: Clock,
) -> Result<Vec<Sample>, CliError> {
    let phase = Arc::new(Phase::default());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let refused = Arc::new(AtomicU64::new(0));
    let work = Work {
        batch: args.batch.shape(),
        ack: AckLevel::Memory,
        in_flight_max: args.window.into(),
        acknowledged: Arc::clone(&acknowledged),
        refused: Some(Arc::clone(&refused)),
        phase: Arc::clone(&phase),
        clock,
    };
    let (rises, ebbs) = args.flood_s();
    let mut flooders = None;
    let mut samples = Vec::new();
    progress.begin("measuring", args.seconds().into());
    loop {
        let usage = target.usage().read().await;
        let usage = usage.map_err(|message| CliError { exit_code: USAGE, message })?;
        let at = Instant::now().saturating_duration_since(began);
        samples.push(Sample {
            at,
            acknowledged: acknowledged.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            rss_bytes: usage.rss_bytes,
        });
        progress.at(at.as_secs(), "");
        if at >= Duration::from_secs(args.seconds().into()) {
            return Ok(samples);
        }
        if flooders.is_none() && !phase.is_over() && at >= rises {
            flooders = Some(Publishers::start(target, &work, flood_tasks(args, target)?, 1).await?);
            phase.begin();
        }
        if at >= ebbs
            && let Some(ended) = flooders.take()
        {
            phase.end();
            let ended = tokio::time::timeout(FINISH, ended.finish()).await;
            ended
                .map_err(|_elapsed| unfinished("the flood's last publishes are not answered"))??;
        }
        sleep_until(
            began
                + Duration::from_millis(STEP_MS) * u32::try_from(samples.len()).unwrap_or(u32::MAX),
        )
        .await;
    }
}

fn flood_tasks(args: &FloodArgs, target: &Target) -> Result<Vec<Task>, CliError> {
    let topic = unique_name("flooded")?;
    let task = |number: u32| {
        let topic = tidewire_client::Name::parse(&format!("{topic}.{}", number % args.topics));
        let topic = topic.map_err(|refusal| CliError::usage(refusal.message))?;
        Ok(Task { topic, pace: Pace::Free, token: target.token("flooder")? })
    };
    (0..args.flooders).map(task).collect()
}

/// Waits until what the others have published is everywhere; returns how much that is.
async fn finish(steady: Publishers, flow: &Flow, args: &FloodArgs) -> Result<u64, CliError> {
    let sent = tokio::time::timeout(FINISH, steady.finish())
        .await
        .map_err(|_elapsed| unfinished("the last publishes are not acknowledged"))??;
    tokio::time::timeout(FINISH, flow.all_reach(sent.end)).await.map_err(|_elapsed| {
        let slowest = flow.slowest();
        unfinished(&format!(
            "one of {} subscribers is at record {slowest} of {}",
            args.subscribers, sent.end
        ))
    })?;
    Ok(sent.end)
}

/// Everything that was acknowledged has been delivered, or it is said what has not.
fn check(mut read: Read, end: u64, subscribers: u32) -> Read {
    let due = end * u64::from(subscribers);
    if read.received != due {
        let received = read.received;
        read.faults.push(format!("{due} deliveries were due to the others, and {received} came"));
    }
    read
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
