//! The time that is measured: after the warm-up, and the same for every task.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::args::TimesArgs;
use super::process::{
    BusyThread, ThreadTimes, Usage, UsageSource, busiest, machine_busy_s, thread_times,
};
use super::progress::Progress;
use crate::cli::CliError;
use crate::demo::per_second;

const WARM_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Shortest time between two looks at the counts.
const SAMPLE_MS_MIN: u64 = 250;
/// Looks at the counts, so that a plot of a day is no longer than one of a minute.
const SAMPLES_MAX: u64 = 120;

/// Whether what happens now counts. Cheap to ask, for tasks that ask at each event.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

/// What the measured time was, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) elapsed: Duration,
    /// CPU seconds that the server used meanwhile, if known.
    pub(crate) server_cpu_s: Option<f64>,
    /// CPU seconds that this process used meanwhile, if known.
    pub(crate) bench_cpu_s: Option<f64>,
    /// CPU seconds that this machine spent on all of its programs meanwhile, if known.
    pub(crate) machine_busy_s: Option<f64>,
    /// The server's resident bytes at the end, if known.
    pub(crate) server_rss_bytes: Option<u64>,
    /// The busiest thread of either side, if known.
    pub(crate) server_thread: Option<BusyThread>,
    pub(crate) bench_thread: Option<BusyThread>,
    /// What was going on, from the beginning to the end.
    pub(crate) samples: Vec<Sample>,
}

/// What was going on in one part of the measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// When the part ended, since the measured time began.
    pub(crate) at: Duration,
    pub(crate) per_s: f64,
    /// Processors that each side used, if known.
    pub(crate) server_cpus: Option<f64>,
    pub(crate) bench_cpus: Option<f64>,
}

/// What a run is measured by.
pub(crate) struct Gauge<'a, B, C> {
    pub(crate) times: TimesArgs,
    pub(crate) server: UsageSource,
    pub(crate) progress: &'a Progress,
    /// Called when the measured time begins.
    pub(crate) begin: B,
    /// What has been counted since then.
    pub(crate) count: C,
}

impl Phase {
    /// Whether events count.
    pub(crate) fn is_measuring(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MEASURING
    }

    /// Whether no more load is wanted.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    /// From now on events count.
    pub(crate) fn begin(&self) {
        self.0.store(MEASURING, Ordering::Relaxed);
    }

    /// From now on no more load is wanted.
    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    /// Lets the warm-up pass, then the measured time.
    ///
    /// # Errors
    /// When the server's usage was to be read from its metrics and cannot be.
    pub(crate) async fn run<B: FnOnce(), C: Fn() -> u64>(
        &self,
        gauge: Gauge<'_, B, C>,
    ) -> Result<Measured, CliError> {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), WARM_UP);
        let Gauge { times, server, progress, begin, count } = gauge;
        let warm = Instant::now() + Duration::from_secs(times.warmup_seconds.into());
        progress.begin("warming up", times.warmup_seconds.into());
        while Instant::now() < warm {
            sleep_until(warm.min(Instant::now() + Duration::from_secs(1))).await;
            progress.step(1);
        }
        let before = Usages::read(server).await?;
        begin();
        self.begin();
        let began = Instant::now();
        let samples = sample(times.seconds, server, progress, began, &count).await;
        self.end();
        let elapsed = began.elapsed();
        let after = Usages::read(server).await?;
        Ok(Measured { elapsed, samples, ..after.since(&before, elapsed) })
    }
}

async fn sample(
    seconds: u32,
    server: UsageSource,
    progress: &Progress,
    began: Instant,
    count: &impl Fn() -> u64,
) -> Vec<Sample> {
    let total = Duration::from_secs(seconds.into());
    let step_ms = (u64::from(seconds) * 1000).div_ceil(SAMPLES_MAX).max(SAMPLE_MS_MIN);
    progress.begin("measuring", seconds.into());
    let mut samples = Vec::new();
    let mut last = Look::now(server, Duration::ZERO, count()).await;
    while last.at < total {
        let next = (last.at + Duration::from_millis(step_ms)).min(total);
        sleep_until(began + next).await;
        let look = Look::now(server, began.elapsed(), count()).await;
        let sample = look.since(&last);
        progress.at(look.at.as_secs(), format!("{:.0}/s", sample.per_s));
        samples.push(sample);
        last = look;
    }
    samples
}

/// The counts at one moment.
struct Look {
    at: Duration,
    count: u64,
    server_cpu_s: Option<f64>,
    bench_cpu_s: Option<f64>,
}

impl Look {
    async fn now(server: UsageSource, at: Duration, count: u64) -> Self {
        let cpu_s = |usage: Result<Usage, String>| usage.ok().and_then(|usage| usage.cpu_s);
        // Asking a server elsewhere four times a second would be a load by itself.
        let server_cpu_s = match server {
            UsageSource::Process(_) | UsageSource::Processes(_) => cpu_s(server.read().await),
            UsageSource::Metrics(_) | UsageSource::Unknown => None,
        };
        Self { at, count, server_cpu_s, bench_cpu_s: cpu_s(UsageSource::own().read().await) }
    }

    fn since(&self, last: &Self) -> Sample {
        let elapsed = self.at.saturating_sub(last.at);
        let cpus = |now: Option<f64>, before: Option<f64>| {
            Some(((now? - before?) / elapsed.as_secs_f64() * 100.0).round() / 100.0)
        };
        Sample {
            at: self.at,
            per_s: per_second(self.count.saturating_sub(last.count), elapsed),
            server_cpus: cpus(self.server_cpu_s, last.server_cpu_s),
            bench_cpus: cpus(self.bench_cpu_s, last.bench_cpu_s),
        }
    }
}

#[derive(Clone, Debug)]
struct Usages {
    server: Usage,
    bench: Usage,
    machine_busy_s: Option<f64>,
    server_threads: ThreadTimes,
    bench_threads: ThreadTimes,
}

impl Usages {
    async fn read(server: UsageSource) -> Result<Self, CliError> {
        let failed = |message| CliError { exit_code: super::USAGE, message };
        Ok(Self {
            server: server.read().await.map_err(failed)?,
            bench: UsageSource::own().read().await.map_err(failed)?,
            machine_busy_s: machine_busy_s(),
            server_threads: server.thread_times(),
            bench_threads: thread_times(std::process::id()),
        })
    }

    /// What was used since then; samples are none.
    fn since(&self, before: &Self, elapsed: Duration) -> Measured {
        // The system counts in hundredths; further digits are noise of the subtraction.
        let spent = |before: Option<f64>, after: Option<f64>| {
            Some(((after? - before?) * 100.0).round() / 100.0)
        };
        Measured {
            elapsed,
            server_cpu_s: spent(before.server.cpu_s, self.server.cpu_s),
            bench_cpu_s: spent(before.bench.cpu_s, self.bench.cpu_s),
            machine_busy_s: spent(before.machine_busy_s, self.machine_busy_s),
            server_rss_bytes: self.server.rss_bytes,
            server_thread: busiest(&before.server_threads, &self.server_threads, elapsed),
            bench_thread: busiest(&before.bench_threads, &self.bench_threads, elapsed),
            samples: Vec::new(),
        }
    }
}
