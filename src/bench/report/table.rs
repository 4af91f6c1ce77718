//! The table for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};

use super::figures::{KINDS, Kind, thousands};
use super::{Baseline, Case, Figures, Report};
use crate::bench::sizes::show;

/// All that is shown of a run.
pub(super) fn summary(report: &Report, baseline: Option<&Baseline>) -> String {
    let mut out = format!("{}: {}\n", report.title(), asked(report));
    let whole = figures(report, baseline);
    let parts = cases(&report.cases);
    let compared = baseline.filter(|_| !report.cases.is_empty());
    let compared = compared.map(|baseline| compared_cases(report, baseline));
    for table in [Some(whole), parts, compared].into_iter().flatten() {
        if !table.is_empty() {
            out.push_str(&format!("{}\n", table.trim_fmt()));
        }
    }
    for (head, line) in notes(report, baseline) {
        out.push_str(&format!("{head:<9} {line}\n"));
    }
    out
}

/// The options that make the workload.
fn asked(report: &Report) -> String {
    let told = report.workload.sizes.iter().filter(|(_, value)| !value.is_null());
    let told = told.map(|(name, value)| format!("{} {}", name.replace('_', " "), show(value)));
    told.collect::<Vec<_>>().join(", ")
}

fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─');
    table.set_content_arrangement(ContentArrangement::Disabled);
    if headers.iter().any(|header| !header.is_empty()) {
        table.set_header(headers);
    }
    table
}

fn figures(report: &Report, baseline: Option<&Baseline>) -> Table {
    let Some(baseline) = baseline else {
        let mut table = table(&["", ""]);
        for (kind, value) in shown(&report.figures) {
            table.add_row([kind.label.to_owned(), kind.unit.show(value)]);
        }
        return aligned(table);
    };
    let mut table = table(&["", "this run", &baseline.name(), "ratio"]);
    let rows = baseline.rows(report);
    for (kind, value) in shown(&report.figures) {
        let row = rows.iter().find(|row| row.part.is_empty() && row.kind.name == kind.name);
        let before = row.map_or_else(String::new, |row| kind.unit.show(row.before));
        let told = row.map_or_else(String::new, super::baseline::Row::told);
        table.add_row([kind.label.to_owned(), kind.unit.show(value), before, told]);
    }
    aligned(table)
}

/// The columns exist once there are rows.
fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cases(cases: &[Case]) -> Option<Table> {
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|kind| cases.iter().any(|case| case.figures.get(kind.name).is_some()))
        .collect();
    let headers: Vec<&str> = [""].into_iter().chain(kinds.iter().map(|kind| kind.label)).collect();
    let mut table = table(&headers);
    for case in cases {
        let cells = kinds.iter().map(|kind| case_cell(case, kind));
        table.add_row([case.name.clone()].into_iter().chain(cells));
    }
    (!cases.is_empty()).then(|| aligned(table))
}

/// The kinds that parts have, without those that would make a table too wide.
pub(super) fn case_kinds(cases: &[Case]) -> Vec<&'static Kind> {
    let has = |kind: &&Kind| cases.iter().any(|case| case.figures.get(kind.name).is_some());
    KINDS.iter().filter(|kind| kind.name != "p95_us").filter(has).collect()
}

/// The median, and below it the spread of the rounds.
pub(super) fn case_cell(case: &Case, kind: &Kind) -> String {
    let Some(value) = case.figures.get(kind.name) else { return String::new() };
    match case.range(kind.name) {
        Some((low, high)) => {
            format!("{}\n{}", kind.unit.show(value), kind.unit.show_range(low, high))
        }
        None => kind.unit.show(value),
    }
}

fn compared_cases(report: &Report, baseline: &Baseline) -> Table {
    let mut table = table(&["", "", "this run", &baseline.name(), "ratio"]);
    for row in baseline.rows(report).iter().filter(|row| !row.part.is_empty()) {
        let show = |value| row.kind.unit.show(value);
        let cells = [row.kind.label.to_owned(), show(row.now), show(row.before), row.told()];
        table.add_row([row.part.to_owned()].into_iter().chain(cells));
    }
    aligned(table)
}

/// The kinds that a run has, and their figures.
pub(super) fn shown(figures: &Figures) -> impl Iterator<Item = (&'static Kind, f64)> {
    KINDS.iter().filter_map(|kind| Some((kind, figures.get(kind.name)?)))
}

/// What does not fit into a table: a head and a sentence each.
pub(super) fn notes(report: &Report, baseline: Option<&Baseline>) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    if !report.latency.is_empty() {
        notes.push(("latency", report.latency.clone()));
    }
    notes.extend(processors(report).map(|told| ("CPU", told)));
    if let Some(limit) = report.limit {
        notes.push(("limit", limit.explain(report.machine.processors)));
    }
    let doubts = baseline.map(|baseline| baseline.doubts(report)).unwrap_or_default();
    notes.extend(doubts.into_iter().map(|doubt| ("compared", doubt)));
    notes.extend(report.faults.iter().map(|fault| ("WRONG", fault.clone())));
    notes
}

/// What both sides used of the processors.
fn processors(report: &Report) -> Option<String> {
    let elapsed_s = report.figures.get("elapsed_s").filter(|elapsed_s| *elapsed_s > 0.0)?;
    let used = |name: &str, who: &str| {
        let cpu_s = report.figures.get(name)?;
        Some(format!("{who} {cpu_s:.2} s ({:.2} processors)", cpu_s / elapsed_s))
    };
    let sides = [
        used("server_cpu_s", "server"),
        used("bench_cpu_s", "bench"),
        used("machine_busy_s", "all programs"),
    ];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    let of = thousands(exact(report.machine.processors));
    let told = format!("{} in {elapsed_s:.1} s, of {of} processors", sides.join(", "));
    (!sides.is_empty()).then_some(told)
}

fn exact(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
