//! What is asked of every peer.

pub(crate) mod durable;
pub(crate) mod fanout;
mod freshness;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod quorum;
mod schedule;
pub(crate) mod tally;

use std::time::Duration;

use clap::ValueEnum;

use crate::clock::{float, now_ns};
use crate::process::cpu_s;
use crate::stats::Metric;

/// Bytes of every published payload.
pub(crate) const PAYLOAD_BYTES: usize = 128;
/// How long nothing may arrive before a run is given up.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// The workloads, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One publisher as fast as the slowest subscriber takes it.
    Fanout,
    /// 20,000 deliveries per second on a schedule.
    Latency,
    /// Ten writers increment what a hundred watchers follow.
    Tally,
    /// Memory of connections that do nothing.
    Idle,
    /// A bare loop that writes the same bytes to all sockets.
    Floor,
    /// Sixteen writers append to a log on disk.
    Durable,
    /// Sixteen writers append to logs on the disks of a cluster of three nodes.
    Quorum,
}

/// All workloads.
pub(crate) const WORKLOADS: [Workload; 7] = [
    Workload::Fanout,
    Workload::Floor,
    Workload::Latency,
    Workload::Tally,
    Workload::Durable,
    Workload::Quorum,
    Workload::Idle,
];

impl Workload {
    /// For programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Latency => "latency",
            Self::Tally => "tally",
            Self::Idle => "idle",
            Self::Floor => "floor",
            Self::Durable => "durable",
            Self::Quorum => "quorum",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Fanout => "Fan-out, one publisher, 128-byte payloads, as fast as it goes",
            Self::Latency => "Latency of fan-out at 20,000 deliveries/s in all",
            Self::Tally => {
                "Live counter: 10 writers with 16 increments in flight, 100 watchers; latency until \
                 the last watcher has seen it"
            }
            Self::Idle => "Idle connections with one subscription: resident memory of the server",
            Self::Floor => "The physical floor: a blocking loop that writes the same bytes",
            Self::Durable => {
                "Durable log: 16 writers with 256 appends of 128 bytes in flight, each answered when it \
                 is synced"
            }
            Self::Quorum => {
                "Log on three nodes: 16 writers with 256 appends of 128 bytes in flight each, each answered \
                 when it is synced on a majority"
            }
        }
    }

    /// What the number in each row counts.
    pub(crate) fn size_title(self) -> &'static str {
        match self {
            Self::Fanout | Self::Latency | Self::Floor => "subscribers",
            Self::Tally => "watchers",
            Self::Durable | Self::Quorum => "writers",
            Self::Idle => "connections",
        }
    }

    /// The columns of its table.
    pub(crate) fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Fanout | Self::Floor => &[
                Metric::DeliveriesPerS,
                Metric::CpuSPerMillion,
                Metric::ServerShare,
                Metric::LoadShare,
            ],
            Self::Latency => &[
                Metric::P50Us,
                Metric::P99Us,
                Metric::P999Us,
                Metric::CpuSPerMillion,
                Metric::LateP99Us,
            ],
            Self::Tally => &[
                Metric::IncrementsPerS,
                Metric::P50Us,
                Metric::P99Us,
                Metric::CpuSPerMillion,
                Metric::ServerShare,
                Metric::LoadShare,
            ],
            Self::Durable | Self::Quorum => &[
                Metric::AppendsPerS,
                Metric::P50Us,
                Metric::P99Us,
                Metric::CpuSPerMillion,
                Metric::ServerShare,
                Metric::LoadShare,
            ],
            Self::Idle => &[Metric::KibPerConnection],
        }
    }
}

/// How a workload is run, for all peers alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Measured seconds of a run, and the seconds before that are not.
    pub(crate) seconds: f64,
    pub(crate) warmup_s: f64,
    /// Messages that the publisher hands to the operating system at once.
    pub(crate) records_per_write: usize,
    /// Messages that the slowest subscriber may be behind.
    pub(crate) window: u64,
    /// Records of one PUBLISH frame of Tidewire.
    pub(crate) records_per_frame: usize,
}

/// CPU time of both sides from a moment on.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    server_pids: Vec<u32>,
    started_ns: u64,
    server_s: f64,
    load_s: f64,
}

/// What both sides used over some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) elapsed_s: f64,
    pub(crate) server_s: f64,
    pub(crate) load_s: f64,
}

impl Costs {
    /// Counts from now on.
    ///
    /// # Errors
    /// When a server is gone.
    pub(crate) fn start(server_pids: impl IntoIterator<Item = u32>) -> Result<Self, String> {
        let server_pids = server_pids.into_iter().collect::<Vec<_>>();
        Ok(Self {
            started_ns: now_ns(),
            server_s: cpu_of_all(&server_pids)?,
            load_s: cpu_s(std::process::id())?,
            server_pids,
        })
    }

    /// What was used since.
    ///
    /// # Errors
    /// When a server is gone.
    pub(crate) fn used(&self) -> Result<Used, String> {
        Ok(Used {
            server_s: cpu_of_all(&self.server_pids)? - self.server_s,
            load_s: cpu_s(std::process::id())? - self.load_s,
            elapsed_s: float(now_ns() - self.started_ns) / 1e9,
        })
    }
}

fn cpu_of_all(pids: &[u32]) -> Result<f64, String> {
    pids.iter().map(|pid| cpu_s(*pid)).sum()
}

impl Used {
    /// CPU seconds of the server per million of something.
    pub(crate) fn per_million(&self, count: u64) -> (Metric, f64) {
        (Metric::CpuSPerMillion, self.server_s / float(count.max(1)) * 1e6)
    }

    /// What part of a processor each side used.
    pub(crate) fn shares(&self) -> [(Metric, f64); 2] {
        [
            (Metric::ServerShare, self.server_s / self.elapsed_s),
            (Metric::LoadShare, self.load_s / self.elapsed_s),
        ]
    }
}
