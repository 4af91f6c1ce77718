//! `tidewire config check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{CliError, Globals};
use crate::auth::Auth;
use crate::config::Config;

/// Options of `tidewire config`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file without starting a server
    Check {
        /// The file
        file: PathBuf,
    },
}

pub(super) fn run(args: ConfigArgs, globals: &Globals) -> Result<(), CliError> {
    let ConfigCommand::Check { file } = args.command;
    let config = Config::read(&file).map_err(|error| CliError::usage(error.to_string()))?;
    config.check_exposure().map_err(|error| CliError::usage(error.to_string()))?;
    let accounts = Auth::load(&config.auth);
    accounts.map_err(|error| CliError::usage(format!("configuration: {error}")))?;
    let mut output = Output::new();
    let (warnings, policies) = (config.warnings(), config.policy.len());
    if globals.json {
        let said = json!({
            "file": file, "valid": true, "policies": policies, "warnings": warnings
        });
        output.json(&said)?;
    } else {
        output.line(&format!("{} is valid", file.display()))?;
        for warning in warnings {
            output.line(&format!("warning: {warning}"))?;
        }
    }
    output.flush()
}
