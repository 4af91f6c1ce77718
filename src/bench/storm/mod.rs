//! `tidewire bench storm`: how soon all clients are back, and have caught up, that were cut off at once.
//!
//! Each client is one of the Rust client's, with its own backoff, and follows a topic and a tally, both of which
//! are written to all the time. Then either the server is killed and started again with what it has on its disk,
//! or whatever stands between the clients and the server resets all of their connections. Who is back has caught
//! up as soon as it holds what had been acknowledged when it came back.

mod crowd;
mod figures;
mod follower;
mod relay;
mod scene;
mod writers;

use std::time::Duration;

use clap::{Args, ValueEnum};
use tidewire_client::Name;
use tokio::time::{Instant, sleep};

use super::args::{FILES_BESIDE, TransportArg};
use super::open_files;
use super::process::{Usage, UsageSource};
use super::progress::Progress;
use super::{USAGE, WRONG, unfinished, unique_name};
use crate::cli::{CliError, Globals};
use crate::demo::screen::{print, stop_asked};
use crowd::Crowd;
use figures::Figures;
use scene::Scene;
use writers::Writers;

/// How long anything may take that all clients do.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);
/// How long everything is written to before the cut.
const BEFORE: Duration = Duration::from_secs(2);

/// Options of `storm`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct StormArgs {
    /// Clients that are cut off
    #[arg(long, value_name = "N", default_value_t = 5000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// What cuts them off
    #[arg(long, value_enum, default_value_t = Cut::Restart)]
    pub(crate) cut: Cut,
    /// How frames travel
    #[arg(long, value_enum, default_value_t = TransportArg::Ws)]
    pub(crate) transport: TransportArg,
    /// Milliseconds that the server stays away, beside what its start takes
    #[arg(long, value_name = "MS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=60_000))]
    pub(crate) away_ms: u32,
    /// Records that are published in a second; a tenth as many votes are cast
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) rate: u32,
}

/// What cuts clients off.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server is killed and started again on the same port, with what is on its disk
    Restart,
    /// A relay before the server resets all connections and takes new ones; the server goes on
    Connections,
}

impl StormArgs {
    /// Checks what the options' types do not. `files_max` is how many files a process may have open.
    fn check(&self, files_max: u64) -> Result<(), String> {
        if self.cut == Cut::Connections {
            if self.transport == TransportArg::Quic {
                return Err("--cut connections is for ws and wss: the relay is one of TCP; use \
                            --cut restart"
                    .to_owned());
            }
            if self.away_ms > 0 {
                return Err(
                    "--away-ms goes with --cut restart: with --cut connections the server \
                            is never away"
                        .to_owned(),
                );
            }
        }
        // The relay has both ends of its connections in this process, too.
        let each = if self.cut == Cut::Connections { 3 } else { 1 };
        let room = files_max.saturating_sub(FILES_BESIDE) / each;
        if u64::from(self.clients) <= room {
            return Ok(());
        }
        Err(format!(
            "--clients {} needs {each} open files for each of them, and a process may have \
             {files_max} here (`ulimit -Hn`), some of them for other things: use {room} or fewer, \
             or raise the limit",
            self.clients
        ))
    }
}

/// The names that are followed.
#[derive(Clone, Debug)]
struct Names {
    topic: Name,
    tally: Name,
}

/// Runs it and prints what was measured.
///
/// # Errors
/// When the server does not start, or not all clients come back and hold everything, once.
pub(super) async fn run(args: StormArgs, globals: &Globals) -> Result<(), CliError> {
    args.check(open_files::raise_limit()).map_err(CliError::usage)?;
    let failed = |message| CliError { exit_code: USAGE, message };
    let names = Names { topic: unique_name("storm")?, tally: unique_name("storm-tally")? };
    let mut scene = Scene::set(&args).await.map_err(failed)?;
    let progress = Progress::start();
    progress.note(&format!(
        "bench: storm of {} clients over {}, process {}",
        args.clients,
        args.transport.scheme(),
        scene.pid()
    ));
    let measured = tokio::select! {
        measured = measure(&args, names, &mut scene, &progress) => measured,
        () = stop_asked() => Err(unfinished("the bench was stopped before its end")),
    };
    progress.end();
    let stopped = scene.stop().await;
    let mut figures = measured?;
    figures.faults.extend(stopped.err());
    print(&if globals.json { figures.json(&args) } else { figures.summary(&args) });
    match figures.faults.as_slice() {
        [] => Ok(()),
        faults => Err(CliError { exit_code: WRONG, message: faults.join("; ") }),
    }
}

async fn measure(
    args: &StormArgs,
    names: Names,
    scene: &mut Scene,
    progress: &Progress,
) -> Result<Figures, CliError> {
    let failed = |message| CliError { exit_code: WRONG, message };
    let writers = Writers::start(&scene.direct(), &names, args.rate).await.map_err(failed)?;
    progress.begin("connecting", args.clients.into());
    let way = scene.way();
    let crowd = Crowd::gather(&way, &names, writers.written(), args.clients, progress).await;
    let crowd = crowd.map_err(failed)?;
    sleep(BEFORE).await;

    progress.begin("coming back", args.clients.into());
    let own = UsageSource::own();
    let bench_before = read(own).await?;
    crowd.mark();
    let began = Instant::now();
    let (away, server_before) = scene.cut(args).await.map_err(failed)?;
    let (mut rss_peak, deadline) = (0, began + PATIENCE);
    loop {
        let usage = read(scene.usage()).await?;
        rss_peak = rss_peak.max(usage.rss_bytes.unwrap_or(0));
        let caught_up = crowd.caught_up();
        progress.at(caught_up, "");
        if caught_up >= u64::from(args.clients) || Instant::now() >= deadline {
            break;
        }
        sleep(LOOK).await;
    }
    let spent = |after: Usage, before: Usage| after.cpu_s.zip(before.cpu_s).map(|(a, b)| a - b);
    let server_cpu_s = spent(read(scene.usage()).await?, server_before);
    let bench_cpu_s = spent(read(own).await?, bench_before);

    let (written, mut faults) = writers.end().await;
    let deadline = Instant::now() + PATIENCE;
    while !crowd.has_everything(&written) && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let seen = crowd.disband(&written);
    faults.extend(seen.faults);
    Ok(Figures {
        clients: args.clients,
        away,
        back: seen.back,
        caught_up: seen.caught_up,
        attempts: seen.attempts,
        server_cpu_s,
        bench_cpu_s,
        server_rss_peak_bytes: rss_peak,
        records: written.records(),
        votes: written.votes(),
        faults,
    })
}

async fn read(of: UsageSource) -> Result<Usage, CliError> {
    of.read().await.map_err(|message| CliError { exit_code: USAGE, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(cut: Cut, transport: TransportArg, clients: u32) -> StormArgs {
        StormArgs { clients, cut, transport, away_ms: 0, rate: 100 }
    }

    #[test]
    fn a_relay_needs_three_files_for_each_client() {
        let relayed = args(Cut::Connections, TransportArg::Ws, 400);
        let refusal = relayed.check(1_000).unwrap_err();
        assert!(refusal.contains("--clients 400") && refusal.contains("use 312"), "{refusal}");
        relayed.check(1_264).unwrap();
        args(Cut::Restart, TransportArg::Ws, 400).check(1_000).unwrap();
    }

    #[test]
    fn a_relay_of_tcp_carries_no_quic_and_its_server_is_never_away() {
        let refusal = args(Cut::Connections, TransportArg::Quic, 1).check(1_000).unwrap_err();
        assert!(refusal.contains("--cut restart"), "{refusal}");
        let away = StormArgs { away_ms: 1, ..args(Cut::Connections, TransportArg::Ws, 1) };
        assert!(away.check(1_000).unwrap_err().contains("--away-ms"));
    }
}
