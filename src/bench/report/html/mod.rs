//! The page with plots: one file that needs nothing else.

mod chart;
mod escape;
mod plots;

use super::table::{case_cell, case_kinds, notes, shown};
use super::{Baseline, Report};
use crate::bench::sizes::show;
use chart::table;
use escape::Escaped;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report, baseline: Option<&Baseline>) -> String {
    let title = format!("{}: Tidewire benchmark", report.title());
    let title = Escaped(&title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta \
         name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{}</h1>\n",
        Escaped(&report.title())
    );
    out.push_str(&section("Result", &table(&figures(report, baseline), "Result")));
    if !report.cases.is_empty() {
        out.push_str(&section("Each part", &table(&cases(report), "Each part")));
    }
    if let Some(baseline) = baseline.filter(|_| !report.cases.is_empty()) {
        let rows = compared(report, baseline);
        out.push_str(&section("Compared", &table(&rows, "Compared")));
    }
    out.push_str("<ul class=\"notes\">\n");
    for (head, line) in notes(report, baseline) {
        let (head, line) = (Escaped(head), Escaped(&line));
        out.push_str(&format!("<li><b>{head}</b><span>{line}</span></li>\n"));
    }
    out.push_str("</ul>\n");
    for chart in plots::charts(report, baseline) {
        out.push_str(&chart.html());
    }
    out.push_str("<div class=\"pair\">\n");
    out.push_str(&section("Options", &table(&options(report), "Options")));
    out.push_str(&section("Machine", &table(&machine(report), "Machine")));
    out.push_str("</div>\n</main>\n</body>\n</html>\n");
    out
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", Escaped(title))
}

fn figures(report: &Report, baseline: Option<&Baseline>) -> Vec<Vec<String>> {
    let rows = baseline.map(|baseline| baseline.rows(report)).unwrap_or_default();
    let mut heads = vec![String::new(), "this run".to_owned()];
    if let Some(baseline) = baseline {
        heads.extend([baseline.name(), "ratio".to_owned()]);
    }
    let mut table = vec![heads];
    for (kind, value) in shown(&report.figures) {
        let mut cells = vec![kind.label.to_owned(), kind.unit.show(value)];
        let row = rows.iter().find(|row| row.part.is_empty() && row.kind.name == kind.name);
        if baseline.is_some() {
            cells.push(row.map_or_else(String::new, |row| kind.unit.show(row.before)));
            cells.push(row.map_or_else(String::new, super::baseline::Row::told));
        }
        table.push(cells);
    }
    table
}

fn cases(report: &Report) -> Vec<Vec<String>> {
    let kinds = case_kinds(&report.cases);
    let heads = kinds.iter().map(|kind| kind.column());
    let mut table: Vec<Vec<String>> = vec![[String::new()].into_iter().chain(heads).collect()];
    for case in &report.cases {
        let cells = kinds.iter().map(|kind| case_cell(case, kind));
        table.push([case.name.clone()].into_iter().chain(cells).collect());
    }
    table
}

fn compared(report: &Report, baseline: &Baseline) -> Vec<Vec<String>> {
    let heads = ["", "figure", "this run", &baseline.name(), "ratio"].map(str::to_owned);
    let mut table = vec![heads.to_vec()];
    for row in baseline.rows(report).iter().filter(|row| !row.part.is_empty()) {
        let show = |value| row.kind.unit.show(value);
        let cells = [row.kind.label.to_owned(), show(row.now), show(row.before), row.told()];
        table.push([row.part.to_owned()].into_iter().chain(cells).collect());
    }
    table
}

fn options(report: &Report) -> Vec<Vec<String>> {
    let asked = &report.workload;
    let pair = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let mut rows = vec![
        pair("", "asked for"),
        pair("workload", &asked.kind),
        pair("transport", &asked.transport),
        pair("server", asked.url.as_deref().unwrap_or("started for this run")),
    ];
    rows.extend(asked.sizes.iter().map(|(name, value)| pair(name, &show(value))));
    rows
}

fn machine(report: &Report) -> Vec<Vec<String>> {
    let machine = &report.machine;
    let pair = |name: &str, value: String| vec![name.to_owned(), value];
    let memory_mib = machine.memory_bytes / 1024 / 1024;
    let mut rows = vec![
        pair("", "ran on".to_owned()),
        pair("processors", machine.processors.to_string()),
        pair("memory", format!("{memory_mib} MiB")),
        pair("kernel", machine.kernel.clone()),
        pair("tidewire", report.version.clone()),
    ];
    rows.extend(machine.processor.iter().map(|model| pair("processor", model.clone())));
    rows
}

#[cfg(test)]
mod tests;
