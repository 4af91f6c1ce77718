//! `tidewire auth`: tokens and API keys, and what they allow, without a server.

mod check;
mod make;

use clap::{Args, Subcommand};

use super::{CliError, Globals};

const HELP: &str = "\
Examples:
  tidewire auth key shop --role backend
  openssl genpkey -algorithm ed25519 -out token.key
  openssl pkey -in token.key -pubout -out token.pem
  tidewire auth token --key-file token.key --subject ann --role viewer
  tidewire auth check --config tidewire.toml --token \"$TOKEN\"
  tidewire auth explain --config tidewire.toml --token \"$TOKEN\" --op publish --name news";

/// Make and check tokens and API keys, and explain permissions
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum AuthCommand {
    /// Sign a token
    Token(make::TokenArgs),
    /// Make an API key: the key itself, and what the configuration holds of it
    Key(make::KeyArgs),
    /// Print what the configuration holds of an API key, read from standard input
    Hash,
    /// Say whom a credential is of, and until when it is valid
    Check(check::CheckArgs),
    /// Say whether a credential allows something, and which rule decides
    Explain(check::ExplainArgs),
}

pub(super) fn run(args: AuthArgs, globals: &Globals) -> Result<(), CliError> {
    match args.command {
        AuthCommand::Token(args) => make::token(&args, globals),
        AuthCommand::Key(args) => make::key(&args, globals),
        AuthCommand::Hash => make::hash(globals),
        AuthCommand::Check(args) => check::check(&args, globals),
        AuthCommand::Explain(args) => check::explain(&args, globals),
    }
}
