//! The options of each workload.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tidewire_client::{AckLevel, Name};

use super::{OutputArgs, TargetArgs, TimesArgs};
use crate::bench::payload::Batch;
use crate::child::fingerprint;

/// Connections that watchers of a tally share unless told otherwise.
const CONNECTIONS_DEFAULT_MAX: u32 = 100;

/// Options of the fan-out workload.
#[derive(Args, Clone, Debug)]
pub(crate) struct FanoutArgs {
    /// Subscribers of the topic
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,
    /// Connections that the subscribers share [default: one each]
    ///
    /// Many connections need as many file descriptors on both sides: see `ulimit -n`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: Option<u32>,
    /// Publishers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publishers: u32,
    /// Records published per second by all publishers together [default: as fast as possible]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Without --rate: records between the publishers and the slowest subscriber; at least two
    /// batches
    #[arg(long, value_name = "N", default_value_t = 1024, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: u32,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
    #[command(flatten)]
    pub(crate) times: TimesArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl FanoutArgs {
    /// Records between the publishers and the slowest subscriber: two batches at least, one under
    /// way and one being made.
    pub(crate) fn window_records(&self) -> u64 {
        u64::from(self.window).max(2 * u64::from(self.batch.batch))
    }
}

/// Options of the publish workload.
#[derive(Args, Clone, Debug)]
pub(crate) struct PublishArgs {
    /// Publishers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publishers: u32,
    /// Publishes under way on each connection
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) window: u16,
    /// When a publish counts as acknowledged
    #[arg(long, value_enum, default_value_t = AckArg::Memory)]
    pub(crate) ack: AckArg,
    /// Topics that the publishers are spread over
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) topics: u32,
    /// Records published per second by all publishers together [default: as fast as possible]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
    #[command(flatten)]
    pub(crate) times: TimesArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of the tally workload.
#[derive(Args, Clone, Debug)]
pub(crate) struct TallyArgs {
    /// Connections that vote
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) writers: u16,
    /// Votes under way on each of them
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) in_flight: u16,
    /// Watchers of the tally
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) watchers: u32,
    /// Connections that the watchers share [default: one each, at most 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: Option<u32>,
    /// Options of the tally
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) options: u16,
    /// Votes per second of all writers together [default: as fast as possible]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) times: TimesArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl TallyArgs {
    /// Connections that the watchers share.
    pub(crate) fn watching_connections(&self) -> u32 {
        self.connections.unwrap_or(CONNECTIONS_DEFAULT_MAX).min(self.watchers)
    }
}

/// Options of the idle workload.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArgs {
    /// Connections to hold
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Connections that each process of the bench holds; there are as many processes as it takes
    #[arg(long, value_name = "N", default_value_t = 5000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections_per_process: u32,
    /// Topics with one small record each; of a cluster they are on disk
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) topics: u32,
    /// Seconds that the connections are held
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of the latency workload.
#[derive(Args, Clone, Debug)]
pub(crate) struct LatencyArgs {
    /// Subscribers of the topic, one or several numbers of them
    #[arg(long, value_name = "N,...", default_value = "100", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: Vec<u32>,
    /// Deliveries per second to all subscribers together
    #[arg(long, value_name = "N", default_value = "20000")]
    pub(crate) rate: NonZeroU32,
    /// How often each number of subscribers is measured
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Connections that the subscribers share, at most [default: one each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: Option<u32>,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
    #[command(flatten)]
    pub(crate) times: TimesArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of the flood workload.
#[derive(Args, Clone, Debug)]
pub(crate) struct FloodArgs {
    /// Others that publish, each with a connection and an identity of its own
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publishers: u32,
    /// Records that they publish per second, all together
    #[arg(long, value_name = "N", default_value = "2000")]
    pub(crate) rate: NonZeroU32,
    /// Subscribers of what they publish
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) subscribers: u32,
    /// Connections of the one that floods
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) flooders: u32,
    /// Publishes under way on each of these
    #[arg(long, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) window: u16,
    /// Topics that it floods
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) topics: u32,
    /// Seconds that are measured before the flood, while it lasts, and after it
    #[arg(long, value_name = "S,S,S", default_value = "10,20,10", value_delimiter = ',',
          num_args = 1, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    pub(crate) times: Vec<u32>,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl FloodArgs {
    /// All seconds.
    pub(crate) fn seconds(&self) -> u32 {
        self.times.iter().sum()
    }

    /// When the flood comes, and when it ends.
    pub(crate) fn flood_s(&self) -> (Duration, Duration) {
        let after = |parts| self.times.iter().take(parts).copied().map(u64::from).sum();
        (Duration::from_secs(after(1)), Duration::from_secs(after(2)))
    }
}

/// What is published.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct BatchArgs {
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub(crate) payload: u32,
    /// Records per publish
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
}

impl BatchArgs {
    /// Its shape.
    pub(crate) fn shape(self) -> Batch {
        let payload_bytes = usize::try_from(self.payload).unwrap_or(usize::MAX);
        Batch { payload_bytes, records: self.batch }
    }
}

/// Who makes the load.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ThreadsArgs {
    /// Threads that load the server over ws and wss [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
}

impl ThreadsArgs {
    /// How many that are.
    pub(crate) fn count(self) -> usize {
        let default = || available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(default, usize::from)
    }
}

/// Options of one of the processes that hold idle connections.
#[derive(Args, Clone, Debug)]
pub(crate) struct HoldArgs {
    /// The server
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// Trust certificates issued by those in this PEM file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust the one certificate with this SHA-256
    #[arg(long, value_name = "HEX", value_parser = fingerprint)]
    pub(crate) fingerprint: Option<[u8; 32]>,
    /// Connections to hold
    #[arg(long, value_name = "N")]
    pub(crate) connections: u32,
    /// The topic that each is subscribed to
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) topic: Name,
}

fn name(raw: &str) -> Result<Name, String> {
    Name::parse(raw).map_err(|refusal| refusal.message)
}

/// When a publish counts as acknowledged.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckArg {
    /// In the server's memory
    Memory,
    /// On the server's disk
    Disk,
    /// On the disks of a majority of replicas
    Quorum,
}

impl AckArg {
    /// The level of the protocol.
    pub(crate) fn level(self) -> AckLevel {
        match self {
            Self::Memory => AckLevel::Memory,
            Self::Disk => AckLevel::Disk,
            Self::Quorum => AckLevel::Quorum,
        }
    }
}
