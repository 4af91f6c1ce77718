//! `tidewire admin`: what the admin listener of a running server offers.

mod http;
mod record;

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use super::{CliError, Globals};

/// Options of `tidewire admin`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdminArgs {
    /// Admin address of the server
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "TIDEWIRE_ADMIN",
        default_value = "127.0.0.1:7173"
    )]
    admin: SocketAddr,
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum AdminCommand {
    /// Record what the server is told, to be replayed later
    #[command(subcommand, after_help = record::HELP)]
    Record(record::RecordCommand),
}

pub(super) async fn run(args: AdminArgs, globals: &Globals) -> Result<(), CliError> {
    match args.command {
        AdminCommand::Record(command) => record::run(args.admin, command, globals).await,
    }
}
