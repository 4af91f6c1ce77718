//! Figures by name: what they are called, in which unit they are told, and which way is better.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::demo::latency::{Latencies, SummaryUs};
use crate::demo::{per_second, tenths};

/// What was measured, by name. Groups of figures stand under a name of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(Map<String, Value>);

impl Figures {
    /// Notes a figure, if there is one.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if !value.is_null() {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Notes how often something happened, and how often in a second: `deliveries` and
    /// `deliveries_per_s`.
    pub(crate) fn count(&mut self, name: &str, count: u64, elapsed: Duration) {
        self.set(name, count);
        self.set(&format!("{name}_per_s"), tenths(per_second(count, elapsed)));
    }

    /// Notes the percentiles of latencies, if there are any.
    pub(crate) fn latency(&mut self, latencies: &Latencies) {
        let Some(summary) = latencies.summary_us() else { return };
        let SummaryUs { p50_us, p95_us, p99_us, p999_us, max_us } = summary;
        for (name, us) in [
            ("p50_us", p50_us),
            ("p95_us", p95_us),
            ("p99_us", p99_us),
            ("p999_us", p999_us),
            ("max_us", max_us),
        ] {
            self.set(name, us);
        }
    }

    /// Notes a group.
    pub(crate) fn group(&mut self, name: &str, group: Self) {
        self.0.insert(name.to_owned(), Value::Object(group.0));
    }

    /// A figure; a dot leads into a group.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        let mut names = name.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |group, name| group.get(name))?.as_f64()
    }
}

/// A kind of figure that people are shown and runs are compared by.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
}

/// In which unit a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Count,
    /// Microseconds.
    Us,
    Seconds,
    SecondsPerMillion,
    Bytes,
    Kib,
    Ratio,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
    Neither,
}

impl Kind {
    /// What it is called above a column: short, and in two lines where one would be long.
    pub(crate) fn column(&self) -> String {
        self.label.trim_start_matches("latency ").replace(" per ", "\nper ")
    }
}

macro_rules! kinds {
    ($($name:literal $label:literal $unit:ident $better:ident)+) => {
        &[$(Kind { name: $name, label: $label, unit: Unit::$unit, better: Better::$better }),+]
    };
}

/// All kinds, in the order in which they are shown.
pub(crate) const KINDS: &[Kind] = kinds! {
    "deliveries_per_s" "deliveries" PerSecond Higher
    "acknowledged_per_s" "records acknowledged" PerSecond Higher
    "votes_per_s" "votes" PerSecond Higher
    "connections_open" "connections open" Count Higher
    "connections_failed" "connections that could not be opened" Count Lower
    "connect_s" "time to open them" Seconds Lower
    "pings_answered" "pings answered" Count Neither
    "missing" "records missing" Count Lower
    "p50_us" "latency p50" Us Lower
    "p95_us" "latency p95" Us Lower
    "p99_us" "latency p99" Us Lower
    "p999_us" "latency p99.9" Us Lower
    "max_us" "latency max" Us Lower
    "each_watcher.p50_us" "to each watcher p50" Us Lower
    "each_watcher.p99_us" "to each watcher p99" Us Lower
    "each_watcher.max_us" "to each watcher max" Us Lower
    "reach_all_us" "one record to all" Us Lower
    "flood_acknowledged_per_s" "of the flood, taken" PerSecond Neither
    "flood_refused_per_s" "of the flood, refused" PerSecond Neither
    "flood_p50_ratio" "p50 in the flood to before" Ratio Lower
    "flood_p99_ratio" "p99 in the flood to before" Ratio Lower
    "recovered_s" "back to normal after" Seconds Lower
    "server_cpu_s_per_million" "server CPU per million" SecondsPerMillion Lower
    "kib_per_connection" "server memory per connection" Kib Lower
    "kib_per_1000_topics" "memory of all nodes per 1,000 topics" Kib Lower
    "server_rss_before_bytes" "server memory before" Bytes Lower
    "server_rss_peak_bytes" "server memory at most" Bytes Lower
    "server_rss_bytes" "server memory" Bytes Lower
};

impl Unit {
    /// The figure for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{} /s", thousands(value)),
            Self::Count => thousands(value),
            Self::Us if value < 1000.0 => format!("{value:.0} µs"),
            Self::Us if value < 1_000_000.0 => format!("{} ms", digits(value / 1000.0)),
            Self::Us => format!("{} s", digits(value / 1_000_000.0)),
            Self::Seconds => format!("{} s", digits(value)),
            Self::SecondsPerMillion if value < 1.0 => format!("{value:.4} s"),
            Self::SecondsPerMillion => format!("{} s", digits(value)),
            Self::Bytes => format!("{} MiB", digits(value / 1024.0 / 1024.0)),
            Self::Kib => format!("{} KiB", digits(value)),
            Self::Ratio => format!("{} times", digits(value)),
        }
    }
}

impl Unit {
    /// The lowest and the highest of a figure, with the unit once where both have the same.
    pub(crate) fn show_range(self, low: f64, high: f64) -> String {
        let (low, high) = (self.show(low), self.show(high));
        match (low.rsplit_once(' '), high.rsplit_once(' ')) {
            (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} – {high}"),
            _ => format!("{low} – {high}"),
        }
    }
}

/// Three digits that say something, or all that stand before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// Whole, with commas.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_with_the_digits_that_matter() {
        for (unit, value, shown) in [
            (Unit::PerSecond, 9_376_000.4, "9,376,000 /s"),
            (Unit::PerSecond, 12.0, "12 /s"),
            (Unit::Count, 1000.0, "1,000"),
            (Unit::Us, 350.0, "350 µs"),
            (Unit::Us, 4_400.0, "4.40 ms"),
            (Unit::Us, 70_100.0, "70.1 ms"),
            (Unit::Us, 1_250_000.0, "1.25 s"),
            (Unit::Bytes, 74_448_896.0, "71.0 MiB"),
            (Unit::Bytes, 2_147_483_648.0, "2,048 MiB"),
            (Unit::SecondsPerMillion, 0.09204, "0.0920 s"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
        assert_eq!(Unit::Us.show_range(330.0, 338.0), "330 – 338 µs");
        assert_eq!(Unit::Us.show_range(998.0, 2_940.0), "998 µs – 2.94 ms");
        assert_eq!(Unit::Count.show_range(1.0, 2.0), "1 – 2");
    }

    #[test]
    fn a_dot_leads_into_a_group() {
        let (mut figures, mut group) = (Figures::default(), Figures::default());
        group.set("p50_us", 5_u64);
        figures.group("each_watcher", group);
        figures.set("limit", None::<u64>);
        assert_eq!(figures.get("each_watcher.p50_us"), Some(5.0));
        assert_eq!(figures.get("each_watcher"), None);
        assert_eq!(figures.get("p50_us"), None);
        assert_eq!(figures.get("limit"), None);
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::HashSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }
}
