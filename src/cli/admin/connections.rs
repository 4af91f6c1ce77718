//! `tidewire admin connection` and `revoke`: who is connected, and who has to go.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::http::ask;
use super::{CliError, Globals};
use crate::cli::output::{Output, note};
use crate::cli::timestamp::show_rfc3339;

const PATH: &str = "/v1/connections";

/// What to do with connections.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List who is connected
    List(Listed),
    /// End connections
    Kill(Chosen),
}

#[derive(Args, Clone, Debug)]
pub(super) struct Listed {
    /// Only so many, those that are behind the most
    #[arg(long, value_name = "COUNT")]
    slowest: Option<usize>,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Chosen {
    /// The one of this name, as `list` shows it
    #[arg(long)]
    session: Option<String>,
    /// Those of this subject
    #[arg(long)]
    subject: Option<String>,
    /// Those from this address
    #[arg(long)]
    address: Option<IpAddr>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct RevokeArgs {
    /// The token with this `jti`
    #[arg(
        long,
        value_name = "JTI",
        required_unless_present = "subject",
        conflicts_with = "subject"
    )]
    token_id: Option<String>,
    /// All tokens of this subject that were issued until now
    #[arg(long)]
    subject: Option<String>,
    /// Who knows the subject [default: local people]
    #[arg(long, requires = "subject")]
    issuer: Option<String>,
}

pub(super) async fn run(
    admin: SocketAddr,
    command: ConnectionCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    match command {
        ConnectionCommand::List(listed) => list(admin, &listed, globals).await,
        ConnectionCommand::Kill(chosen) => kill(admin, chosen, globals).await,
    }
}

async fn list(admin: SocketAddr, listed: &Listed, globals: &Globals) -> Result<(), CliError> {
    let path = match listed.slowest {
        Some(count) => format!("{PATH}?slowest={count}"),
        None => PATH.to_owned(),
    };
    let answer = ask(admin, Method::GET, &path, None).await?;
    let mut output = Output::new();
    if globals.json {
        output.json(&answer)?;
        return output.flush();
    }
    let connections = answer.get("connections").and_then(Value::as_array);
    for connection in connections.into_iter().flatten() {
        let text = |field: &str| connection.get(field).and_then(Value::as_str).unwrap_or("-");
        let number = |field: &str| connection.get(field).and_then(Value::as_u64);
        let until = match number("expires_at_ms") {
            Some(at_ms) => format!(", until {}", show_rfc3339(at_ms)),
            None => String::new(),
        };
        let tenant = connection.get("tenant").and_then(Value::as_str);
        let tenant = tenant.map(|tenant| format!(", tenant {tenant}")).unwrap_or_default();
        output.line(&format!(
            "{} {} {} {} of {}{tenant} since {}{until}, {} subscriptions{}",
            text("session"),
            text("transport"),
            text("address"),
            text("subject").escape_default(),
            text("issuer").escape_default(),
            show_rfc3339(number("since_ms").unwrap_or(0)),
            number("subscriptions").unwrap_or(0),
            behind(connection)
        ))?;
    }
    output.flush()
}

/// `, behind by 3 records, 10 reply bytes`; nothing of one that has all that there is.
fn behind(connection: &Value) -> String {
    let parts = [
        ("behind_records", "records"),
        ("behind_batches", "batches"),
        ("behind_watches", "values"),
        ("reply_bytes", "reply bytes"),
    ];
    let lags: Vec<String> = parts
        .iter()
        .filter_map(|(field, what)| Some((connection.get(*field)?.as_u64()?, what)))
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if lags.is_empty() { String::new() } else { format!(", behind by {}", lags.join(", ")) }
}

async fn kill(admin: SocketAddr, chosen: Chosen, globals: &Globals) -> Result<(), CliError> {
    let Chosen { session, subject, address } = chosen;
    let pairs = [
        ("session", session),
        ("subject", subject),
        ("address", address.map(|address| address.to_string())),
    ];
    let query: Vec<String> = pairs
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", percent(&value?))))
        .collect();
    let path = format!("{PATH}?{}", query.join("&"));
    let answer = ask(admin, Method::DELETE, &path, None).await?;
    let ended = answer.get("ended").and_then(Value::as_u64).unwrap_or(0);
    let mut output = Output::new();
    match globals.json {
        true => output.json(&answer)?,
        false => output.line(&format!("{ended} connections ended"))?,
    }
    output.flush()?;
    if ended > 0 {
        note("they may connect again: revoke their tokens, or change the configuration");
    }
    Ok(())
}

/// Takes tokens out of use.
pub(super) async fn revoke(
    admin: SocketAddr,
    args: RevokeArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let RevokeArgs { token_id, subject, issuer } = args;
    let body = match (token_id, subject) {
        (Some(id), _) => json!({ "token": id }),
        (None, subject) => json!({ "subject": { "issuer": issuer, "subject": subject } }),
    };
    let answer = ask(admin, Method::POST, "/v1/revocations", Some(&body)).await?;
    let mut output = Output::new();
    let count = answer.get("revocations").and_then(Value::as_u64).unwrap_or(0);
    match globals.json {
        true => output.json(&answer)?,
        false => output.line(&format!("revoked; {count} revocations in all"))?,
    }
    output.flush()?;
    if answer.get("kept") == Some(&Value::Bool(false)) {
        note("the server has no data_dir: it forgets this when it stops");
    }
    Ok(())
}

/// As a query carries it (RFC 3986, section 2).
pub(super) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
