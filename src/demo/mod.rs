//! `tidewire demo`: a whole election, replayed ballot by ballot through a server of its own, while
//! hundreds of watchers follow the count and a page in the browser shows it.
//!
//! The demo is a client like any other: it casts each ballot as a vote over WebSocket and QUIC, and
//! at the end holds the server to it. Every ballot must have been counted once, and every watcher
//! must hold the count that the server gives.

mod args;
pub(crate) mod cast;
pub(crate) mod connections;
mod election;
pub(crate) mod freshness;
pub(crate) mod latency;
mod profile;
mod replay;
mod report;
pub(crate) mod screen;
mod status;
pub(crate) mod watchers;

pub use args::{DemoArgs, Rate};
pub(crate) use status::{per_second, tenths};

use std::pin::pin;

use crate::cli::{CliError, Globals};
use crate::config::Config;
use crate::server::Server;
use connections::Endpoint;
use report::Outcome;
use screen::{print, say, stop_asked};

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
    let config = Config {
        listen: args.listen,
        admin_listen: args.admin_listen,
        data_dir: None,
        ..Config::default()
    };
    let server = Server::start(config).await.map_err(|error| failed(USAGE, error.to_string()))?;
    let endpoint = Endpoint::local(server.address(), server.certificate_sha256());
    say(&format!("Tidewire demo: open http://{}/ in a browser", endpoint.address));
    let mut stop = pin!(stop_asked());
    let played = tokio::select! {
        played = replay::play(&args, election, endpoint) => played,
        () = stop.as_mut() => Err(failed(INTERRUPTED, "the demo was stopped before its end".into())),
    };
    let ended = match played {
        Ok(outcome) => {
            let shown = show(&outcome, globals);
            if !args.headless {
                say("The page goes on showing the result; Ctrl-C ends the demo.");
                stop.await;
            }
            shown
        }
        Err(error) => Err(error),
    };
    server.stop().await;
    ended
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
