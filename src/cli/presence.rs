//! `tidewire presence`: who is there.

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::json;
use tidewire_client::{CellKind, Client, ConnectionState, Name, WatchOptions};

use super::connection::{ConnectionArgs, parse_name};
use super::entries::{self, Labels};
use super::interrupt::interrupted;
use super::output::{Output, unless_pipe_closed};
use super::{CliError, Globals};

const LABELS: Labels = Labels { cell: "presence", key: "member", value: "data" };

/// Say who is there, and see it
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire presence join room.7 ann --data '{\"colour\":\"blue\"}'
  tidewire presence list room.7
  tidewire presence watch room.7")]
pub(crate) struct PresenceArgs {
    #[command(subcommand)]
    pub(crate) command: PresenceCommand,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// What to do with a presence set.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum PresenceCommand {
    /// Be there until this command is stopped
    Join {
        /// The presence set
        #[arg(value_parser = parse_name)]
        name: Name,
        /// Who is there
        member: String,
        /// What others see beside the member
        #[arg(long)]
        data: Option<String>,
    },
    /// Print who is there
    List {
        /// The presence set
        #[arg(value_parser = parse_name)]
        name: Name,
    },
    /// Print who is there, and who comes (+) and goes (-)
    Watch {
        /// The presence set
        #[arg(value_parser = parse_name)]
        name: Name,
        /// End after so many lines
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// Runs one presence command.
///
/// # Errors
/// When there is no connection, or the server refuses.
pub(super) async fn run(args: PresenceArgs, globals: &Globals) -> Result<(), CliError> {
    let client = match args.command {
        PresenceCommand::List { .. } => args.connection.connect().await?,
        PresenceCommand::Join { .. } | PresenceCommand::Watch { .. } => {
            args.connection.connect_lasting().await?
        }
    };
    let done = perform(&client, args.command, globals).await;
    client.close().await;
    unless_pipe_closed(done)
}

async fn perform(
    client: &Client,
    command: PresenceCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    match command {
        PresenceCommand::Join { name, member, data } => {
            join(client, &name, &member, data, globals).await
        }
        PresenceCommand::List { name } => {
            let members = client.entries(CellKind::Presence, &name).await?;
            entries::print_all(LABELS, &name, &members, globals)
        }
        PresenceCommand::Watch { name, count } => {
            let options = WatchOptions::default();
            let kind = CellKind::Presence;
            entries::follow(client, kind, LABELS, &name, options, count, globals).await
        }
    }
}

/// Stays until the command is stopped, then leaves.
async fn join(
    client: &Client,
    name: &Name,
    member: &str,
    data: Option<String>,
    globals: &Globals,
) -> Result<(), CliError> {
    client.presence_join(name, member, data.map(Bytes::from)).await?;
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({ "presence": name.as_str(), "member": member, "joined": true }))?;
    } else {
        output.line(&format!("{member} is in {name}; Ctrl-C leaves"))?;
    }
    output.flush()?;
    let mut states = client.states();
    let failed = states.wait_for(|state| match state {
        ConnectionState::Failed { .. } | ConnectionState::Closed => true,
        ConnectionState::Connecting
        | ConnectionState::Connected { .. }
        | ConnectionState::Disconnected { .. } => false,
    });
    tokio::select! {
        _ = failed => {}
        () = interrupted() => {}
    }
    // After a failure this says why.
    Ok(client.presence_leave(name, member).await?)
}
