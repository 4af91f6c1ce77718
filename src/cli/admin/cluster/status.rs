//! The nodes of a cluster, what it has decided about them, and how its groups are.

use std::net::SocketAddr;

use comfy_table::{CellAlignment, Table, presets};
use http::Method;
use serde_json::Value;

use super::super::http::ask;
use super::{CliError, Globals};
use crate::cli::output::Output;
use crate::cli::timestamp::show_rfc3339;

pub(super) async fn status(admin: SocketAddr, globals: &Globals) -> Result<(), CliError> {
    let answer = ask(admin, Method::GET, "/v1/cluster", None).await?;
    let mut output = Output::new();
    if globals.json {
        output.json(&answer)?;
        return output.flush();
    }
    let cluster = answer.get("cluster").and_then(Value::as_str).unwrap_or("-");
    let node = answer.get("node").and_then(Value::as_u64).unwrap_or(0);
    output.line(&format!("cluster {cluster}, seen by node {node}"))?;
    output.line(&table(&answer))?;
    for line in decided_lines(&answer) {
        output.line(&line)?;
    }
    for seed in answer.get("seeds").and_then(Value::as_array).into_iter().flatten() {
        output.line(&seed_line(seed))?;
    }
    output.flush()
}

fn table(answer: &Value) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let columns = [
        "NODE",
        "NAME",
        "STATE",
        "SINCE",
        "ACTIVITY",
        "ADDRESS",
        "INCARNATION",
        "VERSION",
        "RTT",
        "CONNECTIONS",
        "CPU",
        "MEMORY",
    ];
    table.set_header(columns);
    for node in answer.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        table.add_row(row(node));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if matches!(index, 0 | 6 | 8..) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn row(node: &Value) -> [String; 12] {
    let text = |field: &str| match node.get(field).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => text.escape_default().to_string(),
        Some(_) | None => "-".to_owned(),
    };
    let number = |at: &str| node.pointer(at).and_then(Value::as_u64);
    let shown = |at: &str| number(at).map_or("-".to_owned(), |number| number.to_string());
    let is_self = node.get("is_self") == Some(&Value::Bool(true));
    let has_said = node.get("activity").is_some_and(Value::is_string);
    let said = |text: String| if has_said { text } else { "-".to_owned() };
    let mib = number("/load/memory_bytes").unwrap_or(0) / (1024 * 1024);
    [
        format!("{}{}", shown("/id"), if is_self { "*" } else { "" }),
        text("name"),
        text("state"),
        show_rfc3339(number("/since_ms").unwrap_or(0)),
        text("activity"),
        text("address"),
        shown("/incarnation"),
        text("version"),
        number("/round_trip_us").map_or("-".to_owned(), |us| format!("{us} us")),
        said(shown("/load/connections")),
        said(number("/load/cpu_millicores").map_or("-".to_owned(), |cpu| format!("{cpu} m"))),
        said(format!("{mib} MiB")),
    ]
}

/// What was decided about each node, and which groups wait for something.
fn decided_lines(answer: &Value) -> Vec<String> {
    let Some(decided) = answer.get("decided").filter(|decided| decided.is_object()) else {
        return vec![
            "not founded, or this node does not belong to it: `tidewire admin cluster init` or `join`"
                .to_owned(),
        ];
    };
    let number = |of: &Value, field: &str| of.get(field).and_then(Value::as_u64).unwrap_or(0);
    let mut lines = vec![format!(
        "decided: {} copies of each shard, feature level {}, policies of version {}",
        number(decided, "copies"),
        number(decided, "feature_level"),
        number(decided, "policies_version"),
    )];
    for member in decided.get("members").and_then(Value::as_array).into_iter().flatten() {
        let state = member.get("state").and_then(Value::as_str).unwrap_or("-");
        lines.push(format!(
            "node {}: {state}, has copies of {} groups and is to have {}, leads {}",
            number(member, "id"),
            number(member, "copies"),
            number(member, "copies_wanted"),
            number(member, "leads"),
        ));
    }
    let shards = answer.get("groups").and_then(Value::as_array).into_iter().flatten();
    for group in shards.chain(decided.get("meta")) {
        let leader = group.get("leader").and_then(Value::as_u64);
        let waits = group.get("waits").and_then(Value::as_str);
        let number = number(group, "group");
        match (leader, waits) {
            (None, _) => lines.push(format!("group {number}: no leader is known")),
            (Some(leader), Some(waits)) => {
                let waits = printable(waits);
                lines.push(format!("group {number}, led by node {leader}: {waits}"));
            }
            (Some(_), None) => {}
        }
    }
    lines
}

/// `seed node-2.example:7172: node 2`, or why it is not found.
fn seed_line(seed: &Value) -> String {
    let address = seed.get("address").and_then(Value::as_str).unwrap_or("-");
    let attempts = seed.get("attempts").and_then(Value::as_u64).unwrap_or(0);
    let error = seed.get("error").and_then(Value::as_str);
    match (error, seed.get("node").and_then(Value::as_u64)) {
        (Some(error), _) => {
            format!("seed {address}: not found, dialed {attempts} times: {}", printable(error))
        }
        (None, Some(node)) => format!("seed {address}: node {node}"),
        (None, None) => format!("seed {address}: not found yet"),
    }
}

/// Without what would do something to a terminal: some of it other nodes have said.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_a_line_and_the_own_one_has_a_star() {
        let answer = json!({ "nodes": [
            { "id": 1, "name": "a", "state": "alive", "since_ms": 0, "activity": "active",
              "address": "a:1", "incarnation": 4, "version": "0.1.0", "is_self": true,
              "round_trip_us": null,
              "load": { "connections": 3, "cpu_millicores": 250, "memory_bytes": 2_097_152 } },
            { "id": 2, "name": "", "state": "down", "since_ms": 0, "activity": null, "address": "b:1",
              "incarnation": 1, "version": "", "is_self": false, "round_trip_us": 80,
              "load": { "connections": 0, "cpu_millicores": null, "memory_bytes": 0 } },
        ]});
        let table = table(&answer);
        let lines: Vec<&str> = table.lines().collect();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let own =
            ["1*", "a", "alive", "1970-01-01T00:00:00.000Z", "active", "a:1", "4", "0.1.0", "-"];
        assert_eq!(&words(lines[1])[..9], own, "{table}");
        assert_eq!(&words(lines[1])[9..], ["3", "250", "m", "2", "MiB"]);
        assert_eq!(words(lines[2])[2], "down");
        assert_eq!(words(lines[2])[8..], ["80", "us", "-", "-", "-"]);
    }

    #[test]
    fn a_seed_says_why_it_is_not_found() {
        let seed = json!({ "address": "a:1", "node": null, "attempts": 3, "error": "no\nanswer" });
        assert_eq!(seed_line(&seed), "seed a:1: not found, dialed 3 times: no answer");
        let seed = json!({ "address": "a:1", "node": 2, "attempts": 0, "error": null });
        assert_eq!(seed_line(&seed), "seed a:1: node 2");
    }

    #[test]
    fn it_says_what_was_decided_and_what_groups_wait_for() {
        let answer = json!({
            "decided": {
                "copies": 3, "feature_level": 1, "policies_version": 2,
                "members": [{ "id": 2, "state": "draining", "copies": 16, "copies_wanted": 0, "leads": 1 }],
                "meta": { "group": 48, "leader": null, "waits": null },
            },
            "groups": [
                { "group": 0, "leader": 1, "waits": null },
                { "group": 1, "leader": 2, "waits": "node 1 is\nto lead" },
            ],
        });
        let expected = [
            "decided: 3 copies of each shard, feature level 1, policies of version 2",
            "node 2: draining, has copies of 16 groups and is to have 0, leads 1",
            "group 1, led by node 2: node 1 is to lead",
            "group 48: no leader is known",
        ];
        assert_eq!(decided_lines(&answer), expected);
        let nothing = decided_lines(&json!({ "decided": null }));
        assert!(nothing[0].contains("not founded"), "{nothing:?}");
    }
}
