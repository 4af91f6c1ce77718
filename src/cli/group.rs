//! `tidewire group`: share a topic's records among workers.

mod consume;

use clap::{Args, Subcommand};
use serde_json::json;
use tidewire_client::{Client, GroupInfo, GroupOptions, Name};

use super::connection::{ConnectionArgs, parse_name};
use super::output::{Output, unless_pipe_closed};
use super::subscribe::parse_start;
use super::{CliError, Globals};

/// Share the records of a topic among workers, each until one has done it
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire group create jobs mailers --deliveries-max 5 --dead-letter jobs.dead
  tidewire group consume jobs mailers --exec ./send-mail
  tidewire group status jobs mailers
  tidewire group reset jobs mailers --start earliest
  tidewire group delete jobs mailers")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum GroupCommand {
    /// Make a group; one that exists with the same rules stays as it is
    Create(CreateArgs),
    /// Work on records, one after the other or several at once
    Consume(consume::ConsumeArgs),
    /// Say how far a group has come
    Status(Of),
    /// Let a group begin anew
    Reset(ResetArgs),
    /// Forget a group and how far it has come
    Delete(Of),
}

/// Which group of which topic.
#[derive(Args, Clone, Debug)]
struct Of {
    /// The topic
    #[arg(value_parser = parse_name)]
    topic: Name,
    /// The group
    #[arg(value_parser = parse_name)]
    group: Name,
}

#[derive(Args, Clone, Debug)]
struct CreateArgs {
    #[command(flatten)]
    of: Of,

    /// Where it begins: latest, earliest, offset:N, time:WHEN or last:N
    #[arg(long, default_value = "earliest", value_parser = parse_group_start)]
    start: Start,

    /// A record that is not acknowledged within this time is delivered again
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    ack_timeout_ms: u64,

    /// Deliveries of one record, after which it is a dead letter; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    deliveries_max: u64,

    /// The topic of dead letters
    #[arg(long, value_name = "TOPIC", value_parser = parse_name)]
    dead_letter: Option<Name>,

    /// Pause before a refused record is delivered again; it doubles each time
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    backoff_ms: u64,

    /// The longest such pause
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    backoff_max_ms: u64,

    /// Deliver records of one key one after the other
    #[arg(long)]
    ordered: bool,
}

#[derive(Args, Clone, Debug)]
struct ResetArgs {
    #[command(flatten)]
    of: Of,

    /// Where it begins: latest, earliest, offset:N, time:WHEN or last:N
    #[arg(long, value_parser = parse_group_start)]
    start: Start,
}

/// A start as GROUP takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Start(Vec<u64>);

/// Does what was asked.
///
/// # Errors
/// When the server refuses, there is no connection, or a worker's command cannot be run.
pub(super) async fn run(args: GroupArgs, globals: &Globals) -> Result<(), CliError> {
    if let GroupCommand::Consume(consume) = args.command {
        return consume::run(consume, &args.connection, globals).await;
    }
    let client = args.connection.connect().await?;
    let done = ask(&client, args.command, globals).await;
    client.close().await;
    unless_pipe_closed(done)
}

async fn ask(client: &Client, command: GroupCommand, globals: &Globals) -> Result<(), CliError> {
    match command {
        GroupCommand::Create(args) => {
            let CreateArgs { of, start, ordered, dead_letter, .. } = &args;
            let options = GroupOptions {
                start: Some(start.0.clone()),
                ack_timeout_ms: Some(args.ack_timeout_ms),
                deliveries_max: Some(args.deliveries_max),
                backoff_ms: Some(args.backoff_ms),
                backoff_max_ms: Some(args.backoff_max_ms),
                dead_letter: dead_letter.as_ref().map(|topic| topic.as_str().to_owned()),
                ordered: Some(*ordered),
            };
            let info = client.create_group(&of.topic, &of.group, options).await?;
            let what = if info.created { "created" } else { "exists" };
            show(of, what, &info, globals)
        }
        GroupCommand::Status(of) => {
            let info = client.group_status(&of.topic, &of.group).await?;
            show(&of, "", &info, globals)
        }
        GroupCommand::Reset(ResetArgs { of, start }) => {
            let info = client.reset_group(&of.topic, &of.group, start.0).await?;
            show(&of, "reset", &info, globals)
        }
        GroupCommand::Delete(of) => {
            let info = client.delete_group(&of.topic, &of.group).await?;
            show(&of, "deleted", &info, globals)
        }
        // Runs on a connection of its own.
        GroupCommand::Consume(_) => Ok(()),
    }
}

fn show(of: &Of, what: &str, info: &GroupInfo, globals: &Globals) -> Result<(), CliError> {
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({
            "topic": of.topic.as_str(),
            "group": of.group.as_str(),
            "created": info.created,
            "position": info.position,
            "next": info.next,
            "lag": info.lag,
            "leased": info.leased,
            "outstanding": info.outstanding,
            "consumers": info.consumers,
            "missed": info.missed,
            "dead": info.dead,
            "redelivered": info.redelivered,
            "ack_timeout_ms": info.ack_timeout_ms,
            "deliveries_max": info.deliveries_max,
            "backoff_ms": info.backoff_ms,
            "backoff_max_ms": info.backoff_max_ms,
            "dead_letter": info.dead_letter,
            "ordered": info.ordered,
            "partitions": info.partitions,
        }))?;
        return output.flush();
    }
    let what = if what.is_empty() { String::new() } else { format!(" {what}") };
    output.line(&format!("group {} of {}{what}", of.group, of.topic))?;
    let lines = [
        ("position", format!("{} of {}", info.position, info.next)),
        ("lag", info.lag.to_string()),
        ("consumers", format!("{}, with {} records", info.consumers, info.leased)),
        ("redelivered", info.redelivered.to_string()),
        ("dead letters", info.dead.to_string()),
        ("missed", info.missed.to_string()),
    ];
    for (label, text) in lines {
        output.line(&format!("  {label:<13}{text}"))?;
    }
    output.flush()
}

fn parse_group_start(raw: &str) -> Result<Start, String> {
    use tidewire_client::Start as At;
    Ok(Start(match parse_start(raw)? {
        At::Latest => vec![0],
        At::Earliest => vec![1],
        At::Offset { epoch, offset } => vec![2, epoch, offset],
        At::Time(time_ms) => vec![3, time_ms],
        At::Last(count) => vec![4, count],
        At::Positions(_) => return Err("a group begins at one offset".to_owned()),
    }))
}
