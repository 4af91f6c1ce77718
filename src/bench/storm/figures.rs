//! What a storm has shown, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cut, StormArgs};
use crate::demo::latency::{Latencies, SummaryMs};

/// Figures of one storm.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) clients: u32,
    /// How long there was no server.
    pub(super) away: Duration,
    /// From the cut, for each client that has caught up.
    pub(super) back: Latencies,
    pub(super) caught_up: Latencies,
    /// How many clients came back with so many attempts.
    pub(super) attempts: BTreeMap<u64, u64>,
    /// Until all have caught up; of a server that was started again all of its time.
    pub(super) server_cpu_s: Option<f64>,
    pub(super) bench_cpu_s: Option<f64>,
    pub(super) server_rss_peak_bytes: u64,
    /// What was written over the whole run.
    pub(super) records: u64,
    pub(super) votes: u64,
    pub(super) faults: Vec<String>,
}

impl Figures {
    fn attempts_made(&self) -> u64 {
        self.attempts.iter().map(|(attempts, clients)| attempts * clients).sum()
    }

    fn away_ms(&self) -> u64 {
        u64::try_from(self.away.as_millis()).unwrap_or(u64::MAX)
    }

    /// As one object of JSON.
    pub(super) fn json(&self, args: &StormArgs) -> String {
        let seconds = |cpu_s: Option<f64>| cpu_s.map(|cpu_s| (cpu_s * 100.0).round() / 100.0);
        let attempts: BTreeMap<String, u64> =
            self.attempts.iter().map(|(tried, clients)| (tried.to_string(), *clients)).collect();
        let object: Value = json!({
            "cut": cut(args.cut),
            "transport": args.transport.scheme(),
            "clients": self.clients,
            "clients_caught_up": self.caught_up.count(),
            "server_away_ms": self.away_ms(),
            "back_ms": self.back.summary_ms(),
            "caught_up_ms": self.caught_up.summary_ms(),
            "attempts": self.attempts_made(),
            "clients_by_attempts": attempts,
            "server_cpu_s": seconds(self.server_cpu_s),
            "bench_cpu_s": seconds(self.bench_cpu_s),
            "server_rss_peak_bytes": self.server_rss_peak_bytes,
            "records": self.records,
            "votes": self.votes,
            "faults": self.faults,
        });
        object.to_string()
    }

    /// As lines.
    pub(super) fn summary(&self, args: &StormArgs) -> String {
        let (caught_up, clients) = (self.caught_up.count(), self.clients);
        let mut lines = vec![format!(
            "{caught_up} of {clients} clients are back and have caught up, over {}",
            args.transport.scheme()
        )];
        lines.push(match args.cut {
            Cut::Restart => format!("the server was away for {} ms", self.away_ms()),
            Cut::Connections => "their connections were reset, the server went on".to_owned(),
        });
        lines.push(line("back      ", &self.back));
        lines.push(line("caught up ", &self.caught_up));
        let tried = self.attempts.iter().map(|(tried, clients)| match tried {
            1 => format!("{clients} with the first"),
            _ => format!("{clients} with {tried}"),
        });
        let tried = tried.collect::<Vec<_>>().join(", ");
        lines.push(format!("attempts   {} ({tried})", self.attempts_made()));
        if let (Some(server), Some(bench)) = (self.server_cpu_s, self.bench_cpu_s) {
            let mib = self.server_rss_peak_bytes / (1024 * 1024);
            lines.push(format!(
                "meanwhile  server {server:.2} s CPU, at most {mib} MiB; bench {bench:.2} s CPU"
            ));
        }
        lines.push(format!("written    {} records, {} votes", self.records, self.votes));
        lines.extend(self.faults.iter().map(|fault| format!("WRONG  {fault}")));
        lines.join("\n")
    }
}

fn cut(cut: Cut) -> &'static str {
    match cut {
        Cut::Restart => "restart",
        Cut::Connections => "connections",
    }
}

fn line(what: &str, latencies: &Latencies) -> String {
    match latencies.summary_ms() {
        Some(SummaryMs { p50, p99, max, .. }) => {
            format!("{what} 50 % after {p50:.0} ms, 99 % after {p99:.0} ms, all after {max:.0} ms")
        }
        None => format!("{what} nobody"),
    }
}
