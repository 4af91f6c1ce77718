//! What the charts of a run show.

use super::chart::{Axis, Chart, Line, Scale, linear_ticks, log_ticks};
use crate::bench::report::figures::{Unit, thousands};
use crate::bench::report::{Baseline, Distribution, Plot, Report, Timeline};

/// The charts that a run has something for.
pub(super) fn charts(report: &Report, baseline: Option<&Baseline>) -> Vec<Chart> {
    let plots =
        [Plot::LatencyUs, Plot::PerSecond, Plot::Processors, Plot::Connections, Plot::MemoryBytes];
    let over_time = plots.into_iter().filter_map(|plot| over_time(plot, report, baseline));
    percentiles(report, baseline).into_iter().chain(over_time).collect()
}

const MIB: f64 = 1024.0 * 1024.0;

/// Shares that the table names.
const QUANTILES: [(f64, &str); 7] = [
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.95, "95 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (1.0, "slowest"),
];

fn percentiles(report: &Report, baseline: Option<&Baseline>) -> Option<Chart> {
    let mut all: Vec<(String, &Distribution)> = Vec::new();
    for distribution in &report.distributions {
        all.push((name_or(&distribution.name, "this run"), distribution));
    }
    if let Some(baseline) = baseline {
        for distribution in &baseline.report().distributions {
            all.push((before(&distribution.name, baseline), distribution));
        }
    }
    let lines: Vec<Line> = all
        .iter()
        .map(|(name, distribution)| Line { name: name.clone(), points: distribution.plotted() })
        .collect();
    let values = || lines.iter().flat_map(|line| &line.points);
    let (low, high) = ends(values().map(|(_, us)| *us))?;
    let (_, nines) = ends(values().map(|(place, _)| *place))?;
    let ticks = log_ticks(low, high);
    let scale = Scale::Log(*ticks.first()?, *ticks.last()?);
    let mut table = vec![vec!["no slower than".to_owned()]];
    if let Some(heads) = table.first_mut() {
        heads.extend(all.iter().map(|(name, _)| name.clone()));
    }
    for (quantile, label) in QUANTILES {
        let cells = all.iter().map(|(_, distribution)| at(distribution, quantile));
        table.push([label.to_owned()].into_iter().chain(cells).collect());
    }
    Some(Chart {
        id: "latency",
        title: "Latency by percentile".to_owned(),
        x: Axis { label: "share that is no slower", ..nines_axis(nines) },
        y: Axis {
            label: "latency",
            scale,
            ticks: ticks.into_iter().map(|us| (us, short_us(us))).collect(),
        },
        lines,
        table,
    })
}

fn nines_axis(nines: f64) -> Axis {
    let labels = ["90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    let places = (1_u32..).map(f64::from).zip(labels);
    let half = 2_f64.log10();
    let first = [(0.0, "0 %"), (half, "50 %")];
    let ticks = first.into_iter().chain(places).take_while(|(place, _)| *place <= nines);
    let ticks = ticks.map(|(place, label)| (place, label.to_owned())).collect();
    Axis { label: "", scale: Scale::Linear(0.0, nines.max(1.0)), ticks }
}

/// The latency of a share, from the nearest point that is not below it.
fn at(distribution: &Distribution, quantile: f64) -> String {
    let reached = |(share, _): &&(f64, u64)| *share >= quantile - 1e-9;
    let point = distribution.points.iter().find(reached);
    point.map_or_else(String::new, |(_, us)| {
        Unit::Us.show(u32::try_from(*us).map_or(f64::INFINITY, f64::from))
    })
}

fn over_time(plot: Plot, report: &Report, baseline: Option<&Baseline>) -> Option<Chart> {
    let of = |report: &Report| -> Vec<Timeline> {
        report.timelines.iter().filter(|line| line.plot == plot).cloned().collect()
    };
    let mut lines: Vec<Line> =
        of(report).into_iter().map(|Timeline { name, points, .. }| Line { name, points }).collect();
    // One line beside another one says something; four processors' lines would not.
    if let (Some(baseline), Plot::PerSecond) = (baseline, plot) {
        lines.extend(
            of(baseline.report())
                .into_iter()
                .map(|line| Line { name: before(&line.name, baseline), points: line.points }),
        );
    }
    let points = || lines.iter().flat_map(|line| &line.points);
    let (_, last_s) = ends(points().map(|(at_s, _)| *at_s))?;
    let (_, high) = ends(points().map(|(_, value)| *value))?;
    let (x_ticks, unit) = (linear_ticks(last_s), plot.unit());
    let y_ticks: Vec<f64> = linear_ticks(high / unit).into_iter().map(|tick| tick * unit).collect();
    let y_max = y_ticks.last().copied().filter(|max| *max > 0.0).unwrap_or(1.0);
    let show = plot.shows();
    let y_ticks = y_ticks.into_iter().map(|value| (value, show(value))).collect();
    Some(Chart {
        id: plot.id(),
        title: plot.title().to_owned(),
        x: Axis {
            label: "seconds",
            scale: Scale::Linear(0.0, last_s),
            ticks: x_ticks
                .into_iter()
                .filter(|s| *s <= last_s)
                .map(|s| (s, s.to_string()))
                .collect(),
        },
        y: Axis { label: plot.label(), scale: Scale::Linear(0.0, y_max), ticks: y_ticks },
        table: time_table(&lines, show),
        lines,
    })
}

fn time_table(lines: &[Line], show: fn(f64) -> String) -> Vec<Vec<String>> {
    let heads = lines.iter().map(|line| line.name.clone());
    let mut table = vec![["seconds".to_owned()].into_iter().chain(heads).collect::<Vec<_>>()];
    let rows = lines.iter().map(|line| line.points.len()).max().unwrap_or(0);
    for row in 0..rows {
        let at_s =
            lines.iter().find_map(|line| line.points.get(row)).map_or(0.0, |(at_s, _)| *at_s);
        let cell =
            |line: &Line| line.points.get(row).map_or_else(String::new, |(_, value)| show(*value));
        table.push([format!("{at_s:.2}")].into_iter().chain(lines.iter().map(cell)).collect());
    }
    table
}

impl Plot {
    fn id(self) -> &'static str {
        match self {
            Self::PerSecond => "throughput",
            Self::Processors => "processors",
            Self::Connections => "connections",
            Self::MemoryBytes => "memory",
            Self::LatencyUs => "latency-over-time",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::PerSecond => "Throughput over time",
            Self::Processors => "Processors in use",
            Self::Connections => "Connections open",
            Self::MemoryBytes => "Server memory",
            Self::LatencyUs => "Latency over time",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::Processors => "processors",
            Self::Connections => "connections",
            Self::MemoryBytes => "resident",
            Self::LatencyUs => "latency",
        }
    }

    /// What round numbers are counted in.
    fn unit(self) -> f64 {
        match self {
            Self::PerSecond | Self::Processors | Self::Connections | Self::LatencyUs => 1.0,
            Self::MemoryBytes => MIB,
        }
    }

    fn shows(self) -> fn(f64) -> String {
        match self {
            Self::PerSecond | Self::Connections => short,
            Self::Processors => |value| ((value * 100.0).round() / 100.0).to_string(),
            Self::LatencyUs => |value| Unit::Us.show(value),
            Self::MemoryBytes => |value| format!("{} MiB", (value / MIB * 10.0).round() / 10.0),
        }
    }
}

fn before(name: &str, baseline: &Baseline) -> String {
    let whole = baseline.name();
    if name.is_empty() { whole } else { format!("{name} ({whole})") }
}

fn name_or(name: &str, other: &str) -> String {
    if name.is_empty() { other.to_owned() } else { name.to_owned() }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |ends: Option<(f64, f64)>, value| {
        let (low, high) = ends.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// A round number of microseconds, as short as can be.
fn short_us(us: f64) -> String {
    match us {
        0.0..1_000.0 => format!("{us} µs"),
        1_000.0..1_000_000.0 => format!("{} ms", us / 1_000.0),
        _ => format!("{} s", us / 1_000_000.0),
    }
}

/// A count, as short as can be.
fn short(count: f64) -> String {
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    match count {
        0.0..10_000.0 => thousands(count),
        10_000.0..1_000_000.0 => format!("{} k", tenths(count / 1_000.0)),
        _ => format!("{} M", tenths(count / 1_000_000.0)),
    }
}
