//! What a bench measured: as one JSON object for programs, as a table for people.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use serde::Serialize;

use super::limit::Limit;
use super::phase::Measured;
use super::sizes::Sizes;
use super::target::Target;
use crate::cli::CliError;
use crate::demo::latency::SummaryUs;
use crate::demo::{per_second, tenths};

/// What was counted in the measured time.
#[derive(Clone, Debug)]
pub(crate) enum Figures {
    Fanout { deliveries: u64, latency: Option<SummaryUs>, missing: u64 },
    Tally { votes: u64, latency_each: Option<SummaryUs>, latency: Option<SummaryUs> },
}

/// Everything to tell.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    transport: String,
    url: Option<String>,
    sizes: Sizes,
    measured: Measured,
    figures: Figures,
    faults: Vec<String>,
    processors: usize,
}

#[derive(Serialize)]
struct Object<'a> {
    workload: Workload<'a>,
    elapsed_s: f64,
    #[serde(flatten)]
    counted: Counted,
    /// What the latencies below are measured from and to.
    latency: &'static str,
    #[serde(flatten)]
    percentiles: Option<SummaryUs>,
    server_cpu_s: Option<f64>,
    server_cpu_s_per_million: Option<f64>,
    server_rss_bytes: Option<u64>,
    bench_cpu_s: Option<f64>,
    machine_busy_s: Option<f64>,
    processors: usize,
    limit: Limit,
    faults: &'a [String],
}

#[derive(Serialize)]
struct Workload<'a> {
    kind: &'static str,
    transport: &'a str,
    url: Option<&'a str>,
    #[serde(flatten)]
    sizes: &'a Sizes,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Counted {
    Fanout { deliveries: u64, deliveries_per_s: f64, missing: u64 },
    Tally { votes: u64, votes_per_s: f64, each_watcher: Option<SummaryUs> },
}

impl Report {
    /// A report of one run. Nothing counted at all is a fault.
    pub(crate) fn new(
        target: &Target,
        sizes: Sizes,
        measured: Measured,
        figures: Figures,
        mut faults: Vec<String>,
    ) -> Self {
        if figures.count() == 0 {
            faults.push(format!("no {} in the measured time", figures.noun()));
        }
        Self {
            transport: target.transport().to_owned(),
            url: target.foreign_url().map(str::to_owned),
            sizes,
            measured,
            figures,
            faults,
            processors: available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }

    /// Something else went wrong, after the measured time.
    pub(crate) fn add_fault(&mut self, fault: Option<String>) {
        self.faults.extend(fault);
    }

    /// What went wrong.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The object for programs.
    ///
    /// # Errors
    /// Never for these types.
    pub(crate) fn json(&self) -> Result<String, CliError> {
        let elapsed_s = (self.measured.elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
        let object = Object {
            workload: Workload {
                kind: self.figures.kind(),
                transport: &self.transport,
                url: self.url.as_deref(),
                sizes: &self.sizes,
            },
            elapsed_s,
            counted: self.counted(),
            latency: self.latency_meaning(),
            percentiles: self.figures.latency(),
            server_cpu_s: self.measured.server_cpu_s,
            server_cpu_s_per_million: self.cpu_s_per_million(),
            server_rss_bytes: self.measured.server_rss_bytes,
            bench_cpu_s: self.measured.bench_cpu_s,
            machine_busy_s: self.measured.machine_busy_s,
            processors: self.processors,
            limit: self.limit(),
            faults: &self.faults,
        };
        serde_json::to_string(&object).map_err(|error| CliError::usage(error.to_string()))
    }

    fn rate(&self) -> f64 {
        per_second(self.figures.count(), self.measured.elapsed)
    }

    fn counted(&self) -> Counted {
        let per_s = tenths(self.rate());
        match self.figures {
            Figures::Fanout { deliveries, missing, .. } => {
                Counted::Fanout { deliveries, deliveries_per_s: per_s, missing }
            }
            Figures::Tally { votes, latency_each, .. } => {
                Counted::Tally { votes, votes_per_s: per_s, each_watcher: latency_each }
            }
        }
    }

    fn cpu_s_per_million(&self) -> Option<f64> {
        let millions = per_second(self.figures.count(), std::time::Duration::from_secs(1_000_000));
        let cpu_s = self.measured.server_cpu_s.filter(|_| millions > 0.0)?;
        Some((cpu_s / millions * 10_000.0).round() / 10_000.0)
    }

    fn latency_meaning(&self) -> &'static str {
        match (&self.figures, self.sizes.rate) {
            (Figures::Fanout { .. }, Some(_)) => {
                "from when a record was to be published (the schedule, so free of coordinated \
                 omission) to its delivery; the oldest record of each delivery"
            }
            (Figures::Fanout { .. }, None) => {
                "from publishing a record into a full window to its delivery; the oldest record \
                 of each delivery"
            }
            (Figures::Tally { .. }, _) => {
                "from sending a vote until the last watcher holds a value that contains it"
            }
        }
    }

    fn limit(&self) -> Limit {
        Limit::of(&self.measured, self.processors, self.sizes.rate, self.url.is_none())
    }

    /// The table for people.
    pub(crate) fn summary(&self) -> String {
        let mut out = String::new();
        self.write_summary(&mut out).map_or_else(|error| error.to_string(), |()| out)
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        let (kind, noun) = (self.figures.kind(), self.figures.noun());
        writeln!(out, "{kind} over {}: {}", self.transport, self.sizes)?;
        let seconds = self.measured.elapsed.as_secs_f64();
        let (count, rate) = (self.figures.count(), self.rate());
        writeln!(out, "{noun:<18} {rate:>12.0} /s   ({count} in {seconds:.1} s)")?;
        if let Some(SummaryUs { p50_us, p95_us, p99_us, p999_us, max_us }) = self.figures.latency()
        {
            writeln!(
                out,
                "latency (µs)       {p50_us:>12} p50  {p95_us} p95  {p99_us} p99  {p999_us} p99.9  \
                 {max_us} max"
            )?;
            writeln!(out, "                   {}", self.latency_meaning())?;
        }
        if let Figures::Tally { latency_each: Some(each), .. } = self.figures {
            let SummaryUs { p50_us, p95_us, p99_us, p999_us, max_us } = each;
            writeln!(
                out,
                "  to each watcher  {p50_us:>12} p50  {p95_us} p95  {p99_us} p99  {p999_us} p99.9  \
                 {max_us} max"
            )?;
        }
        if let (Some(cpu_s), Some(per_million)) =
            (self.measured.server_cpu_s, self.cpu_s_per_million())
        {
            writeln!(out, "server CPU         {per_million:>12.4} s per million  ({cpu_s:.2} s)")?;
        }
        if let Some(bytes) = self.measured.server_rss_bytes {
            let kib = bytes / 1024;
            writeln!(out, "server memory      {kib:>12} KiB resident")?;
        }
        if let Some(cpu_s) = self.measured.bench_cpu_s {
            let machine_s = self.measured.machine_busy_s.unwrap_or(0.0);
            writeln!(out, "bench CPU          {cpu_s:>12.2} s  (all programs: {machine_s:.2} s)")?;
        }
        writeln!(out, "limit              {}", self.limit().explain(self.processors))?;
        for fault in &self.faults {
            writeln!(out, "WRONG              {fault}")?;
        }
        Ok(())
    }
}

impl Figures {
    fn kind(&self) -> &'static str {
        match self {
            Self::Fanout { .. } => "fanout",
            Self::Tally { .. } => "tally",
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::Fanout { .. } => "deliveries",
            Self::Tally { .. } => "votes",
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Fanout { deliveries, .. } => *deliveries,
            Self::Tally { votes, .. } => *votes,
        }
    }

    fn latency(&self) -> Option<SummaryUs> {
        match self {
            Self::Fanout { latency, .. } | Self::Tally { latency, .. } => *latency,
        }
    }
}

#[cfg(test)]
mod tests;
