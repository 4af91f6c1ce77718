//! Making tokens and API keys.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use super::super::output::{Output, note};
use super::super::{CliError, Globals};
use crate::auth::{Algorithm, Claims, Grant, Issue, allowed, hash_of, issue, made};

/// Longest file of a key in bytes.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Args, Clone, Debug)]
pub(super) struct TokenArgs {
    /// The private key in PEM form; for HS256 the secret
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// What the key is for
    #[arg(long, value_enum, default_value = "EdDSA")]
    algorithm: Algorithm,
    /// The id of the key (`kid`)
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Who shows the token (`sub`)
    #[arg(long)]
    subject: String,
    /// A role of the configuration; again for more
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A rule of its own: operations with commas, a colon, a pattern of names; again for more
    #[arg(long = "allow", value_name = "OPERATIONS:NAMES", value_parser = parse_grant)]
    grants: Vec<Grant>,
    /// Who issues it (`iss`)
    #[arg(long)]
    issuer: Option<String>,
    /// For whom it is (`aud`)
    #[arg(long)]
    audience: Option<String>,
    /// Seconds until it expires
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl_s: u64,
}

#[derive(Args, Clone, Debug)]
pub(super) struct KeyArgs {
    /// The subject of its connections
    name: String,
    /// A role of the configuration; again for more
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
}

fn parse_grant(raw: &str) -> Result<Grant, String> {
    let (operations, names) = raw.split_once(':').ok_or("write it as publish,subscribe:news.>")?;
    let allow: Vec<String> =
        operations.split(',').map(|operation| operation.trim().to_owned()).collect();
    allowed(&allow)?;
    Ok(Grant { names: names.to_owned(), allow })
}

/// Signs a token and prints it.
pub(super) fn token(args: &TokenArgs, globals: &Globals) -> Result<(), CliError> {
    let path = args.key_file.display();
    let cannot = |error: std::io::Error| CliError::usage(format!("cannot read {path}: {error}"));
    let file = std::fs::File::open(&args.key_file).map_err(cannot)?;
    let mut key = Vec::new();
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut key).map_err(cannot)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        sub: args.subject.clone(),
        iss: args.issuer.clone(),
        aud: args.audience.clone(),
        exp: now_s.saturating_add(args.ttl_s),
        nbf: None,
        iat: Some(now_s),
        jti: None,
        roles: args.roles.clone(),
        permissions: args.grants.clone(),
    };
    let (algorithm, key_id) = (args.algorithm, args.key_id.clone());
    // As the server reads it: a line's end is no part of a secret.
    let key = if algorithm == Algorithm::Hs256 { key.trim_ascii_end() } else { &key };
    let token = issue(&Issue { algorithm, key, key_id, claims })
        .map_err(|error| CliError::usage(format!("{path}: {error}")))?;
    let mut output = Output::new();
    match globals.json {
        true => output.json(&json!({ "token": token }))?,
        false => output.line(&token)?,
    }
    output.flush()
}

/// Makes an API key; the key is shown this once.
pub(super) fn key(args: &KeyArgs, globals: &Globals) -> Result<(), CliError> {
    let (key, sha256) = made().map_err(|_unspecified| {
        CliError::usage("the system has no random bytes to make a key from")
    })?;
    let mut output = Output::new();
    let KeyArgs { name, roles } = args;
    if globals.json {
        output.json(&json!({ "key": key, "name": name, "sha256": sha256, "roles": roles }))?;
        return output.flush();
    }
    output.line(&key)?;
    output.flush()?;
    note("the key is shown this once; the configuration holds its SHA-256:");
    note(&format!("[[auth.api_key]]\nname = {name:?}\nsha256 = \"{sha256}\"\nroles = {roles:?}"));
    Ok(())
}

/// Prints the hash of the key on standard input.
pub(super) fn hash(globals: &Globals) -> Result<(), CliError> {
    let mut key = String::new();
    let cannot = |error: std::io::Error| CliError::usage(format!("standard input: {error}"));
    std::io::stdin().take(KEY_FILE_BYTES_MAX).read_to_string(&mut key).map_err(cannot)?;
    let sha256 = hash_of(key.trim()).ok_or_else(|| {
        CliError::usage("standard input holds no API key: `tidewire auth key` makes one")
    })?;
    let mut output = Output::new();
    match globals.json {
        true => output.json(&json!({ "sha256": sha256 }))?,
        false => output.line(&sha256)?,
    }
    output.flush()
}
