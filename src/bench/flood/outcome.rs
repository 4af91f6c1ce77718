//! What a flood did to the others.

use std::time::Duration;

use super::STEP_MS;
use crate::bench::args::FloodArgs;
use crate::bench::report::{Case, Distribution, Figures, Plot, Report, thousandths};
use crate::bench::subscribers::Read;
use crate::demo::latency::Latencies;

/// The others are back to normal when their p99 is at most so many times what it was before, or what it
/// was in the worst part of that time: one stall of the machine is a hundredth of a part.
const NORMAL: f64 = 2.0;

/// One look at the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Since the measured time began.
    pub(super) at: Duration,
    /// Records of the flood so far, and publishes that were refused.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) rss_bytes: Option<u64>,
}

/// Everything that was seen.
pub(super) struct Outcome<'a> {
    pub(super) args: &'a FloodArgs,
    /// Latencies of the others, in parts of [`STEP_MS`].
    pub(super) parts: Vec<Latencies>,
    pub(super) samples: Vec<Sample>,
    pub(super) read: Read,
}

impl Outcome<'_> {
    /// Puts it into a report.
    pub(super) fn tell(self, report: &mut Report) {
        let (rises, ebbs) = self.args.flood_s();
        let step = Duration::from_millis(STEP_MS);
        let part = |at: Duration| usize::try_from(at.as_millis() / step.as_millis()).unwrap_or(0);
        let (rises_at, ebbs_at) = (part(rises), part(ebbs));
        let calm = together(self.parts.get(..rises_at));
        // The part in which the flood begins and the one after its end are neither.
        let flood = together(self.parts.get(rises_at + 1..ebbs_at));
        let after = together(self.parts.get(ebbs_at + 1..));
        report.explain_latency(
            "of the others: from when a record was to be published (the schedule, so free of \
             coordinated omission) to its delivery",
        );
        self.compare(&calm, &flood, report);
        self.recovery(self.normal_us(&calm, rises_at), ebbs_at, report);
        self.load(rises_at, ebbs_at, report);
        for (name, latencies) in [("before", calm), ("flood", flood), ("after", after)] {
            let mut figures = Figures::default();
            figures.set("deliveries", latencies.count());
            figures.latency(&latencies);
            report.distribution(Distribution::of(name, &latencies));
            report.case(Case { name: name.to_owned(), figures, ..Case::default() });
        }
        self.plot(report);
        report.figures().set("missing", self.read.missing);
        report.add_faults(self.read.faults);
    }

    fn compare(&self, calm: &Latencies, flood: &Latencies, report: &mut Report) {
        for (name, quantile) in [("flood_p50_ratio", 0.5), ("flood_p99_ratio", 0.99)] {
            let of = |latencies: &Latencies| latencies.at_quantile_us(quantile).map(exact);
            let ratio = of(flood).zip(of(calm)).map(|(flood, calm)| flood / calm);
            report.figures().set(name, ratio.map(|ratio| (ratio * 100.0).round() / 100.0));
        }
    }

    /// What the p99 of a part is at most where all is normal.
    fn normal_us(&self, calm: &Latencies, rises_at: usize) -> Option<f64> {
        let parts = self.parts.get(..rises_at).unwrap_or_default();
        let worst = parts.iter().filter_map(|part| part.at_quantile_us(0.99)).max().map(exact)?;
        Some(worst.max(exact(calm.at_quantile_us(0.99)?) * NORMAL))
    }

    /// When the others were back to normal for good.
    fn recovery(&self, normal_us: Option<f64>, ebbs_at: usize, report: &mut Report) {
        let Some(normal_us) = normal_us else { return };
        let after = self.parts.get(ebbs_at..).unwrap_or_default();
        let is_slow =
            |part: &Latencies| part.at_quantile_us(0.99).is_none_or(|us| exact(us) > normal_us);
        let slow = after.iter().rposition(is_slow).map_or(0, |last| last + 1);
        match slow == after.len() {
            true => report.add_faults(["the others were not back to normal at the end".to_owned()]),
            false => {
                let recovered = Duration::from_millis(STEP_MS) * u32::try_from(slow).unwrap_or(0);
                report.figures().set("recovered_s", thousandths(recovered));
            }
        }
    }

    /// What the flood was, and what it took.
    fn load(&self, rises_at: usize, ebbs_at: usize, report: &mut Report) {
        let figures = report.figures();
        let rss = |samples: Option<&[Sample]>| {
            samples.unwrap_or_default().iter().filter_map(|sample| sample.rss_bytes).max()
        };
        figures.set("server_rss_before_bytes", rss(self.samples.get(..=rises_at)));
        figures.set("server_rss_peak_bytes", rss(Some(&self.samples)));
        let (first, last) = (self.samples.get(rises_at), self.samples.get(ebbs_at));
        if let (Some(first), Some(last)) = (first, last) {
            let elapsed = last.at.saturating_sub(first.at);
            figures.count("flood_acknowledged", last.acknowledged - first.acknowledged, elapsed);
            figures.count("flood_refused", last.refused - first.refused, elapsed);
        }
    }

    fn plot(&self, report: &mut Report) {
        let step_s = Duration::from_millis(STEP_MS).as_secs_f64();
        let at_s = |part: u32| f64::from(part + 1) * step_s;
        for (name, quantile) in [("p50 of the others", 0.5), ("p99 of the others", 0.99)] {
            let points = (0_u32..).zip(&self.parts).filter_map(|(part, latencies)| {
                Some((at_s(part), exact(latencies.at_quantile_us(quantile)?)))
            });
            report.timeline(Plot::LatencyUs, name, points.collect());
        }
        let others = (0_u32..).zip(&self.parts);
        let others =
            others.map(|(part, latencies)| (at_s(part), exact(latencies.count()) / step_s));
        report.timeline(Plot::PerSecond, "the others, delivered", others.collect());
        let pairs = || self.samples.iter().zip(self.samples.iter().skip(1));
        let per_s = |of: fn(&Sample) -> u64| -> Vec<(f64, f64)> {
            let rate = |(before, now): (&Sample, &Sample)| {
                let elapsed_s = now.at.saturating_sub(before.at).as_secs_f64();
                (now.at.as_secs_f64(), exact(of(now) - of(before)) / elapsed_s.max(f64::EPSILON))
            };
            pairs().map(rate).collect()
        };
        report.timeline(Plot::PerSecond, "the flood, taken", per_s(|sample| sample.acknowledged));
        report.timeline(Plot::PerSecond, "the flood, refused", per_s(|sample| sample.refused));
        let memory = self.samples.iter();
        let memory = memory.filter_map(|one| Some((one.at.as_secs_f64(), exact(one.rss_bytes?))));
        report.timeline(Plot::MemoryBytes, "server", memory.collect());
    }
}

fn together(parts: Option<&[Latencies]>) -> Latencies {
    let mut all = Latencies::default();
    parts.unwrap_or_default().iter().for_each(|part| all.merge(part.clone()));
    all
}

#[expect(clippy::cast_precision_loss, reason = "figures of a run are far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}
