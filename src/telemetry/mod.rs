//! Metrics: their names, units and meanings, in one place.

mod cluster;
mod commons;
mod http;
mod tenants;
mod webhook;

use std::sync::atomic::AtomicU64;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::journal::State;
use crate::load::Load;
use crate::recording::Recorder;
use crate::server::{CoreFigures, Shared};

type Figure = fn(&CoreFigures) -> &AtomicU64;

/// Counters summed over the cores.
const COUNTERS: &[(&str, &str, Figure)] = &[
    ("tidewire_requests_total", "Frames received from clients", |core| &core.requests),
    ("tidewire_deliveries_total", "DELIVER frames sent", |core| &core.deliveries),
    ("tidewire_delivered_records_total", "Records sent to subscribers", |core| &core.records),
    ("tidewire_delivered_bytes_total", "Bytes of records sent to subscribers", |core| {
        &core.body_bytes
    }),
    ("tidewire_updates_total", "UPDATE frames sent", |core| &core.updates),
    (
        "tidewire_updates_restarted_total",
        "Updates in parts begun anew because too many older ones were being taken",
        |core| &core.updates_restarted,
    ),
    ("tidewire_gaps_total", "GAP frames sent", |core| &core.gaps),
    (
        "tidewire_refusals_total",
        "Requests refused, and subscriptions and consumptions ended",
        |core| &core.refusals,
    ),
    (
        "tidewire_rate_limited_total",
        "Requests refused because their connection, subject, address, tenant or policy has no more for now",
        |core| &core.rate_limited,
    ),
    (
        "tidewire_recalls_total",
        "Parts of the journal read back for subscribers that are behind what is in memory",
        |core| &core.recalls,
    ),
    ("tidewire_socket_writes_total", "Writes to sockets", |core| &core.writes),
    ("tidewire_socket_written_bytes_total", "Bytes written to sockets", |core| &core.written_bytes),
];

/// Renders the server's figures in Prometheus's text format.
pub(crate) fn render(shared: &Shared) -> String {
    let Shared { figures, recorder, audit, proxies, load, webhooks, .. } = shared;
    let prometheus = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&prometheus, || {
        for (name, help, figure) in COUNTERS {
            describe_counter!(*name, *help);
            counter!(*name).absolute(figures.sum(*figure));
        }
        let shards = figures.shards();
        let gauges = [
            ("tidewire_connections", "Connections open", figures.connections()),
            (
                "tidewire_subscriptions",
                "Subscriptions and watches open",
                figures.sum(|core| &core.subscriptions),
            ),
            ("tidewire_topics", "Topics that exist", shards.topics),
            ("tidewire_topic_bytes", "Bytes of records kept in topics", shards.topic_bytes),
            (
                "tidewire_topic_memory_bytes",
                "Bytes of records of topics in memory; the others are on disk only",
                shards.warm_bytes,
            ),
            (
                "tidewire_journal_extents",
                "Parts of the journal that hold records which are kept",
                shards.extents,
            ),
            ("tidewire_topic_batches", "Batches kept in topics", shards.batches),
            ("tidewire_producers", "Producers whose publishes are remembered", shards.producers),
            ("tidewire_cells", "Counters, tallies and presence sets that exist", shards.cells),
        ];
        for (name, help, value) in gauges {
            describe_gauge!(name, help);
            gauge!(name).set(as_gauge(value));
        }
        let expired = "tidewire_topics_expired_total";
        describe_counter!(expired, "Topics removed because they were idle");
        counter!(expired).absolute(shards.topics_expired);

        let (written, lost) = ("tidewire_audit_entries_total", "tidewire_audit_lost_total");
        describe_counter!(written, "Entries of the audit record");
        counter!(written).absolute(audit.written());
        describe_counter!(lost, "Entries that are not in the audit record: too many, or no disk");
        counter!(lost).absolute(audit.lost() + figures.sum(|core| &core.audit_dropped));

        let unread = "tidewire_proxy_refused_total";
        describe_counter!(
            unread,
            "Connections and requests of trusted proxies without a readable header"
        );
        counter!(unread).absolute(proxies.refused());

        load_level(load);
        http::http(&shared.http);
        recordings(recorder);
        tenants::tenants(&shared.tenants.infos());
        webhook::webhook(webhooks);
        commons::commons(shared.commons.figures.get());
        if let Some(cluster) = &shared.cluster {
            cluster::cluster(cluster, shared.replication.as_ref());
            cluster::waiting(figures.waiting());
            cluster::moves(&shared.moves);
        }
        if let Some(state) = &shared.journal {
            storage(state);
        }
        process();
    });
    prometheus.handle().render() + &http::durations(&shared.http)
}

fn storage(state: &State) {
    let stats = state.stats();
    let counters = [
        ("tidewire_journal_commits_total", "Commits of the journal", stats.commits),
        ("tidewire_journal_blocks_total", "Blocks written to the journal", stats.blocks),
        ("tidewire_journal_bytes_total", "Bytes of these blocks", stats.bytes),
        (
            "tidewire_journal_commit_microseconds_total",
            "Time that commits took, all together",
            stats.commit_us,
        ),
    ];
    let checkpoints = [
        (
            "tidewire_journal_checkpoints_total",
            "States of shards that were saved, so that the log before them could go",
            stats.checkpoints,
        ),
        (
            "tidewire_journal_checkpoint_bytes_total",
            "Bytes of these states",
            stats.checkpoint_bytes,
        ),
        (
            "tidewire_journal_cleaned_bytes_total",
            "Bytes freed in parts of the journal of which little was kept",
            stats.cleaned_bytes,
        ),
    ];
    for (name, help, value) in counters.into_iter().chain(checkpoints) {
        describe_counter!(name, help);
        counter!(name).absolute(value);
    }
    let gauges = [
        (
            "tidewire_journal_commit_microseconds_max",
            "Time that the longest commit took",
            stats.commit_us_max,
        ),
        ("tidewire_journal_free_bytes", "Free space on the journal's disk", stats.free_bytes),
        (
            "tidewire_journal_full",
            "Whether the disk's reserve is reached and writes are refused",
            u64::from(state.is_full()),
        ),
        (
            "tidewire_journal_failed",
            "Whether the journal has failed and takes nothing until the next start",
            u64::from(state.failure().is_some()),
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value));
    }
}

fn load_level(load: &Load) {
    let signals = load.signals();
    let gauges = [
        (
            "tidewire_load_level",
            "How loaded the server is: 0 normal, 1 busy, 2 strained, 3 overloaded",
            load.level().number().into(),
        ),
        (
            "tidewire_fanout_lag_milliseconds",
            "How long followers wait for their turn, on the core where it is longest",
            signals.fanout_lag_ms,
        ),
        (
            "tidewire_memory_budget_bytes",
            "Memory that the process may use (limits.memory_max_bytes)",
            load.memory_max_bytes(),
        ),
        (
            "tidewire_memory_budget_used_permille",
            "Share of it that is in use, in thousandths",
            signals.memory_permille,
        ),
        (
            "tidewire_memory_full",
            "Whether the budget is used up and what takes memory is refused",
            u64::from(load.is_full()),
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value));
    }
    let counters = [
        ("tidewire_load_rises_total", "Times that the load level has risen"),
        ("tidewire_load_falls_total", "Times that it has fallen, by one each"),
        ("tidewire_load_refused_total", "Requests refused because of the load"),
    ];
    for ((name, help), count) in counters.into_iter().zip(load.counts()) {
        describe_counter!(name, help);
        counter!(name).absolute(count);
    }
}

fn recordings(recorder: &Recorder) {
    let status = recorder.status();
    let under_way = status.as_ref().filter(|status| status.state != "finished");
    let gauges = [
        ("tidewire_recording", "Whether a recording is under way", u64::from(under_way.is_some())),
        (
            "tidewire_recording_inputs",
            "Inputs of shards in the recording under way or the last one",
            status.as_ref().map_or(0, |status| status.inputs),
        ),
        (
            "tidewire_recording_bytes",
            "Bytes of the recording under way or the last one",
            status.as_ref().map_or(0, |status| status.bytes),
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value));
    }
    let (started, ended) = recorder.counts();
    describe_counter!("tidewire_recordings_total", "Recordings started");
    counter!("tidewire_recordings_total").absolute(started);
    describe_counter!("tidewire_recordings_ended_total", "Recordings that are over, by reason");
    for (reason, count) in ended {
        counter!("tidewire_recordings_ended_total", "reason" => reason).absolute(count);
    }
}

/// CPU time and memory of the process, as Prometheus's conventions name them.
fn process() {
    if let Some(seconds) = cpu_seconds() {
        describe_gauge!("process_cpu_seconds_total", "User and system CPU time of the process");
        // A counter by meaning; the library's counters hold whole numbers only.
        gauge!("process_cpu_seconds_total").set(seconds);
    }
    if let Some(bytes) = resident_bytes() {
        describe_gauge!("process_resident_memory_bytes", "Resident memory of the process");
        gauge!("process_resident_memory_bytes").set(as_gauge(bytes));
    }
}

/// Clock ticks per second of `/proc/self/stat`, fixed by Linux's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of the process until now, if the system tells.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold anything, so count behind it.
    let behind_name = stat.rsplit_once(')')?.1;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Memory of the process, if the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating point; 2^53 is enough")]
fn as_gauge(value: u64) -> f64 {
    value as f64
}
