//! `tidewire demo`: a whole election, replayed ballot by ballot through a server of its own, while
//! hundreds of watchers follow the count and a page in the browser shows it.
//!
//! The demo is a client like any other: it casts each ballot as a vote over WebSocket and QUIC, and
//! at the end holds the server to it. Every ballot must have been counted once, and every watcher
//! must hold the count that the server gives.

mod args;
pub(crate) mod cast;
mod cluster;
pub(crate) mod connections;
mod crash;
mod election;
pub(crate) mod freshness;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod lan;
pub(crate) mod latency;
pub(crate) mod pause;
mod profile;
mod replay;
mod report;
pub(crate) mod screen;
mod status;
pub(crate) mod watchers;

pub use args::{DemoArgs, Kept, Rate};
pub(crate) use status::{per_second, tenths};

use std::path::PathBuf;

use crate::cli::{CliError, Globals};
use crate::config::{Config, Durability, PolicyConfig};
use crate::server::Server;
use connections::Endpoint;
use crash::Victim;
use election::Election;
use lan::Lan;
use report::Outcome;
use screen::{print, say, stop_asked};

/// The names that the demo uses.
const NAMES: &str = "demo.>";
/// Exit code when the count or a watcher is wrong.
const WRONG: u8 = 1;
/// Exit code when the ballots cannot be read or the server cannot start.
const USAGE: u8 = 2;
/// Exit code when the demo was stopped before its end.
const INTERRUPTED: u8 = 4;

/// Replays an election and reports. Without `--headless` the page stays up until the demo is told
/// to stop.
///
/// # Errors
/// When the ballots cannot be read, the server cannot start, a vote is refused, or the count or a
/// watcher is wrong in the end.
pub async fn run(args: DemoArgs, globals: &Globals) -> Result<(), CliError> {
    let election = args.election().map_err(|error| failed(USAGE, error.to_string()))?;
    let cannot_start = |error: &dyn std::fmt::Display| failed(USAGE, error.to_string());
    // Removed at the end, unless it is the user's own.
    let temporary = tempfile::tempdir().map_err(|error| cannot_start(&error))?;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().join("data"));
    if let Some(nodes) = args.cluster {
        return cluster::run(&args, nodes.into(), election, globals).await;
    }
    if args.crash_test {
        let victim = Victim::start(args.listen, &data_dir).await;
        let victim = victim.map_err(|error| cannot_start(&error))?;
        open_at(&victim.endpoint());
        return crash(&args, election, victim, globals).await;
    }
    let on_lan = args.on_lan().map_err(|error| cannot_start(&error))?;
    let lan = on_lan.map(|listen| Lan::prepare(listen, temporary.path())).transpose();
    let lan = lan.map_err(|error| cannot_start(&error))?;
    let mut config = config(&args, data_dir);
    if let Some(lan) = &lan {
        lan.configure(&mut config, election.ballots());
    }
    let server = Server::start(config).await.map_err(|error| cannot_start(&error))?;
    let mut endpoint = Endpoint::local(server.address(), server.certificate_sha256());
    let opened = match &lan {
        Some(lan) => {
            endpoint = endpoint.with_token(lan.own_key());
            open_poll(lan, &endpoint).await
        }
        None => {
            open_at(&endpoint);
            Ok(())
        }
    };
    let port = endpoint.address.port();
    let playing = async {
        let outcome = play(&args, election, endpoint).await?;
        conclude(&args, &outcome, globals).await
    };
    let ended = match opened {
        Ok(()) => tokio::select! {
            ended = playing => ended,
            error = keep_inviting(lan.as_ref(), port) => Err(error),
        },
        Err(error) => Err(error),
    };
    server.stop().await;
    ended
}

fn open_at(endpoint: &Endpoint) {
    say(&format!("Tidewire demo: open http://{}/ in a browser", endpoint.address));
}

/// Opens the poll of the guests and invites them.
async fn open_poll(lan: &Lan, endpoint: &Endpoint) -> Result<(), CliError> {
    lan.open_poll(endpoint).await?;
    lan.invite(endpoint.address.port(), say).map_err(|error| failed(USAGE, error))
}

/// Shows new invitations where there are guests. Returns what went wrong.
async fn keep_inviting(lan: Option<&Lan>, port: u16) -> CliError {
    match lan {
        Some(lan) => failed(USAGE, lan.keep_inviting(port, lan::INVITED_ANEW, say).await),
        None => std::future::pending().await,
    }
}

/// The server of the demo, on these votes' way.
fn config(args: &DemoArgs, data_dir: PathBuf) -> Config {
    let mut config = Config {
        listen: args.listen,
        admin_listen: args.admin_listen,
        data_dir: None,
        ..Config::default()
    };
    if args.durability == Kept::Disk {
        let durability = Durability::Disk;
        let policy =
            PolicyConfig { names: NAMES.to_owned(), durability, ..PolicyConfig::live_maps() };
        config.data_dir = Some(data_dir);
        config.policy.insert(0, PolicyConfig { map_keys_max: 0, ..policy });
    }
    config
}

/// The demo over a server that is killed in the middle.
async fn crash(
    args: &DemoArgs,
    election: Election,
    victim: Victim,
    globals: &Globals,
) -> Result<(), CliError> {
    let endpoint = victim.endpoint();
    let half = election.ballots() / 2;
    let crashing = tokio::spawn(victim.crash(replay::TALLY, half));
    let played = play(args, election, endpoint).await;
    let ended = match played {
        Ok(outcome) => conclude(args, &outcome, globals).await,
        Err(error) => Err(error),
    };
    if ended.is_err() {
        // What went wrong first is worth more than what follows from it.
        crashing.abort();
        return ended;
    }
    let crashed = crashing.await.map_err(|fault| failed(WRONG, fault.to_string()))?;
    let victim = crashed.map_err(|error| failed(WRONG, error))?;
    victim.stop().await.map_err(|error| failed(WRONG, error))
}

/// Replays the election, unless somebody stops it.
async fn play(
    args: &DemoArgs,
    election: Election,
    endpoint: Endpoint,
) -> Result<Outcome, CliError> {
    tokio::select! {
        played = replay::play(args, election, endpoint) => played,
        () = stop_asked() => Err(failed(INTERRUPTED, "the demo was stopped before its end".into())),
    }
}

/// Shows the result, and keeps the page up if that is wanted.
async fn conclude(args: &DemoArgs, outcome: &Outcome, globals: &Globals) -> Result<(), CliError> {
    let shown = show(outcome, globals);
    if !args.headless {
        say("The page goes on showing the result; Ctrl-C ends the demo.");
        stop_asked().await;
    }
    shown
}

fn show(outcome: &Outcome, globals: &Globals) -> Result<(), CliError> {
    if globals.json {
        let object = serde_json::to_string(&outcome.report());
        print(&object.map_err(|error| failed(WRONG, error.to_string()))?);
    } else {
        print(&outcome.summary());
    }
    match outcome.faults().as_slice() {
        [] => Ok(()),
        faults => Err(failed(WRONG, format!("the count is wrong: {}", faults.join("; ")))),
    }
}

fn failed(exit_code: u8, message: String) -> CliError {
    CliError { exit_code, message }
}
