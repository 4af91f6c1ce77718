//! Tables for people, in plain text or Markdown.

use crate::runner::Row;
use crate::stats::{Metric, Summary};
use crate::workload::{WORKLOADS, Workload};

/// How a table looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Markdown,
}

/// All tables, one per workload.
pub(crate) fn tables(rows: &[Row], form: Form) -> String {
    let mut out = String::new();
    for workload in WORKLOADS {
        let of_workload: Vec<_> = rows.iter().filter(|row| row.workload == workload).collect();
        if !of_workload.is_empty() {
            let mark = if form == Form::Markdown { "### " } else { "" };
            out.push_str(&format!("{mark}{}\n\n", workload.title()));
            let lines = lines(workload, &of_workload);
            match form {
                Form::Text => text(&mut out, &lines),
                Form::Markdown => markdown(&mut out, &lines),
            }
            out.push('\n');
        }
    }
    for row in rows {
        for failure in &row.failures {
            let workload = row.workload.name();
            out.push_str(&format!("FAILED: {workload}, {}, {}: {failure}\n", row.size, row.title));
        }
    }
    out
}

fn lines(workload: Workload, rows: &[&Row]) -> Vec<Vec<String>> {
    let metrics = workload.metrics();
    let mut heading = vec![workload.size_title().to_owned(), String::new()];
    heading.extend(metrics.iter().map(|metric| metric.title().to_owned()));
    let limits = metrics.contains(&Metric::LoadShare);
    if limits {
        heading.push("limit".to_owned());
    }
    let mut lines = vec![heading];
    for row in rows {
        let mut line = vec![row.size.to_string(), row.title.clone()];
        line.extend(metrics.iter().map(|metric| cell(*metric, row)));
        if limits {
            line.push(limit(row).to_owned());
        }
        lines.push(line);
    }
    lines
}

fn cell(metric: Metric, row: &Row) -> String {
    match Summary::of(metric, &row.samples) {
        None => "failed".to_owned(),
        Some(summary) if metric.shows_spread() && row.samples.len() > 1 => {
            format!("{} ±{:.0} %", metric.show(summary.median), summary.spread() * 100.0)
        }
        Some(summary) => metric.show(summary.median),
    }
}

/// A processor that is used more than this has nothing left.
const BUSY: f64 = 0.93;

/// Which side had no processor time left.
pub(crate) fn limit(row: &Row) -> &'static str {
    let busy =
        |metric| Summary::of(metric, &row.samples).is_some_and(|summary| summary.median > BUSY);
    match (busy(Metric::ServerShare), busy(Metric::LoadShare)) {
        (true, true) => "both",
        (true, false) => "server",
        (false, true) => "load",
        (false, false) => "neither",
    }
}

fn text(out: &mut String, lines: &[Vec<String>]) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for line in lines {
        let mut shown = String::new();
        for (number, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Names stand at the left, numbers at the right.
            let padding = " ".repeat(width - cell.chars().count());
            let named = number == 1 || number + 1 == columns && !cell.ends_with('%');
            let (before, after) = if named { ("", &padding[..]) } else { (&padding[..], "") };
            shown.push_str(&format!("{before}{cell}{after}  "));
        }
        out.push_str(shown.trim_end());
        out.push('\n');
    }
}

fn markdown(out: &mut String, lines: &[Vec<String>]) {
    for (number, line) in lines.iter().enumerate() {
        out.push_str(&format!("| {} |\n", line.join(" | ")));
        if number == 0 {
            out.push_str(&format!("|{}\n", "---|".repeat(line.len())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(samples: &[f64], failures: &[&str]) -> Row {
        let sample = |value: &f64| {
            vec![
                (Metric::DeliveriesPerS, *value),
                (Metric::CpuSPerMillion, 0.5),
                (Metric::ServerShare, 0.99),
                (Metric::LoadShare, 0.6),
            ]
        };
        Row {
            workload: Workload::Fanout,
            name: "nats".to_owned(),
            title: "NATS".to_owned(),
            size: 100,
            samples: samples.iter().map(sample).collect(),
            failures: failures.iter().map(|&failure| failure.to_owned()).collect(),
        }
    }

    #[test]
    fn a_row_shows_medians_their_spread_and_the_limit() {
        let table = tables(&[row(&[900_000.0, 1_000_000.0, 1_100_000.0], &[])], Form::Markdown);
        let line = "| 100 | NATS | 1,000,000 ±10 % | 0.500 ±0 % | 99 % | 60 % | server |";
        assert!(table.lines().any(|found| found == line), "{table}");
        assert!(table.contains("| subscribers |  | deliveries/s |"), "{table}");
    }

    #[test]
    fn columns_of_text_stand_below_each_other() {
        let table = tables(&[row(&[1.0], &[]), row(&[1_000_000.0], &[])], Form::Text);
        let ends: Vec<_> = table.lines().filter_map(|line| line.find("0.500")).collect();
        assert_eq!(ends.len(), 2);
        assert_eq!(ends[0], ends[1], "{table}");
    }

    #[test]
    fn failures_are_told_not_left_out() {
        let table = tables(&[row(&[], &["round 1: it broke"])], Form::Text);
        assert!(table.contains("failed"), "{table}");
        assert!(table.contains("FAILED: fanout, 100, NATS: round 1: it broke"), "{table}");
    }
}
