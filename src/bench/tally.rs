//! The tally workload: many votes in one tally that many watchers follow.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidewire_client::{Choice, Client, Error, Name, TallyKind, TallyRules};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::args::TallyArgs;
use super::phase::{Gauge, Measured, Phase};
use super::progress::Progress;
use super::report::{Distribution, Figures, Report};
use super::sizes::Sizes;
use super::target::Target;
use super::{unfinished, unique_name};
use crate::cli::CliError;
use crate::demo::cast::{self, Ballot, BallotBox, Sender, Tallied};
use crate::demo::freshness::{Clock, Meter, SenderLog, TICK};
use crate::demo::watchers::Watchers;

/// How long the last votes may take to be answered and to reach every watcher.
const FINISH: Duration = Duration::from_secs(20);

/// Votes and counts how fast, and how long a vote takes to reach the watchers.
///
/// # Errors
/// When the server refuses something or a connection breaks.
pub(crate) async fn run(
    args: &TallyArgs,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    let tally = unique_name("tally")?;
    let control = target.connect().await?;
    let options = (1..=args.options).map(|number| format!("option {number}")).collect();
    control.create_tally(&tally, TallyRules::new(TallyKind::Single, options)).await?;
    let clock = Clock::start();
    progress.begin("connecting", 0);
    let connections = usize::try_from(args.watching_connections()).unwrap_or(1);
    let watching = target.connect_many(connections).await?;
    let count = usize::try_from(args.watchers).unwrap_or(usize::MAX);
    let watchers = Watchers::start(&watching, count, &tally, clock).await?;
    let senders = senders(args, target, &tally, clock).await?;
    let logs = senders.iter().map(|sender| Arc::clone(&sender.log)).collect();
    let meter = Meter::new(logs, watchers.logs());

    let load = Load { tallied: Arc::new(Tallied::default()), votes: Arc::new(Votes::new(args)) };
    let cast = measure(args, target, progress, load, senders, meter, clock).await?;
    // Measuring goes on until every watcher holds the last vote.
    let faults = check(&control, &tally, &watchers, cast.accepted_in_all).await?;
    drop(cast.stop);
    let meter = cast.metering.await.map_err(|fault| failed("measuring", &fault))?;
    control.delete_tally(&tally).await?;
    let mut report = Report::new("tally", target, sizes);
    report.explain_latency(
        "from sending a vote until the last watcher holds a value that contains it",
    );
    report.count("votes", cast.accepted, &cast.measured);
    let (each, last) = (meter.each_watcher(), meter.last_watcher());
    report.figures().latency(last);
    let mut to_each = Figures::default();
    to_each.latency(each);
    report.figures().group("each_watcher", to_each);
    report.distribution(Distribution::of("to the last watcher", last));
    report.distribution(Distribution::of("to each watcher", each));
    report.cost(&cast.measured, args.rate.map(NonZeroU32::get));
    report.add_faults(faults);
    Ok(report)
}

async fn senders(
    args: &TallyArgs,
    target: &Target,
    tally: &Name,
    clock: Clock,
) -> Result<Vec<Sender>, Error> {
    let clients = target.connect_many(args.writers.into()).await?;
    let sender = |client: Client| Sender {
        client,
        tally: tally.clone(),
        window: args.in_flight.into(),
        log: Arc::new(SenderLog::default()),
        clock,
    };
    Ok(clients.into_iter().map(sender).collect())
}

struct Load {
    tallied: Arc<Tallied>,
    votes: Arc<Votes>,
}

struct Cast {
    measured: Measured,
    /// Votes accepted in the measured time, and in all.
    accepted: u64,
    accepted_in_all: u64,
    metering: JoinHandle<Meter>,
    stop: oneshot::Sender<()>,
}

async fn measure(
    args: &TallyArgs,
    target: &Target,
    progress: &Progress,
    load: Load,
    senders: Vec<Sender>,
    meter: Meter,
    clock: Clock,
) -> Result<Cast, CliError> {
    let Load { tallied, votes } = load;
    let phase = Arc::new(Phase::default());
    let (stop, stopped) = oneshot::channel();
    let metering = tokio::spawn(join_notes(meter, clock, Arc::clone(&phase), stopped));
    let mut casting =
        tokio::spawn(cast::cast_all(senders, Arc::clone(&votes), Arc::clone(&tallied)));
    let before = AtomicU64::new(0);
    let gauge = Gauge {
        times: args.times,
        server: target.usage(),
        progress,
        begin: || before.store(tallied.accepted(), Ordering::Relaxed),
        count: || tallied.accepted() - before.load(Ordering::Relaxed),
    };
    let measured = tokio::select! {
        biased;
        ended = &mut casting => return Err(match ended {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) => unfinished("the writers ended before the time was over"),
            Err(fault) => failed("a writer", &fault),
        }),
        measured = phase.run(gauge) => measured?,
    };
    let accepted = tallied.accepted() - before.load(Ordering::Relaxed);
    votes.close();
    let late = |_elapsed| unfinished("the last votes are not answered");
    let cast = tokio::time::timeout(FINISH, casting).await.map_err(late)?;
    cast.map_err(|fault| failed("a writer", &fault))??;
    Ok(Cast { measured, accepted, accepted_in_all: tallied.accepted(), metering, stop })
}

fn failed(what: &str, fault: &JoinError) -> CliError {
    unfinished(&format!("{what} failed: {fault}"))
}

/// Joins the notes of writers and watchers, and forgets those of the warm-up.
async fn join_notes(
    mut meter: Meter,
    clock: Clock,
    phase: Arc<Phase>,
    mut stop: oneshot::Receiver<()>,
) -> Meter {
    let mut ticks = tokio::time::interval(TICK);
    let mut warming_up = true;
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => {
                meter.tick(clock.now_ns());
                return meter;
            }
            _ = ticks.tick() => meter.tick(clock.now_ns()),
        }
        if warming_up && (phase.is_measuring() || phase.is_over()) {
            warming_up = false;
            meter.clear();
        }
    }
}

/// Whether the server counted every vote once, and every watcher knows.
async fn check(
    control: &Client,
    tally: &Name,
    watchers: &Watchers,
    accepted: u64,
) -> Result<Vec<String>, Error> {
    let (version, standings) = control.standings(tally).await?;
    let mut faults = Vec::new();
    if standings.ballots != accepted {
        faults.push(format!("{accepted} votes were accepted and {} counted", standings.ballots));
    }
    watchers.hold(version, FINISH).await;
    faults.extend(watchers.disagreement(version, &standings));
    Ok(faults)
}

/// Votes of ever new voters, until the box is closed.
#[derive(Debug)]
struct Votes {
    started: Instant,
    cast: AtomicU64,
    options: u64,
    rate: Option<u64>,
    closed: AtomicBool,
}

impl Votes {
    fn new(args: &TallyArgs) -> Self {
        Self {
            started: Instant::now(),
            cast: AtomicU64::new(0),
            options: args.options.into(),
            rate: args.rate.map(|rate| rate.get().into()),
            closed: AtomicBool::new(false),
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

impl BallotBox for Votes {
    fn take(&self) -> Option<Ballot> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.cast.fetch_add(1, Ordering::Relaxed);
        let due = self.rate.map(|rate| {
            self.started + Duration::from_nanos(number.saturating_mul(1_000_000_000) / rate)
        });
        let choices = vec![Choice::Index(number % self.options)];
        Some(Ballot { due, voter: format!("voter-{number}"), choices })
    }
}
