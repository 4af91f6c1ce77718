//! `tidewire tally rebuild`: counts a tally again, from its ballots alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tidewire_client::{Choice, Name, Rounds, Standings, TallyKind, TallyRules};
use tidewire_core::cell::{Profile, Tally, VoterId};
use tokio::io::{AsyncRead, AsyncWriteExt as _};

use super::show;
use crate::cli::admin::http::download;
use crate::cli::connection::parse_name;
use crate::cli::lines::Lines;
use crate::cli::output::Output;
use crate::cli::{CliError, Globals};

/// Bytes that may have come and are not counted yet.
const WAITING_BYTES: usize = 1024 * 1024;
/// Exit code when the counts are not those of the server.
const DIFFERENT: u8 = 1;

/// Which tally, and where its ballots come from.
#[derive(Args, Clone, Debug)]
pub(crate) struct RebuildArgs {
    /// The tally
    #[arg(value_parser = parse_name)]
    name: Name,

    /// End with an error if the counts are not those that the server has
    #[arg(long)]
    verify: bool,

    /// Count the ballots in this file, which --save has written, in place of the server's
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    ballots: Option<PathBuf>,

    /// Keep the ballots in a file, for others to count. Voters are keyed hashes in it
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Admin address of the server
    #[arg(long, value_name = "ADDRESS", env = "TIDEWIRE_ADMIN", default_value = "127.0.0.1:7173")]
    admin: SocketAddr,
}

/// Counts, shows the outcome, and holds it against what the server says.
///
/// # Errors
/// When the ballots are not to be had, are no ballots, or with `--verify` make other counts.
pub(super) async fn run(args: &RebuildArgs, globals: &Globals) -> Result<(), CliError> {
    let counted = match (&args.ballots, &args.save) {
        (Some(file), _) => count(open(file).await?).await?,
        (None, Some(file)) => {
            let cannot = |error: std::io::Error| {
                CliError::usage(format!("cannot write '{}': {error}", file.display()))
            };
            let mut out = tokio::fs::File::create(file).await.map_err(cannot)?;
            download(args.admin, &path(&args.name), &mut out, |_| ()).await?;
            out.flush().await.map_err(cannot)?;
            out.sync_all().await.map_err(cannot)?;
            count(open(file).await?).await?
        }
        (None, None) => {
            let (mut sink, ballots) = tokio::io::duplex(WAITING_BYTES);
            let path = path(&args.name);
            let fetch = async {
                let fetched = download(args.admin, &path, &mut sink, |_| ()).await;
                drop(sink);
                fetched
            };
            let (fetched, counted) = tokio::join!(fetch, count(ballots));
            fetched?;
            counted?
        }
    };
    report(args, &counted, globals)
}

fn path(name: &Name) -> String {
    // A name may hold what means something in a query.
    let encoded: String = name
        .as_str()
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("/v1/ballots?tally={encoded}")
}

async fn open(file: &PathBuf) -> Result<tokio::fs::File, CliError> {
    tokio::fs::File::open(file)
        .await
        .map_err(|error| CliError::usage(format!("cannot read '{}': {error}", file.display())))
}

/// A line of an audit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Head(Box<Head>),
    Ballot { voter: String, choices: Vec<Choice>, revision: u64 },
}

/// What stands before the ballots of a partition.
#[derive(Deserialize)]
struct Head {
    partition: u16,
    rules: TallyRules,
    standings: Standings,
}

/// What the ballots say, and what the server says.
#[derive(Default)]
struct Counted {
    rules: Option<TallyRules>,
    standings: Standings,
    stated: Standings,
    profiles: Vec<Profile>,
    /// Partitions whose counts are not those of the server.
    different: Vec<u16>,
}

async fn count<R: AsyncRead + Unpin>(from: R) -> Result<Counted, CliError> {
    let (mut lines, mut number, mut open) = (Lines::new(from), 0_u64, true);
    let mut counted = Counted::default();
    let mut part: Option<(u16, Standings, Tally)> = None;
    loop {
        let Some(line) = lines.pop() else {
            if !open {
                break;
            }
            open = lines.read().await?;
            continue;
        };
        number += 1;
        let broken = |what: String| CliError::usage(format!("line {number} is no ballot: {what}"));
        match serde_json::from_slice(&line).map_err(|error| broken(error.to_string()))? {
            Line::Head(head) => {
                let Head { partition, rules, standings } = *head;
                counted.add(part.take());
                counted.rules.get_or_insert_with(|| rules.clone());
                // They were accepted in time; now they are only counted.
                let always =
                    TallyRules { opens_at_ms: None, closes_at_ms: None, hidden: false, ..rules };
                let tally = Tally::new(always, usize::MAX, 0, 0);
                let tally = tally.map_err(|refusal| broken(refusal.message))?;
                part = Some((partition, standings, tally));
            }
            Line::Ballot { voter, choices, revision } => {
                let voter =
                    VoterId::from_hex(&voter).ok_or_else(|| broken("its voter".to_owned()))?;
                let Some((.., tally)) = &mut part else {
                    return Err(broken("the rules do not stand before it".to_owned()));
                };
                let cast = tally.vote(voter, &choices, Some(revision), number, 0);
                cast.map_err(|refusal| broken(refusal.message))?;
            }
        }
    }
    counted.add(part);
    match counted.rules {
        Some(_) => Ok(counted),
        None => Err(CliError::usage("there are no ballots, not even rules")),
    }
}

impl Counted {
    fn add(&mut self, part: Option<(u16, Standings, Tally)>) {
        let Some((partition, stated, tally)) = part else { return };
        let found = tally.standings(0);
        if numbers(&found) != numbers(&stated) {
            self.different.push(partition);
        }
        for (all, more) in [(&mut self.standings, found), (&mut self.stated, stated)] {
            all.counts.resize(more.counts.len(), 0);
            for (sum, count) in all.counts.iter_mut().zip(&more.counts) {
                *sum += count;
            }
            all.ballots += more.ballots;
            all.blank += more.blank;
            all.overvotes += more.overvotes;
            all.state = more.state;
        }
        self.profiles.extend(tally.profile(0));
    }

    fn rounds(&self) -> Option<Rounds> {
        let (last, others) = self.profiles.split_last()?;
        Some(last.rounds_with(others))
    }
}

fn numbers(standings: &Standings) -> (&[u64], u64, u64, u64) {
    (&standings.counts, standings.ballots, standings.blank, standings.overvotes)
}

fn report(args: &RebuildArgs, counted: &Counted, globals: &Globals) -> Result<(), CliError> {
    let mut output = Output::new();
    let options = counted.rules.as_ref().map(|rules| rules.options.clone()).unwrap_or_default();
    let is_ranked = counted.rules.as_ref().is_some_and(|rules| rules.kind == TallyKind::Ranked);
    let rounds = counted.rounds().filter(|_| is_ranked);
    let (is_equal, ballots) = (counted.different.is_empty(), counted.standings.ballots);
    if globals.json {
        let mut object = show::standings_json(&args.name, 0, &options, &counted.standings);
        if let Some(fields) = object.as_object_mut() {
            fields.remove("version");
            fields.insert("equal".to_owned(), json!(is_equal));
            let rounds = rounds.as_ref().map(|rounds| show::rounds_json(&args.name, rounds));
            fields.insert("rounds".to_owned(), json!(rounds));
        }
        output.json(&object)?;
    } else {
        show::table(&args.name, &options, &counted.standings, &mut output)?;
        if let Some(rounds) = &rounds {
            show::rounds(rounds, &mut output)?;
        }
        let stated = counted.stated.ballots;
        output.line(&match is_equal {
            true => format!("{ballots} ballots counted again: equal to what the server has"),
            false => {
                format!("{ballots} ballots counted again: the server has other counts, of {stated}")
            }
        })?;
    }
    output.flush()?;
    if args.verify && !is_equal {
        let parts: Vec<String> = counted.different.iter().map(u16::to_string).collect();
        return Err(CliError {
            exit_code: DIFFERENT,
            message: format!(
                "tally '{}': the ballots do not make the counts that the server has (partition {})",
                args.name,
                parts.join(", ")
            ),
        });
    }
    Ok(())
}
