//! The options of `tidewire bench`.

mod refusals;
mod workloads;

pub(crate) use refusals::FILES_BESIDE;
pub(crate) use workloads::{
    BatchArgs, FanoutArgs, FloodArgs, HoldArgs, IdleArgs, LatencyArgs, PublishArgs, TallyArgs,
    ThreadsArgs,
};

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::converge::ConvergeArgs;
use super::failover::FailoverArgs;
use super::journal::JournalArgs;
use super::storm::StormArgs;
use crate::child::fingerprint;

/// Measure what a server can do
///
/// Each workload starts a server of its own and ends it, unless --url names one that runs already.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire bench fanout --subscribers 100
  tidewire bench publish --publishers 4 --batch 64
  tidewire bench latency --subscribers 1,10,100 --report latency.html
  tidewire bench idle --connections 19000
  tidewire bench fanout --save before.json
  tidewire bench fanout --baseline before.json")]
pub struct BenchArgs {
    #[command(subcommand)]
    pub(crate) workload: Workload,
}

/// What is measured.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Workload {
    /// Publish to one topic and deliver to many subscribers
    ///
    /// Without --rate publishers keep at most --window records between themselves and the slowest
    /// subscriber: nothing is lost to retention, and the latency is that of a full window. With
    /// --rate they follow a schedule that waits for nothing, and the latency counts from the moment
    /// a record was to be sent, so that a stall counts in full.
    Fanout(FanoutArgs),
    /// Publish only, and count what is acknowledged
    ///
    /// Each connection keeps --window publishes under way; the latency counts from sending one to
    /// its acknowledgement. With --rate they follow a schedule, and the latency counts from it.
    Publish(PublishArgs),
    /// Vote in one tally that many watchers follow
    ///
    /// Each vote is of a new voter. The latency counts from sending a vote until the last watcher
    /// holds a value that contains it, and until each watcher does.
    Tally(TallyArgs),
    /// Hold many connections that do nothing, and count what each costs the server
    ///
    /// Each has a subscription and answers pings. At the end one record is published, and each is
    /// to get it.
    Idle(IdleArgs),
    /// Deliver at a fixed rate, and measure how long it takes
    ///
    /// An open loop: records are published by a schedule that waits for nothing, and the latency
    /// counts from the moment a record was to be sent. The rate is that of the deliveries, so that
    /// with more subscribers fewer records are published. Each number of subscribers has its turn
    /// in each round.
    Latency(LatencyArgs),
    /// Let one identity flood the server, and measure what that does to the others
    ///
    /// The others publish by a schedule that waits for nothing, each as somebody of its own, and the
    /// latency counts from the moment a record was to be sent to its delivery. The flood is one
    /// identity on many connections that publishes as fast as it is let. Told are the latencies before
    /// it, meanwhile and after it, and how soon the others are back to normal.
    Flood(FloodArgs),
    /// Kill nodes of a cluster, and measure how long writes wait
    ///
    /// Starts three nodes of its own. Each kill is of a node that leads some shards; told is the longest
    /// time without an acknowledgement there, and the longest time that subscribers of the other shards
    /// got nothing. Every record that was acknowledged is to be delivered.
    Failover(FailoverArgs),
    /// Cut all clients off at once, and measure how soon they are back and have caught up
    ///
    /// Starts a server of its own. The clients are those of the Rust client, with its backoff, and follow a
    /// topic and a tally on disk that are written to meanwhile. Each is to have every record once, and all
    /// votes.
    Storm(StormArgs),
    /// Count on all nodes of a cluster, and measure how soon the others show it
    ///
    /// Starts nodes of its own. Counters are eventual, and each is counted on one node and watched on all
    /// others. Told is the time from sending an increment until another node's watcher has it.
    Converge(ConvergeArgs),
    /// Append to the journal on disk, without a server before it
    ///
    /// What the disk room takes in rounds of all its shards, and what a plain file takes of the same
    /// bytes with as many in each write and sync.
    Journal(JournalArgs),
    /// Hold connections for `idle`, as one of its processes
    #[command(hide = true)]
    Hold(HoldArgs),
}

impl Workload {
    /// Which server is measured; `None` for a process that serves another one.
    pub(crate) fn target(&self) -> Option<&TargetArgs> {
        match self {
            Self::Fanout(args) => Some(&args.target),
            Self::Publish(args) => Some(&args.target),
            Self::Tally(args) => Some(&args.target),
            Self::Idle(args) => Some(&args.target),
            Self::Latency(args) => Some(&args.target),
            Self::Flood(args) => Some(&args.target),
            Self::Failover(_)
            | Self::Storm(_)
            | Self::Converge(_)
            | Self::Journal(_)
            | Self::Hold(_) => None,
        }
    }

    /// What becomes of the result.
    pub(crate) fn output(&self) -> Option<&OutputArgs> {
        match self {
            Self::Fanout(args) => Some(&args.output),
            Self::Publish(args) => Some(&args.output),
            Self::Tally(args) => Some(&args.output),
            Self::Idle(args) => Some(&args.output),
            Self::Latency(args) => Some(&args.output),
            Self::Flood(args) => Some(&args.output),
            Self::Failover(_)
            | Self::Storm(_)
            | Self::Converge(_)
            | Self::Journal(_)
            | Self::Hold(_) => None,
        }
    }
}

/// How long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TimesArgs {
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Seconds before that, which are not
    #[arg(long, value_name = "S", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) warmup_seconds: u32,
}

/// Which server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct TargetArgs {
    /// How frames travel to the server that the bench starts
    #[arg(long, value_enum, default_value_t = TransportArg::Ws, conflicts_with = "url")]
    pub(crate) transport: TransportArg,
    /// Configuration of the server that the bench starts; what the workload needs is raised in it
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) config: Option<PathBuf>,
    /// So many servers that are one cluster, instead of one; connections are spread over them
    #[arg(long, value_name = "N", conflicts_with_all = ["url", "config"],
          value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) nodes: Option<u8>,
    /// Processors that each of the servers may use, such as 0.3; by a control group of Linux, which
    /// needs root
    #[arg(long, value_name = "N", conflicts_with = "url", value_parser = processors)]
    pub(crate) cpu_quota: Option<f64>,
    /// A server that runs already: ws://HOST:PORT, wss://HOST:PORT or quic://HOST:PORT [default:
    /// the bench starts one and ends it]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// With --url: trust certificates issued by those in this PEM file
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<PathBuf>,
    /// With --url: trust the one certificate with this SHA-256
    #[arg(long, value_name = "HEX", requires = "url", value_parser = fingerprint)]
    pub(crate) fingerprint: Option<[u8; 32]>,
    /// With --url: admin address of that server, for its CPU time and memory
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    pub(crate) admin: Option<SocketAddr>,
}

impl TargetArgs {
    /// The scheme of the URL that the server is reached by.
    pub(crate) fn scheme(&self) -> &str {
        match &self.url {
            Some(url) => url.split(':').next().unwrap_or_default(),
            None => self.transport.scheme(),
        }
    }
}

fn processors(text: &str) -> Result<f64, String> {
    let quota: f64 = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    match (0.01..=1024.0).contains(&quota) {
        true => Ok(quota),
        false => Err("it is from 0.01 to 1024".to_owned()),
    }
}

/// How frames travel.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportArg {
    /// WebSocket
    Ws,
    /// WebSocket over TLS
    Wss,
    /// QUIC
    Quic,
}

impl TransportArg {
    /// The scheme of a URL with it.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Quic => "quic",
        }
    }
}

/// What becomes of the result.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Result")]
pub(crate) struct OutputArgs {
    /// Save the result as JSON, for a later --baseline
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Compare with a saved result of the same workload and options
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
