//! What a bench measured: as one JSON object for programs, as a table for people.

use std::fmt::Write as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::thread::available_parallelism;

use serde::Serialize;

use super::args::RunArgs;
use super::phase::Measured;
use super::target::Target;
use crate::cli::CliError;
use crate::demo::latency::SummaryUs;
use crate::demo::{per_second, tenths};

/// Of all processors together: busier than this, they were the limit.
const BUSY: f64 = 0.9;

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sizes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscribers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writers: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) watchers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<u16>,
    /// Of the subscribers or the watchers.
    pub(crate) connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publishers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<u64>,
    /// Per second; `null`: as fast as possible.
    pub(crate) rate: Option<u32>,
    pub(crate) seconds: u32,
    pub(crate) warmup_seconds: u32,
}

impl Sizes {
    /// What every workload has; the rest is absent.
    pub(crate) fn of(run: &RunArgs, rate: Option<NonZeroU32>) -> Self {
        Self {
            rate: rate.map(NonZeroU32::get),
            seconds: run.seconds,
            warmup_seconds: run.warmup_seconds,
            ..Self::default()
        }
    }
}

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

/// What kept the figures from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    /// The rate that was asked for.
    Rate,
    /// The processors were busy, and the server used more of them.
    ProcessorsServer,
    /// The processors were busy, and the bench used more of them.
    ProcessorsBench,
    /// The processors were busy, most of all with other programs: measure again without those.
    ProcessorsOthers,
    /// The processors had time left: waiting for each other, or one busy thread.
    Waiting,
    /// The usage is not known.
    Unknown,
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

    /// Which side was the limit, as far as CPU times can tell.
    fn limit(&self) -> Limit {
        let Measured { elapsed, bench_cpu_s, machine_busy_s, .. } = self.measured;
        let (Some(bench), Some(machine)) = (bench_cpu_s, machine_busy_s) else {
            return Limit::Unknown;
        };
        // A server elsewhere does not share this machine's processors.
        let server = self.measured.server_cpu_s.filter(|_| self.url.is_none()).unwrap_or(0.0);
        let processors = u32::try_from(self.processors).map_or(f64::INFINITY, f64::from);
        if machine < BUSY * processors * elapsed.as_secs_f64() {
            return if self.sizes.rate.is_some() { Limit::Rate } else { Limit::Waiting };
        }
        let others = machine - bench - server;
        if others > bench.max(server) {
            Limit::ProcessorsOthers
        } else if bench > server {
            Limit::ProcessorsBench
        } else {
            Limit::ProcessorsServer
        }
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

impl Limit {
    fn explain(self, processors: usize) -> String {
        match self {
            Self::Rate => "the rate that was asked for".to_owned(),
            Self::ProcessorsServer => {
                format!("all {processors} processors were busy, more with the server")
            }
            Self::ProcessorsBench => format!(
                "all {processors} processors were busy, more with this bench than with the server"
            ),
            Self::ProcessorsOthers => format!(
                "all {processors} processors were busy, most with other programs: run this alone"
            ),
            Self::Waiting => "processors had time left: round trips or one busy thread".to_owned(),
            Self::Unknown => "not known without CPU times".to_owned(),
        }
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        let mut add = |count: Option<u64>, noun: &str| {
            parts.extend(count.map(|count| format!("{noun} {count}")));
        };
        add(self.publishers.map(u64::from), "publishers");
        add(self.subscribers.map(u64::from), "subscribers");
        add(self.writers.map(u64::from), "writers");
        add(self.in_flight.map(u64::from), "votes in flight on each");
        add(self.watchers.map(u64::from), "watchers");
        add(Some(self.connections.into()), "connections");
        add(self.payload_bytes.map(u64::from), "payload bytes");
        add(self.batch.map(u64::from), "records per publish");
        add(self.window, "window");
        add(self.rate.map(u64::from), "rate");
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(rate: Option<u32>, server_cpu_s: Option<f64>, bench_cpu_s: f64) -> Report {
        let latency = SummaryUs { p50_us: 50, p95_us: 95, p99_us: 99, p999_us: 100, max_us: 101 };
        Report {
            transport: "ws".to_owned(),
            url: None,
            sizes: Sizes { subscribers: Some(100), batch: Some(1), rate, ..Sizes::default() },
            measured: Measured {
                elapsed: Duration::from_secs(10),
                server_cpu_s,
                bench_cpu_s: Some(bench_cpu_s),
                machine_busy_s: Some(19.5),
                server_rss_bytes: Some(2048),
            },
            figures: Figures::Fanout { deliveries: 4_000_000, latency: Some(latency), missing: 0 },
            faults: Vec::new(),
            processors: 2,
        }
    }

    #[test]
    fn the_object_has_what_programs_look_for() {
        let object = report(None, Some(8.0), 3.0).json().unwrap();
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["deliveries_per_s"], 400_000.0);
        assert_eq!(object["server_cpu_s_per_million"], 2.0);
        assert_eq!(object["server_rss_bytes"], 2048);
        for (field, us) in
            [("p50_us", 50), ("p95_us", 95), ("p99_us", 99), ("p999_us", 100), ("max_us", 101)]
        {
            assert_eq!(object[field], us);
        }
        assert_eq!(object["workload"]["kind"], "fanout");
        assert_eq!(object["workload"]["subscribers"], 100);
        assert_eq!(object["workload"]["rate"], serde_json::Value::Null);
        assert_eq!(object["workload"].get("writers"), None);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let object = report(None, None, 3.0).json().unwrap();
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert!(object["server_cpu_s_per_million"].is_null());
        assert!(object["server_cpu_s"].is_null());
    }

    #[test]
    fn the_limit_is_who_used_more_of_busy_processors() {
        assert_eq!(report(None, Some(12.0), 7.0).limit(), Limit::ProcessorsServer);
        assert_eq!(report(Some(9), Some(7.0), 12.0).limit(), Limit::ProcessorsBench);
        assert_eq!(report(None, Some(5.0), 5.0).limit(), Limit::ProcessorsOthers);
    }

    #[test]
    fn idle_processors_are_not_the_limit() {
        let mut idle = report(None, Some(5.0), 5.0);
        idle.measured.machine_busy_s = Some(11.0);
        assert_eq!(idle.limit(), Limit::Waiting);
        idle.sizes.rate = Some(9);
        assert_eq!(idle.limit(), Limit::Rate);
        idle.measured.machine_busy_s = None;
        assert_eq!(idle.limit(), Limit::Unknown);
    }

    #[test]
    fn a_schedule_changes_what_latency_means_and_both_forms_say_so() {
        let scheduled = report(Some(9), Some(5.0), 5.0);
        assert!(scheduled.json().unwrap().contains("coordinated omission"));
        assert!(scheduled.summary().contains("coordinated omission"));
        assert!(!report(None, Some(5.0), 5.0).summary().contains("coordinated omission"));
    }
}
