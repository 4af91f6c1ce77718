//! `tidewire admin`: what the admin listener of a running server offers.

mod backup;
mod cluster;
mod connections;
pub(in crate::cli) mod http;
mod names;
mod record;
mod restore;
mod tenants;

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
    /// List and end connections
    #[command(subcommand)]
    Connection(connections::ConnectionCommand),
    /// List topics, counters, tallies, presence sets or consumer groups, with their figures
    #[command(after_help = names::HELP)]
    Names(names::NamesArgs),
    /// List the tenants, with what they have and what was refused
    #[command(subcommand)]
    Tenant(tenants::TenantCommand),
    /// Take tokens out of use before they expire; connections with them end
    Revoke(connections::RevokeArgs),
    /// Make certificates of a cluster, and see its nodes
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Save what a running server, or its whole cluster, keeps on disk, as one file
    Backup(backup::BackupArgs),
    /// Make a data directory from a backup
    Restore(restore::RestoreArgs),
    /// Read a backup, or the data directory of a stopped server, and say what is damaged
    Verify(restore::VerifyArgs),
}

pub(super) async fn run(args: AdminArgs, globals: &Globals) -> Result<(), CliError> {
    match args.command {
        AdminCommand::Record(command) => record::run(args.admin, command, globals).await,
        AdminCommand::Connection(command) => connections::run(args.admin, command, globals).await,
        AdminCommand::Names(names) => names::run(args.admin, names, globals).await,
        AdminCommand::Tenant(command) => tenants::run(args.admin, command, globals).await,
        AdminCommand::Revoke(revoke) => connections::revoke(args.admin, revoke, globals).await,
        AdminCommand::Cluster(command) => cluster::run(args.admin, command, globals).await,
        AdminCommand::Backup(backup) => backup::backup(args.admin, backup, globals).await,
        AdminCommand::Restore(args) => restore::restored(args, globals),
        AdminCommand::Verify(verify) => restore::verify(&verify, globals),
    }
}
