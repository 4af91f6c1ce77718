//! A run beside an earlier one that was saved.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::figures::{Better, KINDS, Kind};
use super::{FORMAT, Part, Report};
use crate::bench::limit::Limit;
use crate::bench::sizes::{Sizes, show};
use crate::cli::CliError;

/// Ratios within this of 1 are no change.
const SAME: f64 = 0.05;

/// A saved run.
#[derive(Debug)]
pub(crate) struct Baseline {
    file: PathBuf,
    report: Report,
}

/// One figure of both runs.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// The part of the run; empty for the whole.
    pub(super) part: &'a str,
    pub(super) kind: &'static Kind,
    pub(super) now: f64,
    pub(super) before: f64,
    /// Whether rounds of both runs have brought the same.
    overlaps: bool,
}

impl Baseline {
    /// Reads a saved run.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub(crate) fn read(file: &Path) -> Result<Self, CliError> {
        let name = file.display();
        let refused = |rule: String| CliError::usage(format!("--baseline {name}: {rule}"));
        let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
        let report: Report = serde_json::from_str(&text).map_err(|error| {
            refused(format!("it is no saved run ({error}); save one with --save"))
        })?;
        if report.format != FORMAT {
            return Err(refused(format!(
                "its form is {}, and this program reads {FORMAT}: save it again with --save",
                report.format
            )));
        }
        Ok(Self { file: file.to_owned(), report })
    }

    /// Whether that run was asked for the same.
    ///
    /// # Errors
    /// The options that differ.
    pub(crate) fn check(&self, kind: &str, transport: &str, sizes: &Sizes) -> Result<(), CliError> {
        let there = &self.report.workload;
        let text = |text: &str| Value::String(text.to_owned());
        let here = sizes.object();
        let whole = |kind: &str, transport: &str, sizes: &Map<String, Value>| {
            let mut whole = sizes.clone();
            whole.insert("workload".to_owned(), text(kind));
            whole.insert("transport".to_owned(), text(transport));
            whole
        };
        let there = whole(&there.kind, &there.transport, &there.sizes);
        let here = whole(kind, transport, &here);
        let mut names: Vec<&String> = here.keys().chain(there.keys()).collect();
        names.sort();
        names.dedup();
        let value =
            |of: &Map<String, Value>, name: &str| show(of.get(name).unwrap_or(&Value::Null));
        let differing: Vec<String> = names
            .into_iter()
            .map(|name| (name, value(&there, name), value(&here, name)))
            .filter(|(_, there, here)| there != here)
            .map(|(name, there, here)| format!("{name} is {there} there and {here} here"))
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(CliError::usage(format!(
            "--baseline {} was measured with other options: {}; use the same options, or save \
             another baseline with --save",
            self.file.display(),
            differing.join(", ")
        )))
    }

    /// The file that it was read from, without its folder.
    pub(super) fn name(&self) -> String {
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// The saved run.
    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// The figures that both runs have, in the order in which they are shown.
    pub(super) fn rows<'a>(&self, now: &'a Report) -> Vec<Row<'a>> {
        let mut rows = Vec::new();
        for part in now.parts() {
            let before = self.report.parts().find(|before| before.name == part.name);
            let Some(before) = before else { continue };
            rows.extend(KINDS.iter().filter_map(|kind| row(kind, part, before)));
        }
        rows
    }

    /// What makes the comparison worth less, in words.
    pub(super) fn doubts(&self, now: &Report) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.report.machine != now.machine {
            doubts.push("the baseline was measured on another machine or kernel".to_owned());
        }
        for (which, run) in [("the baseline", &self.report), ("this run", now)] {
            if run.limit == Some(Limit::ProcessorsOthers) {
                doubts.push(format!("{which} shared the processors with other programs"));
            }
        }
        if !self.report.faults.is_empty() {
            doubts.push(format!("the baseline has faults: {}", self.report.faults.join("; ")));
        }
        doubts
    }

    /// The ratios for programs.
    pub(super) fn ratios(&self, now: &Report) -> Value {
        let mut whole = Map::new();
        let mut parts: Map<String, Value> = Map::new();
        for row in self.rows(now) {
            let ratio = row.ratio().map_or(Value::Null, |ratio| json!(thousandths(ratio)));
            let ratios = match row.part {
                "" => Some(&mut whole),
                part => {
                    parts.entry(part).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
                }
            };
            if let Some(ratios) = ratios {
                ratios.insert(row.kind.name.to_owned(), ratio);
            }
        }
        json!({ "file": self.file, "version": self.report.version, "ratios": whole, "cases": parts,
                "doubts": self.doubts(now) })
    }
}

fn row<'a>(kind: &'static Kind, now: Part<'a>, before: Part<'_>) -> Option<Row<'a>> {
    let ranges = now.range(kind.name).zip(before.range(kind.name));
    Some(Row {
        part: now.name,
        kind,
        now: now.figures.get(kind.name)?,
        before: before.figures.get(kind.name)?,
        overlaps: ranges.is_some_and(|(now, before)| now.0 <= before.1 && before.0 <= now.1),
    })
}

impl Row<'_> {
    /// This run's figure for one of the baseline's; `None` when that is nothing.
    pub(super) fn ratio(&self) -> Option<f64> {
        if self.before > 0.0 {
            return Some(self.now / self.before);
        }
        (self.now <= 0.0).then_some(1.0)
    }

    /// Whether that is a change, and which way.
    pub(super) fn verdict(&self) -> &'static str {
        let higher = match self.ratio() {
            Some(ratio) if (ratio - 1.0).abs() < SAME => return "same",
            Some(_) if self.overlaps => return "within the spread",
            Some(ratio) => ratio > 1.0,
            None => true,
        };
        match (self.kind.better, higher) {
            (Better::Higher, true) | (Better::Lower, false) => "better",
            (Better::Higher, false) | (Better::Lower, true) => "worse",
            (Better::Neither, _) => "",
        }
    }

    /// The ratio and what it means.
    pub(super) fn told(&self) -> String {
        let ratio =
            self.ratio().map_or_else(|| "was none".to_owned(), |ratio| format!("{ratio:.2}×"));
        format!("{ratio} {}", self.verdict())
    }
}

fn thousandths(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}
