//! The command line: one file per family of commands.
//!
//! Exit codes: 0 done, 1 refused by the server, 2 usage or configuration, 3 no connection,
//! 4 interrupted or out of time.

mod admin;
mod auth;
mod config;
mod connection;
mod counter;
mod entries;
mod group;
mod interrupt;
mod lines;
mod map;
mod output;
mod presence;
mod publish;
mod reload;
mod replay;
mod serve;
mod subscribe;
mod tally;
mod timestamp;
mod topic;

pub(crate) use admin::http::ask as ask_admin;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Live events, counters and tallies, pushed to every watcher at once.
#[derive(Debug, Parser)]
#[command(name = "tidewire", version, about, propagate_version = true)]
struct Cli {
    /// Print JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Publish records to a topic
    Pub(publish::PublishArgs),
    /// Follow topics, one payload per line
    Sub(subscribe::SubscribeArgs),
    /// Look at, replay, export, import, truncate and delete topics
    Topic(topic::TopicArgs),
    /// Read, change and watch counters
    Counter(counter::CounterArgs),
    /// Create, vote in, read and watch tallies
    Tally(tally::TallyArgs),
    /// Read and watch the newest value per key of a topic
    Map(map::MapArgs),
    /// Share a topic's records among workers
    Group(group::GroupArgs),
    /// Join, list and watch who is present
    Presence(presence::PresenceArgs),
    /// Measure a server under load
    Bench(crate::bench::BenchArgs),
    /// Replay a real election and show it on a page
    Demo(crate::demo::DemoArgs),
    /// Look after a running server
    Admin(admin::AdminArgs),
    /// Replay a recording of a server, and hold the outcome against it
    Replay(replay::ReplayArgs),
    /// Make and check tokens and API keys, and explain permissions
    Auth(auth::AuthArgs),
    /// Check and show configurations, and print their schema
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What holds for every command.
#[derive(Clone, Copy, Debug)]
pub struct Globals {
    /// Print JSON on standard output.
    pub json: bool,
}

/// Why a command failed: one line for people, an exit code for programs.
#[derive(Debug)]
pub struct CliError {
    /// See the module's documentation.
    pub exit_code: u8,
    /// What was refused and what to do.
    pub message: String,
}

impl CliError {
    /// A mistake in how the command was called or configured.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit_code: 2, message: message.into() }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let globals = Globals { json: cli.json };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command, &globals)),
        Err(error) => Err(CliError { exit_code: 4, message: format!("no runtime: {error}") }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            drop(writeln!(std::io::stderr(), "error: {}", error.message));
            ExitCode::from(error.exit_code)
        }
    }
}

async fn run(command: Command, globals: &Globals) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(args, globals).await,
        Command::Pub(args) => publish::run(args, globals).await,
        Command::Sub(args) => subscribe::run(args, globals).await,
        Command::Topic(args) => topic::run(args, globals).await,
        Command::Counter(args) => counter::run(args, globals).await,
        Command::Tally(args) => tally::run(args, globals).await,
        Command::Map(args) => map::run(args, globals).await,
        Command::Group(args) => group::run(args, globals).await,
        Command::Presence(args) => presence::run(args, globals).await,
        Command::Bench(args) => crate::bench::run(args, globals).await,
        Command::Demo(args) => crate::demo::run(args, globals).await,
        Command::Admin(args) => admin::run(args, globals).await,
        Command::Replay(args) => replay::run(&args, globals),
        Command::Auth(args) => auth::run(args, globals),
        Command::Config(args) => config::run(args, globals),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "tidewire", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
