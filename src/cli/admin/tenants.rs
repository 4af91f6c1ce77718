//! `tidewire admin tenant`: what tenants have, and may have.

use std::net::SocketAddr;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::http::ask;
use super::{CliError, Globals};
use crate::cli::output::Output;

/// What to do with tenants.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// List them, with what each has of what it may have
    List,
}

/// Each figure with its limit, and how often that refused something.
const FIGURES: [(&str, &str, Option<&str>); 4] = [
    ("connections", "connections_max", Some("connections")),
    ("subscriptions", "subscriptions_max", Some("subscriptions")),
    ("names", "names_max", Some("names")),
    ("topic_bytes", "topic_bytes_max", None),
];

pub(super) async fn run(
    admin: SocketAddr,
    command: TenantCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    let TenantCommand::List = command;
    let answer = ask(admin, Method::GET, "/v1/tenants", None).await?;
    let mut output = Output::new();
    if globals.json {
        output.json(&answer)?;
        return output.flush();
    }
    let tenants = answer.get("tenants").and_then(Value::as_array);
    for tenant in tenants.into_iter().flatten() {
        output.line(&line(tenant))?;
    }
    output.flush()
}

/// `acme: 3 connections of 1000, ...; refused 2 names, ...`.
fn line(tenant: &Value) -> String {
    let number = |at: &str| tenant.pointer(at).and_then(Value::as_u64).unwrap_or(0);
    let has = FIGURES.map(|(what, limit, _)| {
        let most = match number(&format!("/limits/{limit}")) {
            0 => String::new(),
            limit => format!(" of {limit}"),
        };
        format!("{} {what}{most}", number(&format!("/{what}")))
    });
    let kinds = FIGURES.iter().filter_map(|(_, _, refused)| *refused).chain(["requests"]);
    let refused: Vec<String> = kinds
        .map(|what| (what, number(&format!("/refused/{what}"))))
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let refused = match refused.is_empty() {
        true => String::new(),
        false => format!("; refused: {}", refused.join(", ")),
    };
    let prefix = tenant.get("prefix").and_then(Value::as_str).unwrap_or("-");
    format!("{prefix}: {}{refused}", has.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_tenant_has_of_what_it_may_have() {
        let tenant = serde_json::json!({
            "prefix": "acme", "connections": 3, "subscriptions": 7, "names": 10, "topic_bytes": 99,
            "refused": { "connections": 0, "subscriptions": 0, "names": 2, "requests": 5 },
            "limits": { "connections_max": 1000, "names_max": 10, "topic_bytes_max": 0 },
        });
        assert_eq!(
            line(&tenant),
            "acme: 3 connections of 1000, 7 subscriptions, 10 names of 10, 99 topic_bytes; \
             refused: 2 names, 5 requests"
        );
    }
}
