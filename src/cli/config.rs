//! `tidewire config`.

mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::serve::ServeArgs;
use super::{CliError, Globals};
use crate::auth::Auth;
use crate::config::{Loaded, schema_text};
use crate::transport::openapi;

/// Options of `tidewire config`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file without starting a server, and without the environment
    Check {
        /// The file
        file: PathBuf,
    },
    /// Show the configuration that `serve` would have with the same options, and who has set what
    Show(ServeArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the description of the HTTP API (OpenAPI 3.1)
    Openapi,
}

pub(super) fn run(args: ConfigArgs, globals: &Globals) -> Result<(), CliError> {
    let mut output = Output::new();
    match args.command {
        ConfigCommand::Check { file } => check(&file, globals, &mut output)?,
        ConfigCommand::Show(args) => {
            let loaded = args.load().map_err(|error| CliError::usage(error.to_string()))?;
            show::show(&loaded, globals, &mut output)?;
        }
        ConfigCommand::Schema => output.raw(schema_text().as_bytes())?,
        ConfigCommand::Openapi => {
            output.raw(format!("{:#}\n", openapi()).as_bytes())?;
        }
    }
    output.flush()
}

fn check(file: &PathBuf, globals: &Globals, output: &mut Output) -> Result<(), CliError> {
    let loaded = Loaded::read(Some(file), [], Vec::new());
    let loaded = loaded.map_err(|error| CliError::usage(error.to_string()))?;
    let refused = |error| CliError::usage(loaded.placed(error).to_string());
    let config = &loaded.config;
    config.check_exposure().map_err(refused)?;
    Auth::load(&config.auth).map_err(|error| refused(error.into()))?;
    let (mut warnings, policies) = (config.warnings(), config.policy.len());
    // It may be named when the server is started.
    warnings.extend(config.check_data_dir().err().map(|error| loaded.placed(error).in_one_line()));
    if globals.json {
        return output.json(&json!({
            "file": file, "valid": true, "policies": policies, "warnings": warnings
        }));
    }
    output.line(&format!("{} is valid", file.display()))?;
    warnings.iter().try_for_each(|warning| output.line(&format!("warning: {warning}")))
}
