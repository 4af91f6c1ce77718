//! The latency workload: a fixed rate of deliveries, to one or several numbers of subscribers, in
//! several rounds.

use serde_json::{Map, Value};

use super::args::LatencyArgs;
use super::delivery::{Delivered, Load, Loop};
use super::fanout::{OPEN_LATENCY, records};
use super::pace::{Rate, SECOND_NS};
use super::phase::Measured;
use super::progress::Progress;
use super::report::{Case, Distribution, Figures, Plot, Report, cpu_s_per_million};
use super::sizes::Sizes;
use super::target::Target;
use crate::cli::CliError;
use crate::demo::latency::Latencies;

/// The figures that rounds are compared by.
const COMPARED: [&str; 7] = [
    "deliveries_per_s",
    "p50_us",
    "p95_us",
    "p99_us",
    "p999_us",
    "max_us",
    "server_cpu_s_per_million",
];

/// One number of subscribers: what its rounds have brought.
#[derive(Default)]
struct Turn {
    subscribers: u32,
    rounds: Vec<Figures>,
    latency: Latencies,
    newest: Measured,
}

/// Measures every number of subscribers once in each round, so that what happens to the machine
/// meanwhile happens to all of them.
///
/// # Errors
/// When the server refuses something, a connection breaks, or a subscriber stands still.
pub(crate) async fn run(
    args: &LatencyArgs,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    let mut report = Report::new("latency", target, sizes);
    report.explain_latency(OPEN_LATENCY);
    let mut turns: Vec<Turn> = args
        .subscribers
        .iter()
        .map(|subscribers| Turn { subscribers: *subscribers, ..Turn::default() })
        .collect();
    let mut whole = Measured::default();
    for _ in 0..args.rounds {
        for turn in &mut turns {
            let delivered = load(args, turn.subscribers).run(target, progress).await?;
            let named = |fault| format!("{} subscribers: {fault}", turn.subscribers);
            report.add_faults(delivered.read.faults.iter().map(named));
            add(&mut whole, &delivered.measured);
            turn.take(delivered);
        }
    }
    for turn in turns {
        let name = turn.name();
        if turn.latency.count() == 0 {
            report.add_faults([format!("{name}: no deliveries in the measured time")]);
        }
        report.distribution(Distribution::of(name.as_str(), &turn.latency));
        let samples = turn.newest.samples.iter();
        let points = samples.map(|sample| (sample.at.as_secs_f64(), sample.per_s)).collect();
        report.timeline(Plot::PerSecond, &name, points);
        report.case(turn.case());
    }
    report.cost(&whole, Some(args.rate.get()));
    Ok(report)
}

fn load(args: &LatencyArgs, subscribers: u32) -> Load {
    Load {
        subscribers,
        connections: args.connections.map_or(subscribers, |max| max.min(subscribers)),
        publishers: 1,
        batch: args.batch.shape(),
        threads: args.threads.count(),
        // Each record is delivered to all of them.
        loop_: Loop::Open(Rate {
            records: records(args.rate),
            per_ns: u64::from(subscribers) * SECOND_NS,
        }),
        times: args.times,
    }
}

/// Adds up what runs have cost. The time of all samples would be none of them.
fn add(whole: &mut Measured, run: &Measured) {
    let sum = |one: Option<f64>, other: Option<f64>| Some(one.unwrap_or(0.0) + other?);
    whole.elapsed += run.elapsed;
    whole.server_cpu_s = sum(whole.server_cpu_s, run.server_cpu_s);
    whole.bench_cpu_s = sum(whole.bench_cpu_s, run.bench_cpu_s);
    whole.machine_busy_s = sum(whole.machine_busy_s, run.machine_busy_s);
    whole.server_rss_bytes = run.server_rss_bytes;
}

impl Turn {
    fn name(&self) -> String {
        match self.subscribers {
            1 => "1 subscriber".to_owned(),
            count => format!("{count} subscribers"),
        }
    }

    fn take(&mut self, Delivered { measured, read }: Delivered) {
        let mut figures = Figures::default();
        figures.count("deliveries", read.deliveries, measured.elapsed);
        figures.latency(&read.latency);
        figures.set("missing", read.missing);
        let per_million = cpu_s_per_million(&measured, read.deliveries);
        figures.set("server_cpu_s_per_million", per_million);
        self.rounds.push(figures);
        self.latency.merge(read.latency);
        self.newest = measured;
    }

    fn case(self) -> Case {
        let name = self.name();
        let (figures, spread) = median_and_spread(&self.rounds);
        Case { name, figures, spread, rounds: self.rounds }
    }
}

/// Of each figure the median of the rounds, and the lowest and the highest.
fn median_and_spread(rounds: &[Figures]) -> (Figures, Map<String, Value>) {
    let (mut figures, mut spread) = (Figures::default(), Map::new());
    for name in COMPARED {
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| round.get(name)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.get(values.len() / 2).copied();
        // Of an even number the mean of both in the middle.
        let other = values.get(values.len().saturating_sub(1) / 2).copied();
        let median = middle.zip(other).map(|(one, other)| f64::midpoint(one, other));
        figures.set(name, median);
        if let (Some(low), Some(high)) = (values.first(), values.last()) {
            spread.insert(name.to_owned(), serde_json::json!([low, high]));
        }
    }
    (figures, spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(p50_us: u64, max_us: u64) -> Figures {
        let mut figures = Figures::default();
        figures.set("p50_us", p50_us);
        figures.set("max_us", max_us);
        figures
    }

    #[test]
    fn the_median_stands_for_the_rounds_and_the_ends_beside_it() {
        let (figures, spread) = median_and_spread(&[round(5, 90), round(1, 50), round(2, 70)]);
        assert_eq!((figures.get("p50_us"), figures.get("max_us")), (Some(2.0), Some(70.0)));
        assert_eq!(spread["p50_us"], serde_json::json!([1.0, 5.0]));
        let (figures, _) = median_and_spread(&[round(4, 1), round(1, 1)]);
        assert_eq!(figures.get("p50_us"), Some(2.5));
        assert_eq!(figures.get("p99_us"), None);
    }
}
