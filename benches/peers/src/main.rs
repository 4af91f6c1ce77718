//! `peers`: Tidewire and its peers under the same workloads, in one table.

mod args;
mod clock;
mod connection;
mod generator;
mod link;
mod peer;
mod ports;
mod process;
mod quic;
mod record;
mod runner;
mod server;
mod session;
mod stats;
mod table;
mod window;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::Args;
use peer::Peer;
use server::Host;
use table::Form;

/// Exit code when some run failed.
const FAILED: u8 = 1;
/// Exit code when it cannot be run as it was asked for.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            tell(&format!("peers: {error}"));
            ExitCode::from(USAGE)
        }
    }
}

/// Whether every run went well.
fn run(args: &Args) -> Result<bool, String> {
    if let Some(what) = &args.write_loop {
        peer::write_loop(what, print)?;
        return Ok(true);
    }
    if args.list {
        args.peers().iter().for_each(|peer| print(peer.name()));
        return Ok(true);
    }
    let host = Host { bin_dir: args.bin_dir()?, processors: args.processors()? };
    let machine = record::machine();
    let version = |peer: Peer| Ok((peer, peer.version(&host)?));
    let versions: Vec<_> = args.peers().into_iter().map(version).collect::<Result<_, String>>()?;
    tell(&format!("machine: {machine}"));
    for (peer, version) in &versions {
        tell(&format!("{}: {version}", peer.title()));
    }
    let rows = runner::run(args, &host, tell)?;
    let form = if args.markdown { Form::Markdown } else { Form::Text };
    print(&record::heading(args, &machine, &versions)?);
    print(&table::tables(&rows, form));
    if let Some(path) = &args.json {
        let record = record::record(args, &machine, &versions, &rows)?;
        let text = format!("{record:#}\n");
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(rows.iter().all(|row| row.failures.is_empty()))
}

/// Prints a result. Nobody may be listening any more; that is no reason to stop.
fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Says how it goes.
fn tell(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
