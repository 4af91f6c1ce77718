//! Everything that was measured, for programs.

use std::fs;

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::peer::Peer;
use crate::runner::Row;
use crate::stats::Summary;
use crate::table::limit;

/// What the machine is, as far as it says so.
pub(crate) fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    json!({
        "processors": processors,
        "model": model.map(|(_, model)| model.trim()),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// What the tables hold for: the machine, the versions, the settings.
///
/// # Errors
/// When the arguments do not fit together.
pub(crate) fn heading(
    args: &Args,
    machine: &Value,
    versions: &[(Peer, String)],
) -> Result<String, String> {
    let settings = args.settings()?;
    let text = |key: &str| machine.get(key).and_then(Value::as_str).unwrap_or("unknown");
    let mut named: Vec<String> = versions
        .iter()
        .map(|(peer, version)| {
            let title = peer.title().split([',', ' ']).next().unwrap_or_default();
            format!("{title} {version}")
        })
        .collect();
    named.dedup();
    let placed = match args.processors()? {
        Some((server, load)) => format!("server on processor {server}, load on {load}"),
        None => "server and load wherever the kernel puts them".to_owned(),
    };
    Ok(format!(
        "{}; Linux {}; {} processors ({}); {placed}.\nMedians of {} interleaved runs of {} s and \
         half their range; {} messages per write, a window of {}, {} per PUBLISH frame of Tidewire.\n",
        named.join(", "),
        text("kernel"),
        machine.get("processors").and_then(Value::as_u64).unwrap_or_default(),
        text("model"),
        args.rounds,
        settings.seconds,
        settings.records_per_write,
        settings.window,
        settings.records_per_frame,
    ))
}

/// The record of a whole run.
///
/// # Errors
/// When the arguments do not fit together.
pub(crate) fn record(
    args: &Args,
    machine: &Value,
    versions: &[(Peer, String)],
    rows: &[Row],
) -> Result<Value, String> {
    let settings = args.settings()?;
    let versions: Map<_, _> = versions
        .iter()
        .map(|(peer, version)| (peer.name().to_owned(), Value::from(version.as_str())))
        .collect();
    Ok(json!({
        "machine": machine,
        "settings": {
            "rounds": args.rounds.get(),
            "seconds": settings.seconds,
            "warmup_s": settings.warmup_s,
            "records_per_write": settings.records_per_write,
            "window_records": settings.window,
            "tidewire_records_per_frame": settings.records_per_frame,
            "payload_bytes": crate::workload::PAYLOAD_BYTES,
            "processors": args.processors()?.map(|(server, load)| [server, load]),
        },
        "versions": versions,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    }))
}

fn row(row: &Row) -> Value {
    let mut metrics = Map::new();
    for (metric, _) in row.samples.first().into_iter().flatten() {
        let values = row.samples.iter().flatten().filter(|(found, _)| found == metric);
        let runs: Vec<f64> = values.map(|(_, value)| *value).collect();
        if let Some(Summary { median, min, max }) = Summary::of(*metric, &row.samples) {
            let summary = json!({ "median": median, "min": min, "max": max, "runs": runs });
            metrics.insert(metric.key().to_owned(), summary);
        }
    }
    json!({
        "workload": row.workload.name(),
        "peer": row.name,
        "title": row.title,
        row.workload.size_title(): row.size,
        "metrics": metrics,
        "limit": limit(row),
        "failures": row.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Metric;
    use crate::workload::Workload;
    use clap::Parser;

    #[test]
    fn the_heading_names_each_server_once() {
        let args = Args::try_parse_from(["peers", "--rounds", "5"]).unwrap();
        let versions = [
            (Peer::TidewireWs, "1.2.3".to_owned()),
            (Peer::TidewireQuic, "1.2.3".to_owned()),
            (Peer::Redis, "7.0".to_owned()),
        ];
        let heading = heading(&args, &machine(), &versions).unwrap();
        assert!(heading.starts_with("Tidewire 1.2.3, Redis 7.0; Linux "), "{heading}");
        assert!(heading.contains("Medians of 5 interleaved runs of 10 s"), "{heading}");
    }

    #[test]
    fn a_record_holds_every_run() {
        let args = Args::try_parse_from(["peers", "--seconds", "3"]).unwrap();
        let rows = [Row {
            workload: Workload::Latency,
            name: "redis".to_owned(),
            title: "Redis".to_owned(),
            size: 10,
            samples: vec![vec![(Metric::P50Us, 3.0)], vec![(Metric::P50Us, 5.0)]],
            failures: vec!["round 3: no".to_owned()],
        }];
        let versions = [(Peer::Redis, "7".to_owned())];
        let record = record(&args, &machine(), &versions, &rows).unwrap();
        assert_eq!(record["settings"]["seconds"], 3.0);
        assert_eq!(record["versions"]["redis"], "7");
        let row = &record["rows"][0];
        assert_eq!((&row["subscribers"], &row["peer"]), (&json!(10), &json!("redis")));
        let expected = json!({ "median": 4.0, "min": 3.0, "max": 5.0, "runs": [3.0, 5.0] });
        assert_eq!(row["metrics"]["p50_us"], expected);
        assert_eq!(row["failures"][0], "round 3: no");
    }
}
