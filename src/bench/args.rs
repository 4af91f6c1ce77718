//! The options of `tidewire bench`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::child::fingerprint;

/// Measure what a server can do.
#[derive(Args, Clone, Debug)]
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
    /// Vote in one tally that many watchers follow
    ///
    /// Each vote is of a new voter. The latency counts from sending a vote until the last watcher
    /// holds a value that contains it, and until each watcher does.
    Tally(TallyArgs),
}

impl Workload {
    /// The options that every workload has.
    pub(crate) fn options(&self) -> &RunArgs {
        match self {
            Self::Fanout(args) => &args.run,
            Self::Tally(args) => &args.run,
        }
    }
}

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
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub(crate) payload: u32,
    /// Records per publish
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Records published per second by all publishers together [default: as fast as possible]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Without --rate: records between the publishers and the slowest subscriber; at least two
    /// batches
    #[arg(long, value_name = "N", default_value_t = 1024, conflicts_with = "rate",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: u32,
    #[command(flatten)]
    pub(crate) run: RunArgs,
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
    pub(crate) run: RunArgs,
}

/// How long, and against which server.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Seconds before that, which are not
    #[arg(long, value_name = "S", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) warmup_seconds: u32,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Which server.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// How frames travel to the server that the bench starts
    #[arg(long, value_enum, default_value_t = TransportArg::Ws, conflicts_with = "url")]
    pub(crate) transport: TransportArg,
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

/// How frames travel.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportArg {
    /// WebSocket
    Ws,
    /// QUIC
    Quic,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(args: &str) -> Result<Workload, String> {
        let args = std::iter::once("bench").chain(args.split_whitespace());
        Cli::try_parse_from(args).map(|cli| cli.bench.workload).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_of_the_options_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_payload_has_room_for_its_timestamp() {
        assert!(parse("fanout --payload 7").unwrap_err().contains("8..=65536"));
        assert!(parse("fanout --payload 8").is_ok());
    }

    #[test]
    fn trust_is_for_servers_elsewhere() {
        assert!(parse("tally --ca x.pem").unwrap_err().contains("--url"));
        assert!(parse("tally --url quic://h --ca x.pem").is_ok());
        assert!(parse("tally --url ws://h --transport quic").unwrap_err().contains("--transport"));
    }

    #[test]
    fn a_schedule_has_no_window() {
        assert!(parse("fanout --rate 9 --window 9").unwrap_err().contains("--window"));
    }
}
