//! What a run gives, and what several runs of the same thing give together.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    DeliveriesPerS,
    IncrementsPerS,
    AppendsPerS,
    CpuSPerMillion,
    P50Us,
    P99Us,
    P999Us,
    /// How late the load published what was due.
    LateP99Us,
    /// Shares of one processor.
    ServerShare,
    LoadShare,
    KibPerConnection,
}

impl Metric {
    /// The key in JSON, with its unit.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::DeliveriesPerS => "deliveries_per_s",
            Self::IncrementsPerS => "increments_per_s",
            Self::AppendsPerS => "appends_per_s",
            Self::CpuSPerMillion => "server_cpu_s_per_million",
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::P999Us => "p999_us",
            Self::LateP99Us => "published_late_p99_us",
            Self::ServerShare => "server_cpu_share",
            Self::LoadShare => "load_cpu_share",
            Self::KibPerConnection => "kib_per_connection",
        }
    }

    /// The column's heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::DeliveriesPerS => "deliveries/s",
            Self::IncrementsPerS => "increments/s",
            Self::AppendsPerS => "appends/s",
            Self::CpuSPerMillion => "CPU s per million",
            Self::P50Us => "p50 µs",
            Self::P99Us => "p99 µs",
            Self::P999Us => "p99.9 µs",
            Self::LateP99Us => "published late p99 µs",
            Self::ServerShare => "server CPU",
            Self::LoadShare => "load CPU",
            Self::KibPerConnection => "KiB per connection",
        }
    }

    /// A value for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::DeliveriesPerS
            | Self::IncrementsPerS
            | Self::AppendsPerS
            | Self::P50Us
            | Self::P99Us
            | Self::P999Us
            | Self::LateP99Us => thousands(value),
            Self::CpuSPerMillion if value < 1.0 => format!("{value:.3}"),
            Self::CpuSPerMillion => format!("{value:.2}"),
            Self::ServerShare | Self::LoadShare => format!("{:.0} %", value * 100.0),
            Self::KibPerConnection => format!("{value:.1}"),
        }
    }

    /// Whether the spread between runs is worth a reader's time.
    pub(crate) fn shows_spread(self) -> bool {
        !matches!(self, Self::ServerShare | Self::LoadShare | Self::LateP99Us)
    }
}

/// What one run gave.
pub(crate) type Sample = Vec<(Metric, f64)>;

/// One metric over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Of the runs that have the metric; `None` if none has.
    pub(crate) fn of(metric: Metric, samples: &[Sample]) -> Option<Self> {
        let of_metric = samples.iter().flatten().filter(|(found, _)| *found == metric);
        let mut values: Vec<f64> = of_metric.map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// Half the distance between the extremes, as a part of the median.
    pub(crate) fn spread(self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.max - self.min) / 2.0 / self.median }
    }
}

/// A whole number with a comma between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[f64]) -> Option<Summary> {
        let samples: Vec<Sample> = values
            .iter()
            .map(|value| vec![(Metric::P50Us, *value), (Metric::P99Us, 0.0)])
            .collect();
        Summary::of(Metric::P50Us, &samples)
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(summary(&[9.0, 1.0, 2.0]).map(|summary| summary.median), Some(2.0));
        assert_eq!(summary(&[4.0, 1.0, 2.0, 9.0]).map(|summary| summary.median), Some(3.0));
        assert_eq!(summary(&[5.0]), Some(Summary { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn the_spread_is_half_the_range_over_the_median() {
        assert_eq!(summary(&[8.0, 10.0, 14.0]).map(Summary::spread), Some(0.3));
        assert_eq!(summary(&[0.0, 0.0]).map(Summary::spread), Some(0.0));
    }

    #[test]
    fn values_are_shown_as_people_read_them() {
        assert_eq!(Metric::DeliveriesPerS.show(9_376_000.4), "9,376,000");
        assert_eq!(Metric::P50Us.show(120.0), "120");
        assert_eq!(Metric::P50Us.show(1000.0), "1,000");
        assert_eq!(Metric::CpuSPerMillion.show(0.0917), "0.092");
        assert_eq!(Metric::CpuSPerMillion.show(3.2), "3.20");
        assert_eq!(Metric::ServerShare.show(0.986), "99 %");
    }
}
