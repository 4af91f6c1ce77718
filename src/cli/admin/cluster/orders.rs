//! What an operator wants of a cluster.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::super::http::ask;
use super::{CliError, Globals, parse_node};
use crate::cli::output::{Output, note};
use crate::cluster::NodeId;

/// How often it is looked how far a node is drained.
const LOOK: Duration = Duration::from_millis(500);

/// What the cluster is to decide.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli::admin) enum OrderCommand {
    /// Have a node lead nothing and give its copies away, and wait until it has
    Drain(DrainArgs),
    /// Remove a node for good: it never comes back under its id
    Remove {
        /// The node's id
        #[arg(value_parser = parse_node)]
        node: NodeId,
    },
    /// Spread leadership over the nodes; what is in memory begins anew where another node leads then
    Rebalance,
    /// Say whether any one node can be stopped and updated now; exits with 1 if not
    UpgradeCheck,
    /// Have so many copies of each shard: odd, 1 to 7
    Copies {
        /// How many
        copies: u16,
    },
    /// Let all nodes use what this level knows; there is no way back
    FeatureLevel {
        /// The level, which every node has to know
        level: u32,
    },
    /// Make the policies of the server's configuration the cluster's
    Policies,
}

#[derive(Args, Clone, Debug)]
pub(in crate::cli::admin) struct DrainArgs {
    /// The node's id
    #[arg(value_parser = parse_node)]
    node: NodeId,
    /// Let it lead and hold copies again
    #[arg(long)]
    undo: bool,
    /// How long it is waited for; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

pub(super) async fn run(
    admin: SocketAddr,
    command: OrderCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    let status = "`tidewire admin cluster status` shows how far it is";
    match command {
        OrderCommand::Drain(args) => drain(admin, &args, globals).await,
        OrderCommand::Remove { node } => {
            let answer = order(admin, &json!({ "remove": { "node": node } })).await?;
            let next = "stop it, if it runs; others get its copies if there are enough of them";
            tell(&answer, &format!("removed: node {node} never comes back"), next, globals)
        }
        OrderCommand::Rebalance => rebalance(admin, globals).await,
        OrderCommand::UpgradeCheck => upgrade_check(admin, globals).await,
        OrderCommand::Copies { copies } => {
            let answer = order(admin, &json!({ "copies": { "copies": copies } })).await?;
            let what = format!("decided: {copies} copies of each shard, as far as there are nodes");
            tell(&answer, &what, status, globals)
        }
        OrderCommand::FeatureLevel { level } => {
            let answer = order(admin, &json!({ "feature_level": { "level": level } })).await?;
            let next = "an older release is not taken in any more";
            tell(&answer, &format!("decided: feature level {level}"), next, globals)
        }
        OrderCommand::Policies => {
            let answer = order(admin, &json!("policies")).await?;
            let next = "a node with other ones is not ready, and none is taken in with others";
            tell(&answer, "decided: the policies of this node are the cluster's", next, globals)
        }
    }
}

async fn order(admin: SocketAddr, order: &Value) -> Result<Value, CliError> {
    ask(admin, Method::POST, "/v1/cluster/order", Some(order)).await
}

/// Says what was done, and what comes next.
pub(super) fn tell(
    answer: &Value,
    what: &str,
    next: &str,
    globals: &Globals,
) -> Result<(), CliError> {
    let mut output = Output::new();
    if globals.json {
        output.json(answer)?;
        return output.flush();
    }
    output.line(what)?;
    output.flush()?;
    note(next);
    Ok(())
}

async fn drain(admin: SocketAddr, args: &DrainArgs, globals: &Globals) -> Result<(), CliError> {
    let DrainArgs { node, undo, wait } = *args;
    let wanted = json!({ "drain": { "node": node, "on": !undo } });
    let answer = order(admin, &wanted).await?;
    if undo {
        let what = format!("decided: node {node} leads and holds copies again");
        return tell(&answer, &what, "copies come as they are needed", globals);
    }
    let until = Instant::now() + Duration::from_secs(wait);
    loop {
        let (member, connections) = member(admin, node).await?;
        let count = |field: &str| member.get(field).and_then(Value::as_u64);
        let (leads, copies, stay) = (count("leads"), count("copies"), count("copies_wanted"));
        if leads == Some(0) && copies == stay {
            let what = format!(
                "drained: node {node} leads nothing, has copies of {} groups, and had {connections} connections \
                 when it last said so",
                copies.unwrap_or_default()
            );
            let next = "it can be stopped; copies that it still has have nowhere else to go, and its clients are \
                        asked to go to other nodes within a minute";
            return tell(&member, &what, next, globals);
        }
        if Instant::now() >= until {
            let shown = |count: Option<u64>| count.unwrap_or_default();
            let (leads, copies) = (shown(leads), shown(copies));
            let message = format!(
                "decided, and not done yet: node {node} leads {leads} groups and has copies of {copies}; \
                 `tidewire admin cluster status` says what they wait for"
            );
            return Err(CliError { exit_code: 1, message });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What was decided about a node, and its connections as it has told them last.
async fn member(admin: SocketAddr, node: NodeId) -> Result<(Value, u64), CliError> {
    let status = ask(admin, Method::GET, "/v1/cluster", None).await?;
    let members = status.pointer("/decided/members").and_then(Value::as_array);
    let is_it = |member: &&Value| member.get("id").and_then(Value::as_u64) == Some(node.get());
    let member = members.and_then(|members| members.iter().find(is_it));
    let unknown =
        || CliError { exit_code: 1, message: format!("node {node} is not known any more") };
    let seen = status.get("nodes").and_then(Value::as_array);
    let seen = seen.and_then(|nodes| nodes.iter().find(is_it));
    let connections = seen.and_then(|node| node.pointer("/load/connections"));
    let connections = connections.and_then(Value::as_u64).unwrap_or_default();
    member.cloned().map(|member| (member, connections)).ok_or_else(unknown)
}

async fn rebalance(admin: SocketAddr, globals: &Globals) -> Result<(), CliError> {
    let answer = ask(admin, Method::POST, "/v1/cluster/rebalance", None).await?;
    let shifts = answer.get("shifts").and_then(Value::as_array).map_or(0, Vec::len);
    let what = format!("{shifts} groups are to be led by another node, one after the other");
    let next =
        "`tidewire admin cluster status` shows which are left; copies are spread without this";
    tell(&answer, &what, next, globals)
}

async fn upgrade_check(admin: SocketAddr, globals: &Globals) -> Result<(), CliError> {
    let answer = ask(admin, Method::GET, "/v1/cluster/upgrade", None).await?;
    let is_safe = answer.get("is_safe") == Some(&Value::Bool(true));
    let mut output = Output::new();
    if globals.json {
        output.json(&answer)?;
    } else {
        let level = |field: &str| answer.get(field).and_then(Value::as_u64).unwrap_or_default();
        let (now, most) = (level("feature_level"), level("feature_level_max"));
        output.line(&format!("feature level {now}; all nodes know {most}"))?;
        let texts = answer.get("reasons").and_then(Value::as_array).into_iter().flatten();
        for reason in texts.filter_map(Value::as_str) {
            output.line(reason)?;
        }
        if is_safe {
            output.line("any one node can be stopped and updated now")?;
        }
    }
    output.flush()?;
    let message = "wait, and check again before a node is stopped".to_owned();
    if is_safe { Ok(()) } else { Err(CliError { exit_code: 1, message }) }
}
