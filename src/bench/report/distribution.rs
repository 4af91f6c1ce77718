//! A latency distribution as the points of a percentile plot.

use serde::{Deserialize, Serialize};

use crate::demo::latency::Latencies;

/// Points for each further nine: 90 % to 99 %, 99 % to 99.9 %.
const POINTS_PER_NINE: u32 = 10;
/// Nines at most: one in a hundred million.
const NINES_MAX: u32 = 8;
/// Shares are kept with so many steps, which reads the same from any file.
const SHARE_STEPS: f64 = 1e10;

/// One distribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// Of what, if a run has several.
    pub(crate) name: String,
    /// Latencies in it.
    pub(crate) count: u64,
    /// The share that is no slower, and the microseconds that it takes; the last one is the
    /// slowest of all.
    pub(crate) points: Vec<(f64, u64)>,
}

impl Distribution {
    /// The distribution of these latencies; `None` without any.
    pub(crate) fn of(name: impl Into<String>, latencies: &Latencies) -> Option<Self> {
        let count = latencies.count();
        let max_us = latencies.summary_us()?.max_us;
        let quantile = |step| 1.0 - 10_f64.powf(-f64::from(step) / f64::from(POINTS_PER_NINE));
        let quantiles = (0..=NINES_MAX * POINTS_PER_NINE)
            .map(|step| (quantile(step) * SHARE_STEPS).round() / SHARE_STEPS)
            // Beyond it no single latency is left to tell apart.
            .take_while(|quantile| beyond(*quantile, count) >= 1.0);
        let point = |quantile| Some((quantile, latencies.at_quantile_us(quantile)?));
        let points = quantiles.filter_map(point).chain([(1.0, max_us)]).collect();
        Some(Self { name: name.into(), count, points })
    }

    /// The points with their place on the axis of a plot: 1 is 90 %, 2 is 99 %, 3 is 99.9 %. The
    /// slowest of all stands where it is alone.
    pub(crate) fn plotted(&self) -> Vec<(f64, f64)> {
        let alone = exact(self.count).max(1.0).log10();
        let place = |quantile: f64| (-(1.0 - quantile).log10()).min(alone);
        self.points.iter().map(|(quantile, us)| (place(*quantile), exact(*us))).collect()
    }
}

/// How many of so many are slower than this share.
fn beyond(quantile: f64, count: u64) -> f64 {
    // A hair more, because 1 - 0.999 is a little less than a thousandth.
    (1.0 - quantile) * exact(count) * 1.000_001
}

fn exact(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let count = count as f64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(count: u64) -> Distribution {
        let mut latencies = Latencies::default();
        (1..=count).for_each(|us| latencies.record(us * 1000, 1));
        Distribution::of("", &latencies).unwrap()
    }

    #[test]
    fn points_go_from_the_fastest_to_the_slowest() {
        let Distribution { points, count, .. } = uniform(10_000);
        assert_eq!((points[0], count), ((0.0, 1), 10_000));
        // Four nines, ten points each, and both ends.
        assert_eq!(points.len(), 42);
        let (quantile, us) = points[20];
        assert!((quantile - 0.99).abs() < 1e-9 && us.abs_diff(9_900) <= 10, "{quantile} {us}");
        let (quantile, us) = points[41];
        assert!((quantile - 1.0).abs() < 1e-9 && us.abs_diff(10_000) <= 10, "{quantile} {us}");
        assert!(points.is_sorted());
    }

    #[test]
    fn the_slowest_stands_where_it_is_alone() {
        let plotted = uniform(1000).plotted();
        assert!(plotted[0].0.abs() < 1e-9);
        assert!((plotted[10].0 - 1.0).abs() < 1e-9);
        assert!((plotted.last().unwrap().0 - 3.0).abs() < 1e-9);
        assert!(plotted.is_sorted());
    }

    #[test]
    fn few_latencies_have_few_points_and_none_have_none() {
        assert_eq!(uniform(1).points, [(0.0, 1), (1.0, 1)]);
        assert_eq!(Distribution::of("", &Latencies::default()), None);
    }
}
