//! `tidewire map`: the newest value per key of a topic.

use clap::{Args, Subcommand};
use serde_json::json;
use tidewire_client::{CellKind, Client, Error, ErrorCode, Name, Refusal, WatchOptions};

use super::connection::{ConnectionArgs, parse_name};
use super::entries::{self, Labels};
use super::output::{Output, put_bytes, unless_pipe_closed};
use super::{CliError, Globals};

const LABELS: Labels = Labels { cell: "map", key: "key", value: "value" };

/// Read and follow the newest value per key of a topic
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
A topic keeps a map only if its policy says so. Records with a key write to it.

Examples:
  tidewire map get users
  tidewire map get users ann
  tidewire map watch users")]
pub(crate) struct MapArgs {
    #[command(subcommand)]
    pub(crate) command: MapCommand,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// What to do with a map.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum MapCommand {
    /// Print every entry, or the value of one key
    Get {
        /// The topic
        #[arg(value_parser = parse_name)]
        name: Name,
        /// Only the value of this key
        key: Option<String>,
    },
    /// Print every entry, and what changes: + for written, - for deleted
    Watch {
        /// The topic
        #[arg(value_parser = parse_name)]
        name: Name,
        /// Only this key
        #[arg(long)]
        key: Option<String>,
        /// End after so many lines
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// At most one update in so long
        #[arg(long, value_name = "MS")]
        interval_ms: Option<u64>,
    },
}

/// Runs one map command.
///
/// # Errors
/// When there is no connection, or the server refuses.
pub(super) async fn run(args: MapArgs, globals: &Globals) -> Result<(), CliError> {
    let client = match args.command {
        MapCommand::Get { .. } => args.connection.connect().await?,
        MapCommand::Watch { .. } => args.connection.connect_lasting().await?,
    };
    let done = perform(&client, args.command, globals).await;
    client.close().await;
    unless_pipe_closed(done)
}

async fn perform(client: &Client, command: MapCommand, globals: &Globals) -> Result<(), CliError> {
    match command {
        MapCommand::Get { name, key: Some(key) } => print_key(client, &name, &key, globals).await,
        MapCommand::Get { name, key: None } => {
            let all = client.entries(CellKind::Map, &name).await?;
            entries::print_all(LABELS, &name, &all, globals)
        }
        MapCommand::Watch { name, key, count, interval_ms } => {
            let options = WatchOptions { key, interval_ms, ..WatchOptions::default() };
            entries::follow(client, CellKind::Map, LABELS, &name, options, count, globals).await
        }
    }
}

async fn print_key(
    client: &Client,
    name: &Name,
    key: &str,
    globals: &Globals,
) -> Result<(), CliError> {
    let Some(value) = client.get(CellKind::Map, name, Some(key)).await? else {
        let message = format!("map '{name}' has no key '{}'", key.escape_default());
        return Err(Error::Refused(Refusal::new(ErrorCode::NotFound, message)).into());
    };
    let bytes = value.bytes()?;
    let mut output = Output::new();
    if globals.json {
        let mut object = json!({
            "map": name.as_str(),
            "key": key,
            "version": value.version,
            "epoch": value.epoch,
        });
        put_bytes(&mut object, "value", Some(&bytes));
        output.json(&object)?;
    } else {
        output.bytes(&bytes)?;
    }
    output.flush()
}
