//! The options of `tidewire demo`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::election::Election;
use super::profile::{self, Columns, ProfileError};

const ABOUT: &str = "\
Without --ballots it is the election for the mayor of Minneapolis in 2013: 80,101 ballots with three
ranks. Each ballot is cast as one vote, in a shuffled order that is the same in each run, while the
watchers follow the count. At the end the server's count and every watcher's are compared with what
was sent; a difference is exit code 1.

The latency is the time from sending a vote to a watcher's holding a value that contains it, over
every pair of a vote and a watcher (votes that are answered too fast for that are sampled).";

/// Options of `tidewire demo`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = ABOUT)]
pub struct DemoArgs {
    /// Votes per second, or `max` for as fast as the server takes them.
    #[arg(long, value_name = "N|max", default_value = "2000")]
    pub rate: Rate,
    /// Replay the ballots of this CSV file (RFC 4180, UTF-8, with a header row).
    ///
    /// One row is one ballot. An empty cell, `undervote` and `skipped` choose nothing, `overvote`
    /// is an over-vote, anything else is a name.
    #[arg(long, value_name = "FILE.csv")]
    pub ballots: Option<PathBuf>,
    /// Columns of the ranked choices, best first; quoted as in CSV where a name holds a comma
    /// [default: all but the count].
    #[arg(long, value_name = "A,B,C", requires = "ballots")]
    pub columns: Option<ColumnNames>,
    /// Column that says how many equal ballots a row stands for.
    #[arg(long, value_name = "NAME", requires = "ballots")]
    pub count_column: Option<String>,
    /// End once the result is there, instead of keeping the page up.
    #[arg(long)]
    pub headless: bool,
    /// Address of the page and of both transports (TCP and UDP).
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7171")]
    pub listen: SocketAddr,
    /// Be on the network, with TLS and accounts, so that phones in it can vote in a poll beside the
    /// election: on every address, or on this one. The port is that of --listen.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true,
          default_missing_value = "0.0.0.0", conflicts_with = "crash_test")]
    pub lan: Option<IpAddr>,
    /// Address of the admin interface.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7173")]
    pub admin_listen: SocketAddr,
    /// Where the votes are kept: a vote is answered when it is there.
    #[arg(long, value_enum, default_value_t = Kept::Memory)]
    pub durability: Kept,
    /// Directory of what is kept on disk [default: a new one, removed at the end].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Kill the server when half of the ballots are counted, start it again, and go on; the votes are
    /// kept on disk.
    #[arg(long)]
    pub crash_test: bool,
    /// Let so many nodes be one cluster, each a process of its own, and kill the one that leads the tally
    /// when half of the ballots are counted; the votes are kept on the disks of a majority.
    #[arg(long, value_name = "3|5", value_parser = three_or_five,
          conflicts_with_all = ["crash_test", "lan", "data_dir"])]
    pub cluster: Option<u8>,
    /// Connections that cast votes, in turn over WebSocket and QUIC.
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=512))]
    pub connections: u16,
    /// Watchers of the count, spread over ten connections.
    #[arg(long, value_name = "N", default_value_t = 300,
          value_parser = clap::value_parser!(u16).range(0..=5000))]
    pub watchers: u16,
}

fn three_or_five(raw: &str) -> Result<u8, String> {
    match raw {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("the cluster of the demo has 3 or 5 nodes".to_owned()),
    }
}

/// Where votes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kept {
    /// In memory: the end of the server is theirs.
    Memory,
    /// On disk: they survive it.
    Disk,
}

/// How fast votes are cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// So many a second, on a schedule that does not wait for answers.
    PerSecond(NonZeroU32),
    /// As fast as the server takes them.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        if raw == "max" {
            return Ok(Self::Max);
        }
        raw.parse().map(Self::PerSecond).map_err(|error| {
            format!("{error}: give a number of votes per second above 0, or 'max'")
        })
    }
}

/// Names of columns, in one row of CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnNames(Vec<String>);

impl FromStr for ColumnNames {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let mut row = csv::StringRecord::new();
        csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(raw.as_bytes())
            .read_record(&mut row)
            .map_err(|error| error.to_string())?;
        let names: Vec<String> = row.iter().map(|name| name.trim().to_owned()).collect();
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err("name at least one column, and none by an empty name".to_owned());
        }
        Ok(Self(names))
    }
}

impl DemoArgs {
    /// Where to be on the network, if at all.
    ///
    /// # Errors
    /// When `--listen` names another address: it would be on more addresses than that says.
    pub(crate) fn on_lan(&self) -> Result<Option<IpAddr>, String> {
        let (lan, listen) = (self.lan, self.listen.ip());
        match lan {
            Some(lan) if !listen.is_loopback() && listen != lan => Err(format!(
                "--lan would be on {lan}, not on {listen} as --listen says: write --lan={listen}"
            )),
            Some(_) | None => Ok(lan),
        }
    }

    /// The ballots that these options ask for.
    ///
    /// # Errors
    /// When the file cannot be read: the file, the line, the column and the rule.
    pub(crate) fn election(&self) -> Result<Election, ProfileError> {
        let Some(path) = &self.ballots else { return profile::shipped() };
        let columns = Columns {
            ranks: self.columns.as_ref().map(|columns| columns.0.clone()),
            count: self.count_column.clone(),
        };
        profile::read(path, &columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(args: &[&str]) -> Result<DemoArgs, String> {
        let args = std::iter::once("demo").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.demo).map_err(|error| error.to_string())
    }

    #[test]
    fn the_plain_demo_needs_no_options() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.rate, Rate::PerSecond(NonZeroU32::new(2000).unwrap()));
        assert_eq!((args.connections, args.watchers), (16, 300));
        assert_eq!(args.listen.to_string(), "127.0.0.1:7171");
        assert_eq!(args.election().unwrap().ballots(), 80_101);
    }

    #[test]
    fn a_rate_is_a_number_above_zero_or_max() {
        assert_eq!(parse(&["--rate", "max"]).unwrap().rate, Rate::Max);
        for bad in ["0", "-5", "fast", ""] {
            let error = parse(&[&format!("--rate={bad}")]).err().unwrap();
            assert!(error.contains("above 0, or 'max'"), "{error}");
        }
    }

    #[test]
    fn the_network_is_asked_for() {
        assert_eq!(parse(&[]).unwrap().lan, None);
        let lan = |arg| parse(&[arg]).unwrap().lan.unwrap().to_string();
        assert_eq!((lan("--lan"), lan("--lan=10.0.0.7")), ("0.0.0.0".into(), "10.0.0.7".into()));
        assert!(parse(&["--lan", "--crash-test"]).err().unwrap().contains("--crash-test"));
        let both = |lan, listen| parse(&[lan, "--listen", listen]).unwrap().on_lan();
        for (lan, listen) in [("--lan", "0.0.0.0:80"), ("--lan=10.0.0.7", "127.0.0.1:80")] {
            assert!(both(lan, listen).unwrap().is_some());
        }
        let refused = both("--lan", "10.0.0.7:80").unwrap_err();
        assert!(refused.contains("--lan=10.0.0.7"), "{refused}");
    }

    #[test]
    fn a_cluster_has_three_or_five_nodes() {
        let nodes = |args: &[&str]| parse(args).unwrap().cluster;
        assert_eq!(
            (nodes(&[]), nodes(&["--cluster", "3"]), nodes(&["--cluster=5"])),
            (None, Some(3), Some(5))
        );
        assert!(parse(&["--cluster", "2"]).err().unwrap().contains("3 or 5 nodes"));
        assert!(parse(&["--cluster", "3", "--crash-test"]).err().unwrap().contains("--crash-test"));
    }

    #[test]
    fn columns_belong_to_a_file() {
        assert!(parse(&["--columns", "a,b"]).err().unwrap().contains("--ballots"));
        let named = |columns| parse(&["--ballots", "f.csv", "--columns", columns]);
        let args = named("a, b,\"c, \"\"d\"\"\"").unwrap();
        assert_eq!(args.columns.unwrap().0, ["a", "b", "c, \"d\""]);
        assert!(named("a,,b").err().unwrap().contains("empty name"));
    }
}
