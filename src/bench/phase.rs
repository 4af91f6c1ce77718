//! The time that is measured: after the warm-up, and the same for every task.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::args::RunArgs;
use super::process::{Usage, UsageSource, machine_busy_s};
use crate::cli::CliError;

const WARM_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Whether what happens now counts. Cheap to ask, for tasks that ask at each event.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

/// What the measured time was, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq)]
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

    /// Lets the warm-up pass, then the measured time. `begin` is called between the two.
    ///
    /// # Errors
    /// When the server's usage was to be read from its metrics and cannot be.
    pub(crate) async fn run(
        &self,
        args: &RunArgs,
        server: UsageSource,
        begin: impl FnOnce(),
    ) -> Result<Measured, CliError> {
        debug_assert_eq!(self.0.load(Ordering::Relaxed), WARM_UP);
        tokio::time::sleep(Duration::from_secs(args.warmup_seconds.into())).await;
        let before = Usages::read(server).await?;
        begin();
        self.0.store(MEASURING, Ordering::Relaxed);
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
        self.0.store(OVER, Ordering::Relaxed);
        let elapsed = began.elapsed();
        let after = Usages::read(server).await?;
        // The system counts in hundredths; further digits are noise of the subtraction.
        let spent = |before: Option<f64>, after: Option<f64>| {
            Some(((after? - before?) * 100.0).round() / 100.0)
        };
        Ok(Measured {
            elapsed,
            server_cpu_s: spent(before.server.cpu_s, after.server.cpu_s),
            bench_cpu_s: spent(before.bench.cpu_s, after.bench.cpu_s),
            machine_busy_s: spent(before.machine_busy_s, after.machine_busy_s),
            server_rss_bytes: after.server.rss_bytes,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Usages {
    server: Usage,
    bench: Usage,
    machine_busy_s: Option<f64>,
}

impl Usages {
    async fn read(server: UsageSource) -> Result<Self, CliError> {
        let failed = |message| CliError { exit_code: super::USAGE, message };
        Ok(Self {
            server: server.read().await.map_err(failed)?,
            bench: UsageSource::own().read().await.map_err(failed)?,
            machine_busy_s: machine_busy_s(),
        })
    }
}
