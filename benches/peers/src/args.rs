//! The command line.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::Parser;

use crate::peer::{PEERS, Peer};
use crate::workload::{Settings, WORKLOADS, Workload};

/// Name that stands for Tidewire over all its transports.
const TIDEWIRE: &str = "tidewire";

/// Measures Tidewire and its peers side by side: the same workloads, one load generator, one table.
#[derive(Debug, Parser)]
#[command(name = "peers", version)]
pub(crate) struct Args {
    /// Only these: tidewire (all transports), tidewire-ws, tidewire-wss, tidewire-quic, nats, redis,
    /// mosquitto, centrifugo. Default: all
    #[arg(long, value_delimiter = ',', value_name = "PEERS", value_parser = peers)]
    only: Vec<Chosen>,

    /// Only these workloads. Default: all
    #[arg(long, value_delimiter = ',', value_name = "WORKLOADS")]
    workload: Vec<Workload>,

    /// How often each is run; peers take turns, and medians are shown
    #[arg(long, default_value = "3")]
    pub(crate) rounds: NonZeroUsize,

    /// Measured seconds of each run
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,

    /// Seconds of each run before the measured ones
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(0..=3600))]
    warmup: u32,

    /// Numbers of subscribers, for fan-out, latency and the floor
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000", value_name = "NUMBERS")]
    pub(crate) subscribers: Vec<NonZeroUsize>,

    /// Idle connections (at most 1000 over QUIC)
    #[arg(long, default_value = "5000", value_name = "NUMBER")]
    pub(crate) connections: NonZeroUsize,

    /// Messages that the publisher writes at once
    #[arg(long, default_value = "64", value_name = "NUMBER")]
    records_per_write: NonZeroUsize,

    /// Messages that the slowest subscriber may be behind the publisher
    #[arg(long, default_value = "1024", value_name = "NUMBER")]
    window: NonZeroU64,

    /// Records in one PUBLISH frame of Tidewire
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    batch: NonZeroUsize,

    /// The server's processor
    #[arg(long, default_value = "0", value_name = "NUMBER")]
    server_processor: usize,

    /// The load's processor
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    load_processor: usize,

    /// Leave it to the kernel where server and load run
    #[arg(long)]
    no_pin: bool,

    /// Print the tables in Markdown
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Where the peers are installed. Default: peers/bin beside the directory of this program
    #[arg(long, value_name = "DIRECTORY")]
    bin_dir: Option<PathBuf>,

    /// Print the names of the peers that --only chooses, and end
    #[arg(long, hide = true)]
    pub(crate) list: bool,

    /// Be the floor's server
    #[arg(long, hide = true, value_name = "SOCKETSxFRAMES")]
    pub(crate) write_loop: Option<String>,
}

/// What one word of `--only` means.
#[derive(Clone, Copy, Debug)]
enum Chosen {
    One(Peer),
    Tidewire,
}

fn peers(word: &str) -> Result<Chosen, String> {
    if word == TIDEWIRE {
        return Ok(Chosen::Tidewire);
    }
    match PEERS.into_iter().find(|peer| peer.name() == word) {
        Some(peer) => Ok(Chosen::One(peer)),
        None => {
            let names = PEERS.map(Peer::name).join(", ");
            Err(format!("there is no peer '{word}': choose from {TIDEWIRE}, {names}"))
        }
    }
}

impl Args {
    /// Those who are measured, in the order of the tables.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let chosen = |peer: &Peer| {
            self.only.iter().any(|chosen| match chosen {
                Chosen::One(one) => one == peer,
                Chosen::Tidewire => peer.is_tidewire(),
            })
        };
        PEERS.into_iter().filter(|peer| self.only.is_empty() || chosen(peer)).collect()
    }

    /// What is measured, in the order of the tables.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let chosen =
            |workload: &Workload| self.workload.is_empty() || self.workload.contains(workload);
        WORKLOADS.into_iter().filter(chosen).collect()
    }

    /// How it is measured.
    ///
    /// # Errors
    /// When the window holds less than one write.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let records_per_write = self.records_per_write.get();
        if self.window.get() < records_per_write as u64 {
            return Err(format!(
                "--window {} has no room for one write of {records_per_write} messages",
                self.window
            ));
        }
        Ok(Settings {
            seconds: self.seconds.into(),
            warmup_s: self.warmup.into(),
            records_per_write,
            window: self.window.get(),
            records_per_frame: self.batch.get(),
        })
    }

    /// The processors of server and load, unless they are left to the kernel.
    ///
    /// # Errors
    /// When they are the same.
    pub(crate) fn processors(&self) -> Result<Option<(usize, usize)>, String> {
        if self.no_pin {
            return Ok(None);
        }
        if self.server_processor == self.load_processor {
            return Err("server and load need a processor each, or --no-pin".to_owned());
        }
        Ok(Some((self.server_processor, self.load_processor)))
    }

    /// Where the peers are installed.
    ///
    /// # Errors
    /// When it is not said and this program's own place is not known.
    pub(crate) fn bin_dir(&self) -> Result<PathBuf, String> {
        if let Some(directory) = &self.bin_dir {
            // Servers run in directories of their own.
            return std::path::absolute(directory)
                .map_err(|error| format!("--bin-dir {}: {error}", directory.display()));
        }
        let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let target = program.parent().and_then(|directory| directory.parent());
        target
            .map(|target| target.join("peers/bin"))
            .ok_or_else(|| "say with --bin-dir where the peers are".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Args, String> {
        let words = std::iter::once("peers").chain(words.split_whitespace());
        Args::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn peers_are_chosen_on_purpose() {
        let peers = |words| parse(words).unwrap().peers();
        assert_eq!(peers(""), PEERS);
        assert_eq!(peers("--only redis,tidewire-ws"), [Peer::TidewireWs, Peer::Redis]);
        assert_eq!(peers("--only tidewire").len(), 3);
        let message = parse("--only redsi").unwrap_err();
        assert!(message.contains("'redsi'") && message.contains("centrifugo"), "{message}");
        assert!(parse("--only floor-1").is_err());
    }

    #[test]
    fn workloads_keep_their_order() {
        let args = parse("--workload idle,fanout").unwrap();
        assert_eq!(args.workloads(), [Workload::Fanout, Workload::Idle]);
        assert_eq!(parse("").unwrap().workloads(), WORKLOADS);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(parse("--bin-dir x").unwrap().bin_dir().unwrap().is_absolute());
        assert!(parse("--window 63").unwrap().settings().is_err());
        assert!(parse("--window 64").unwrap().settings().is_ok());
        assert!(parse("--load-processor 0").unwrap().processors().is_err());
        assert_eq!(parse("--load-processor 0 --no-pin").unwrap().processors(), Ok(None));
        for bad in ["--rounds 0", "--seconds 0", "--subscribers 0", "--batch 0", "--seconds x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
