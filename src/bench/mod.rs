//! `tidewire bench`: what a server can do, measured from outside through the client.
//!
//! The server is a child process of this program, so that its CPU time can be told from the
//! bench's own; or it is one that runs already. Both share this machine's processors, so each
//! result says what either side used.

mod args;
mod child;
mod fanout;
mod limit;
mod phase;
mod process;
mod report;
mod sizes;
mod tally;
mod target;

pub use args::BenchArgs;

use crate::cli::{CliError, Globals};
use crate::demo::screen::{print, say, stop_asked};
use args::Workload;
use report::Report;
use target::Target;

/// Exit code when the server lost something.
const WRONG: u8 = 1;
/// Exit code when the bench cannot be set up as it was asked for.
const USAGE: u8 = 2;
/// Exit code when the bench was stopped, or something took too long.
const UNFINISHED: u8 = 4;

/// Runs a workload and prints what was measured.
///
/// # Errors
/// When there is no server, it refuses something, or records were lost.
pub async fn run(args: BenchArgs, globals: &Globals) -> Result<(), CliError> {
    let options = args.workload.options();
    let target = Target::start(&options.target).await?;
    say(&format!(
        "bench: {} s of warm-up, then {} s, against {}",
        options.warmup_seconds, options.seconds, target
    ));
    let measured = tokio::select! {
        measured = run_workload(&args.workload, &target) => measured,
        () = stop_asked() => Err(unfinished("the bench was stopped before its end")),
    };
    let stopped = target.stop().await;
    let mut report = measured?;
    report.add_fault(stopped.err());
    if globals.json {
        print(&report.json()?);
    } else {
        print(&report.summary());
    }
    match report.faults() {
        [] => Ok(()),
        faults => Err(CliError { exit_code: WRONG, message: faults.join("; ") }),
    }
}

async fn run_workload(workload: &Workload, target: &Target) -> Result<Report, CliError> {
    match workload {
        Workload::Fanout(args) => fanout::run(args, target).await,
        Workload::Tally(args) => tally::run(args, target).await,
    }
}

fn unfinished(message: &str) -> CliError {
    CliError { exit_code: UNFINISHED, message: message.to_owned() }
}

/// A name that no other run uses.
fn unique_name(workload: &str) -> Result<tidewire_client::Name, CliError> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis());
    let name = format!("bench.{workload}.{}-{now_ms}", std::process::id());
    tidewire_client::Name::parse(&name).map_err(|refusal| CliError::usage(refusal.message))
}

#[cfg(test)]
mod tests;
