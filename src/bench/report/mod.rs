//! What a bench measured: as one JSON object for programs, as a table for people, as a page with
//! plots, and beside an earlier run.

mod baseline;
mod distribution;
mod figures;
mod html;
mod table;

pub(crate) use baseline::Baseline;
pub(crate) use distribution::Distribution;
pub(crate) use figures::Figures;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::limit::Limit;
use super::machine::Machine;
use super::phase::Measured;
use super::sizes::Sizes;
use super::target::Target;
use crate::cli::CliError;
use crate::demo::per_second;

/// The form of the object; another number is another form.
const FORMAT: u32 = 1;

/// Everything to tell about a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// See [`FORMAT`].
    format: u32,
    /// Of the program.
    version: String,
    workload: Asked,
    machine: Machine,
    #[serde(flatten)]
    figures: Figures,
    /// What the latencies are measured from and to.
    #[serde(skip_serializing_if = "String::is_empty")]
    latency: String,
    /// The parts of a run that has several, each with figures of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cases: Vec<Case>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    distributions: Vec<Distribution>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timelines: Vec<Timeline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    faults: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Asked {
    kind: String,
    transport: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(flatten)]
    sizes: Map<String, Value>,
}

/// A part of a run, measured in several rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The median of the rounds.
    #[serde(flatten)]
    pub(crate) figures: Figures,
    /// The lowest and the highest of the rounds.
    pub(crate) spread: Map<String, Value>,
    pub(crate) rounds: Vec<Figures>,
}

/// Something over the measured time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timeline {
    pub(crate) plot: Plot,
    pub(crate) name: String,
    /// Seconds since the measured time began, and the value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Which plot a timeline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plot {
    PerSecond,
    Processors,
    Connections,
    MemoryBytes,
    LatencyUs,
}

/// The whole run, whose name is empty, or a part of it.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    name: &'a str,
    figures: &'a Figures,
    case: Option<&'a Case>,
}

impl Part<'_> {
    /// The lowest and the highest that the rounds have brought of a figure.
    fn range(&self, name: &str) -> Option<(f64, f64)> {
        self.case?.range(name)
    }
}

impl Case {
    fn part(&self) -> Part<'_> {
        Part { name: &self.name, figures: &self.figures, case: Some(self) }
    }

    /// The lowest and the highest that the rounds have brought of a figure.
    fn range(&self, name: &str) -> Option<(f64, f64)> {
        match self.spread.get(name)?.as_array()?.as_slice() {
            [low, high] => Some((low.as_f64()?, high.as_f64()?)),
            _ => None,
        }
    }
}

impl Report {
    /// A report of a workload, without figures yet.
    pub(crate) fn new(kind: &str, target: &Target, sizes: &Sizes) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            workload: Asked {
                kind: kind.to_owned(),
                transport: target.transport().to_owned(),
                url: target.foreign_url().map(str::to_owned),
                sizes: sizes.object(),
            },
            machine: Machine::this(),
            ..Self::default()
        }
    }

    /// The figures, to add to.
    pub(crate) fn figures(&mut self) -> &mut Figures {
        &mut self.figures
    }

    /// Says what the latencies are measured from and to.
    pub(crate) fn explain_latency(&mut self, meaning: &str) {
        meaning.clone_into(&mut self.latency);
    }

    /// Adds what was counted in the measured time: `deliveries`, `votes`. Nothing at all is a
    /// fault.
    pub(crate) fn count(&mut self, what: &str, count: u64, measured: &Measured) {
        if count == 0 {
            self.faults.push(format!("no {what} in the measured time"));
        }
        self.figures.count(what, count, measured.elapsed);
        self.figures.set("server_cpu_s_per_million", cpu_s_per_million(measured, count));
        let points = measured.samples.iter().map(|sample| (sample.at.as_secs_f64(), sample.per_s));
        self.timeline(Plot::PerSecond, what, points.collect());
    }

    /// Adds what the measured time cost either side. `rate`: somebody asked for it.
    pub(crate) fn cost(&mut self, measured: &Measured, rate: Option<u32>) {
        let figures = &mut self.figures;
        figures.set("elapsed_s", thousandths(measured.elapsed));
        figures.set("server_cpu_s", measured.server_cpu_s);
        figures.set("bench_cpu_s", measured.bench_cpu_s);
        figures.set("machine_busy_s", measured.machine_busy_s);
        figures.set("server_rss_bytes", measured.server_rss_bytes);
        figures.set("processors", self.machine.processors as u64);
        let is_own = self.workload.url.is_none();
        self.limit = Some(Limit::of(measured, self.machine.processors, rate, is_own));
        let cpus = |of: fn(&super::phase::Sample) -> Option<f64>| -> Vec<(f64, f64)> {
            let samples = measured.samples.iter();
            samples.filter_map(|sample| Some((sample.at.as_secs_f64(), of(sample)?))).collect()
        };
        let (server, bench) = (cpus(|sample| sample.server_cpus), cpus(|sample| sample.bench_cpus));
        self.timeline(Plot::Processors, "server", server);
        self.timeline(Plot::Processors, "bench", bench);
    }

    /// Adds a timeline, unless it is empty.
    pub(crate) fn timeline(&mut self, plot: Plot, name: &str, points: Vec<(f64, f64)>) {
        if !points.is_empty() {
            self.timelines.push(Timeline { plot, name: name.to_owned(), points });
        }
    }

    /// Adds a distribution, if there is one.
    pub(crate) fn distribution(&mut self, distribution: Option<Distribution>) {
        self.distributions.extend(distribution);
    }

    /// Adds a part.
    pub(crate) fn case(&mut self, case: Case) {
        self.cases.push(case);
    }

    /// Adds what went wrong.
    pub(crate) fn add_faults(&mut self, faults: impl IntoIterator<Item = String>) {
        self.faults.extend(faults);
    }

    /// What went wrong.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The object for programs, with the ratios to a baseline if there is one.
    ///
    /// # Errors
    /// Never for these types.
    pub(crate) fn json(&self, baseline: Option<&Baseline>) -> Result<String, CliError> {
        let failed = |error: serde_json::Error| CliError::usage(error.to_string());
        let mut object = serde_json::to_value(self).map_err(failed)?;
        if let (Some(object), Some(baseline)) = (object.as_object_mut(), baseline) {
            object.insert("baseline".to_owned(), baseline.ratios(self));
        }
        serde_json::to_string(&object).map_err(failed)
    }

    /// The table for people.
    pub(crate) fn summary(&self, baseline: Option<&Baseline>) -> String {
        table::summary(self, baseline)
    }

    /// Writes the page with plots.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_page(
        &self,
        file: &Path,
        baseline: Option<&Baseline>,
    ) -> Result<(), CliError> {
        write(file, &html::page(self, baseline))
    }

    /// Saves the object.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, file: &Path) -> Result<(), CliError> {
        write(file, &(self.json(None)? + "\n"))
    }

    /// The whole run and its parts, with their names and figures.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let whole = Part { name: "", figures: &self.figures, case: None };
        [whole].into_iter().chain(self.cases.iter().map(Case::part))
    }

    /// What was measured, in a line.
    fn title(&self) -> String {
        format!("{} over {}", self.workload.kind, self.workload.transport)
    }
}

/// CPU seconds of the server for a million of these.
pub(crate) fn cpu_s_per_million(measured: &Measured, count: u64) -> Option<f64> {
    let millions = per_second(count, Duration::from_secs(1_000_000));
    let cpu_s = measured.server_cpu_s.filter(|_| millions > 0.0)?;
    Some((cpu_s / millions * 10_000.0).round() / 10_000.0)
}

/// Seconds, to the millisecond.
pub(crate) fn thousandths(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}

fn write(file: &Path, content: &str) -> Result<(), CliError> {
    std::fs::write(file, content)
        .map_err(|error| CliError::usage(format!("{} cannot be written: {error}", file.display())))
}

#[cfg(test)]
mod tests;
