//! Latencies: recorded in nanoseconds, kept in a histogram of microseconds, told in the unit that
//! the reader wants.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer latencies are recorded as this one: ten minutes.
const US_MAX: u64 = 600_000_000;
/// Three digits: each figure is within 0.1 % of the recorded one.
const DIGITS: u8 = 3;

/// A set of latencies between a microsecond and ten minutes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Option<Histogram<u64>>);

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct SummaryMs {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SummaryUs {
    pub(crate) p50_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl Latencies {
    /// Adds a latency that was met so many times; below a microsecond it counts as one.
    pub(crate) fn record(&mut self, latency_ns: u64, times: u64) {
        // The bounds are constants that the histogram accepts, which a test shows.
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, US_MAX, DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record_n((latency_ns / 1000).max(1), times);
        }
    }

    /// Adds all of another set.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(histogram), Some(other)) => {
                let added = histogram.add(&other);
                // Only a histogram of wider bounds could not be added, and all have the same.
                debug_assert_eq!(added, Ok(()));
            }
            (empty @ None, other) => *empty = other,
            (Some(_), None) => {}
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The microseconds that this share of them does not exceed; `None` without latencies.
    pub(crate) fn at_quantile_us(&self, quantile: f64) -> Option<u64> {
        self.0.as_ref().map(|histogram| histogram.value_at_quantile(quantile))
    }

    /// In milliseconds; `None` without latencies.
    pub(crate) fn summary_ms(&self) -> Option<SummaryMs> {
        let SummaryUs { p50_us, p95_us, p99_us, max_us, .. } = self.summary_us()?;
        // Exact: microseconds of ten minutes fit a float's 53 bits.
        let ms = |us: u64| u32::try_from(us).map_or(f64::INFINITY, f64::from) / 1000.0;
        Some(SummaryMs { p50: ms(p50_us), p95: ms(p95_us), p99: ms(p99_us), max: ms(max_us) })
    }

    /// In microseconds; `None` without latencies.
    pub(crate) fn summary_us(&self) -> Option<SummaryUs> {
        let histogram = self.0.as_ref()?;
        Some(SummaryUs {
            p50_us: histogram.value_at_quantile(0.5),
            p95_us: histogram.value_at_quantile(0.95),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut latencies = Latencies::default();
        for us in 1..=100_000_u64 {
            latencies.record(us * 1000, 1);
        }
        let summary = latencies.summary_us().unwrap();
        for (found, exact) in [
            (summary.p50_us, 50_000_f64),
            (summary.p95_us, 95_000.0),
            (summary.p99_us, 99_000.0),
            (summary.p999_us, 99_900.0),
            (summary.max_us, 100_000.0),
        ] {
            assert!((found as f64 / exact - 1.0).abs() <= 0.001, "{found} for {exact}");
        }
    }

    #[test]
    fn what_is_out_of_range_counts_as_the_nearest_that_is_not() {
        let mut latencies = Latencies::default();
        latencies.record(0, 1);
        latencies.record(u64::MAX, 1);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.summary_ms().unwrap().max >= 599_000.0);
    }

    #[test]
    fn merging_adds_every_latency() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        assert_eq!(one.summary_us(), None);
        other.record(5_000_000, 1);
        one.merge(other);
        let mut third = Latencies::default();
        third.record(9_000_000, 1);
        one.merge(third);
        assert_eq!(one.count(), 2);
        assert!((one.summary_ms().unwrap().max - 9.0).abs() < 0.01);
    }
}
