//! `tidewire bench`: what a server can do, measured from outside.
//!
//! The server is a child process of this program, so that its CPU time can be told from the
//! bench's own; or it is one that runs already. Both share this machine's processors, so each
//! result says what either side used.

mod accounts;
mod args;
mod converge;
mod delivery;
mod failover;
mod fanout;
mod flood;
mod flow;
mod idle;
mod journal;
mod latency;
mod lean;
mod limit;
mod machine;
mod open_files;
mod over_time;
mod pace;
mod payload;
mod phase;
mod process;
mod progress;
mod publish;
mod publishers;
mod quota;
mod report;
mod server_config;
mod sizes;
mod storm;
mod subscribers;
mod tally;
mod target;

pub use args::BenchArgs;

use crate::cli::{CliError, Globals};
use crate::demo::screen::{print, stop_asked};
use args::{OutputArgs, Workload};
use progress::Progress;
use report::{Baseline, Report};
use server_config::Needs;
use sizes::Sizes;
use target::Target;
use tidewire_client::AckLevel;

/// Exit code when the server lost something.
const WRONG: u8 = 1;
/// Exit code when the bench cannot be set up as it was asked for.
const USAGE: u8 = 2;
/// Exit code when the bench was stopped, or something took too long.
const UNFINISHED: u8 = 4;

/// Runs a workload and prints what was measured.
///
/// # Errors
/// When options do not go together, there is no server, it refuses something, or records were lost.
pub async fn run(args: BenchArgs, globals: &Globals) -> Result<(), CliError> {
    let workload = args.workload;
    if let Workload::Hold(args) = workload {
        return idle::hold(args).await;
    }
    if let Workload::Journal(args) = workload {
        return journal::run(args, globals).await;
    }
    if let Workload::Failover(args) = workload {
        return failover::run(args, globals).await;
    }
    if let Workload::Converge(args) = workload {
        return converge::run(args, globals).await;
    }
    if let Workload::Storm(args) = workload {
        return storm::run(args, globals).await;
    }
    let (Some(to), Some(output)) = (workload.target(), workload.output()) else { return Ok(()) };
    workload.check(open_files::raise_limit()).map_err(CliError::usage)?;
    let sizes = Sizes::of(&workload);
    let baseline = output.baseline.as_deref().map(Baseline::read).transpose()?;
    if let Some(baseline) = &baseline {
        baseline.check(workload.kind(), to.scheme(), &sizes)?;
    }
    let target = Target::start(to, &workload.needs()).await?;
    let progress = Progress::start();
    progress.note(&format!("bench: {} against {target}: {sizes}", workload.kind()));
    let measured = tokio::select! {
        measured = run_workload(&workload, &sizes, &target, &progress) => measured,
        () = stop_asked() => Err(unfinished("the bench was stopped before its end")),
    };
    progress.end();
    let stopped = target.stop().await;
    let mut report = measured?;
    report.add_faults(stopped.err());
    tell(&report, baseline.as_ref(), output, globals)?;
    match report.faults() {
        [] => Ok(()),
        faults => Err(CliError { exit_code: WRONG, message: faults.join("; ") }),
    }
}

/// Prints first: whatever becomes of the files, the figures are there.
fn tell(
    report: &Report,
    baseline: Option<&Baseline>,
    output: &OutputArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    if globals.json {
        print(&report.json(baseline)?);
    } else {
        print(&report.summary(baseline));
    }
    if let Some(file) = &output.save {
        report.save(file)?;
    }
    if let Some(file) = &output.report {
        report.write_page(file, baseline)?;
    }
    Ok(())
}

async fn run_workload(
    workload: &Workload,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    match workload {
        Workload::Fanout(args) => fanout::run(args, sizes, target, progress).await,
        Workload::Publish(args) => publish::run(args, sizes, target, progress).await,
        Workload::Tally(args) => tally::run(args, sizes, target, progress).await,
        Workload::Idle(args) => idle::run(args, sizes, target, progress).await,
        Workload::Latency(args) => latency::run(args, sizes, target, progress).await,
        Workload::Flood(args) => flood::run(args, sizes, target, progress).await,
        Workload::Failover(_)
        | Workload::Storm(_)
        | Workload::Converge(_)
        | Workload::Journal(_)
        | Workload::Hold(_) => Err(CliError::usage("this workload needs no server")),
    }
}

impl Workload {
    /// The word that it is asked for by.
    fn kind(&self) -> &'static str {
        match self {
            Self::Fanout(_) => "fanout",
            Self::Publish(_) => "publish",
            Self::Tally(_) => "tally",
            Self::Idle(_) => "idle",
            Self::Latency(_) => "latency",
            Self::Flood(_) => "flood",
            Self::Failover(_) => "failover",
            Self::Storm(_) => "storm",
            Self::Converge(_) => "converge",
            Self::Journal(_) => "journal",
            Self::Hold(_) => "hold",
        }
    }

    /// What it needs of a server.
    fn needs(&self) -> Needs {
        let whole = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        match self {
            Self::Fanout(args) => {
                let connections = args.connections.unwrap_or(args.subscribers);
                Needs {
                    connections: whole(connections) + whole(args.publishers),
                    subscriptions: whole(args.subscribers.div_ceil(connections)),
                    // Twice, so that the oldest batch may leave as a whole.
                    kept: Some((2 * args.window_records(), args.batch.shape())),
                    ..Needs::default()
                }
            }
            Self::Publish(args) => {
                let is_kept = args.ack.level() >= AckLevel::Disk;
                Needs { connections: whole(args.publishers), is_kept, ..Needs::default() }
            }
            Self::Tally(args) => {
                let connections = args.watching_connections();
                Needs {
                    connections: whole(connections) + usize::from(args.writers),
                    subscriptions: whole(args.watchers.div_ceil(connections)),
                    ..Needs::default()
                }
            }
            Self::Idle(args) => Needs {
                connections: whole(args.connections),
                is_kept: args.topics > 0,
                ..Needs::default()
            },
            Self::Latency(args) => {
                let most = args.subscribers.iter().copied().max().unwrap_or(1);
                let connections = args.connections.map_or(most, |max| max.min(most));
                Needs {
                    connections: whole(connections),
                    subscriptions: whole(most.div_ceil(connections)),
                    ..Needs::default()
                }
            }
            Self::Flood(args) => Needs {
                connections: whole(args.publishers)
                    + whole(args.subscribers)
                    + whole(args.flooders),
                accounts: true,
                ..Needs::default()
            },
            Self::Failover(_)
            | Self::Storm(_)
            | Self::Converge(_)
            | Self::Journal(_)
            | Self::Hold(_) => Needs::default(),
        }
    }
}

fn unfinished(message: &str) -> CliError {
    CliError { exit_code: UNFINISHED, message: message.to_owned() }
}

/// A name that no other run uses.
fn unique_name(workload: &str) -> Result<tidewire_client::Name, CliError> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ns = since.map_or(0, |since| since.as_nanos());
    let name = format!("bench.{workload}.{}-{now_ns}", std::process::id());
    tidewire_client::Name::parse(&name).map_err(|refusal| CliError::usage(refusal.message))
}

#[cfg(test)]
mod tests;
