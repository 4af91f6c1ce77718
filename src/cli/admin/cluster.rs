//! `tidewire admin cluster`: its certificates, and its nodes.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use http::Method;
use serde_json::{Value, json};

use super::http::ask;
use super::{CliError, Globals};
use crate::cli::output::{Output, note};
use crate::cli::timestamp::show_rfc3339;
use crate::cluster::NodeId;
use crate::cluster::ca::{self, CA_KEY_FILE, MASTER_KEY_FILE, MadeFiles};

/// What to do with a cluster.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make the certificate authority of a cluster, and certificates of its nodes
    #[command(subcommand)]
    Ca(CaCommand),
    /// List the nodes as the server sees them, and the seeds that it looks for
    Status,
    /// Make the server the first node of its cluster
    Init,
    /// Have the server taken into its cluster, and wait until it is
    Join,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Make a new cluster's authority: its certificate and its key
    Init {
        /// Where its files are made
        directory: PathBuf,
    },
    /// Make the certificate of a node, and its key
    Issue(IssueArgs),
}

#[derive(Args, Clone, Debug)]
pub(super) struct IssueArgs {
    /// The directory of the authority
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The node's id: greater than 0, and no other node's, now or ever
    #[arg(long, value_name = "ID", value_parser = parse_node)]
    node: NodeId,
    /// Where the files are made [default: the directory of the authority]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn parse_node(raw: &str) -> Result<NodeId, String> {
    let number = raw.parse().map_err(|_no_number| "is a whole number".to_owned())?;
    NodeId::new(number).ok_or_else(|| "is greater than 0".to_owned())
}

pub(super) async fn run(
    admin: SocketAddr,
    command: ClusterCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    match command {
        ClusterCommand::Ca(CaCommand::Init { directory }) => {
            let made = ca::init(&directory).map_err(|error| CliError::usage(error.to_string()))?;
            tell(&made, None, globals)?;
            let directory = directory.display();
            note(&format!(
                "next: tidewire admin cluster ca issue --ca {directory} --node 1, for each node another id; \
                 keep {CA_KEY_FILE} where no server is: who has it can make nodes; {MASTER_KEY_FILE} goes to \
                 every node (storage.master_key_file)"
            ));
            Ok(())
        }
        ClusterCommand::Ca(CaCommand::Issue(IssueArgs { ca, node, out })) => {
            let out = out.unwrap_or_else(|| ca.clone());
            let made =
                ca::issue(&ca, node, &out).map_err(|error| CliError::usage(error.to_string()))?;
            tell(&made, Some(node), globals)?;
            note(&format!(
                "next, in the configuration of node {node}:\n[cluster]\nadvertise = \"HOST:7172\"\nseeds = \
                 [\"OTHER-HOST:7172\"]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n[storage]\nmaster_key_file = {:?}",
                ca.join(ca::CA_FILE),
                made.certificate,
                made.key,
                ca.join(MASTER_KEY_FILE)
            ));
            Ok(())
        }
        ClusterCommand::Status => status(admin, globals).await,
        ClusterCommand::Init => {
            let answer = ask(admin, Method::POST, "/v1/cluster/init", None).await?;
            let next = "next: `tidewire admin cluster join` on the second and the third node; names on disk \
                        survive the loss of a node from the third on";
            done(&answer, "founded", next, globals)
        }
        ClusterCommand::Join => {
            let answer = ask(admin, Method::POST, "/v1/cluster/join", None).await?;
            done(&answer, "joined", "`tidewire admin cluster status` shows who votes", globals)
        }
    }
}

fn tell(made: &MadeFiles, node: Option<NodeId>, globals: &Globals) -> Result<(), CliError> {
    let MadeFiles { cluster, certificate, key, until_ms } = made;
    let mut output = Output::new();
    if globals.json {
        let mut object = json!({
            "cluster": cluster.to_string(),
            "certificate": certificate,
            "key": key,
            "until_ms": until_ms,
        });
        if let (Some(node), Some(fields)) = (node, object.as_object_mut()) {
            fields.insert("node".to_owned(), json!(node));
        }
        output.json(&object)?;
        return output.flush();
    }
    let of = node.map_or("authority".to_owned(), |node| format!("node {node}"));
    output.line(&format!("{of} of cluster {cluster}, until {}", show_rfc3339(*until_ms)))?;
    output.line(&format!("certificate {}", certificate.display()))?;
    output.line(&format!("key         {} (for its user only)", key.display()))?;
    output.flush()
}

fn done(answer: &Value, what: &str, next: &str, globals: &Globals) -> Result<(), CliError> {
    let mut output = Output::new();
    if globals.json {
        output.json(answer)?;
        return output.flush();
    }
    let groups = answer.get("groups").and_then(Value::as_u64).unwrap_or_default();
    output.line(&format!("{what}: {groups} groups of shards"))?;
    output.flush()?;
    note(next);
    Ok(())
}

async fn status(admin: SocketAddr, globals: &Globals) -> Result<(), CliError> {
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
}
