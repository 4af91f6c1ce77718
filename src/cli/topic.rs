//! `tidewire topic`: what a topic holds, its records from one end to the other, and its removal.

mod export;
mod import;
mod reader;
mod replay;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidewire_client::{Client, Name, Start, TopicInfo, TopicOptions};

use super::connection::{ConnectionArgs, parse_name};
use super::output::{Output, unless_pipe_closed};
use super::subscribe::parse_start;
use super::{CliError, Globals};

/// Look at, replay, export, import, truncate and delete topics
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire topic info orders
  tidewire topic replay orders --from time:2026-11-24T12:00:00Z --speed 10 --into test.orders
  tidewire topic export orders > orders.jsonl
  tidewire topic import restored.orders orders.jsonl
  tidewire topic truncate orders --before offset:1000
  tidewire topic delete orders")]
pub(crate) struct TopicArgs {
    #[command(subcommand)]
    command: TopicCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum TopicCommand {
    /// Say what is kept of a topic
    Info(Of),
    /// Print the records from a start to the end that the topic has now, or publish them again
    Replay(replay::ReplayArgs),
    /// Write the records to standard output, so that `import` reads them
    Export(export::ExportArgs),
    /// Publish records that were exported
    Import(import::ImportArgs),
    /// Remove the oldest records, if the topic's policy allows it
    Truncate(TruncateArgs),
    /// Remove a topic with its records, its map and its groups, if its policy allows it
    Delete(Of),
}

#[derive(Args, Clone, Debug)]
struct Of {
    /// The topic
    #[arg(value_parser = parse_name)]
    topic: Name,
}

#[derive(Args, Clone, Debug)]
struct TruncateArgs {
    #[command(flatten)]
    of: Of,

    /// Records before this go: offset:N or time:RFC3339. What was appended together goes together
    #[arg(long, value_name = "PLACE", value_parser = parse_start)]
    before: Start,
}

/// Does what was asked.
///
/// # Errors
/// When the server refuses, there is no connection, or an input cannot be read.
pub(super) async fn run(args: TopicArgs, globals: &Globals) -> Result<(), CliError> {
    let client = match &args.command {
        TopicCommand::Info(_) | TopicCommand::Truncate(_) | TopicCommand::Delete(_) => {
            args.connection.connect().await?
        }
        TopicCommand::Replay(_) | TopicCommand::Export(_) | TopicCommand::Import(_) => {
            args.connection.connect_lasting().await?
        }
    };
    let done = execute(&client, &args.command, globals).await;
    client.close().await;
    unless_pipe_closed(done)
}

async fn execute(
    client: &Client,
    command: &TopicCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    match command {
        TopicCommand::Info(Of { topic }) => {
            show(topic, &client.topic_info(topic).await?, "", globals)
        }
        TopicCommand::Replay(args) => replay::run(client, args, globals).await,
        TopicCommand::Export(args) => export::run(client, args, globals).await,
        TopicCommand::Import(args) => import::run(client, args, globals).await,
        TopicCommand::Truncate(TruncateArgs { of: Of { topic }, before }) => {
            let options = truncation(before)?;
            show(topic, &client.truncate_topic(topic, options).await?, "truncated: ", globals)
        }
        TopicCommand::Delete(Of { topic }) => {
            show(topic, &client.delete_topic(topic).await?, "deleted: ", globals)
        }
    }
}

fn truncation(before: &Start) -> Result<TopicOptions, CliError> {
    let (before_offset, before_time_ms) = match before {
        Start::Offset { offset, .. } => (Some(*offset), None),
        Start::Time(time_ms) => (None, Some(*time_ms)),
        Start::Latest | Start::Earliest | Start::Last(_) | Start::Positions(_) => {
            return Err(CliError::usage("--before: offset:N or time:RFC3339"));
        }
    };
    Ok(TopicOptions { before_offset, before_time_ms })
}

fn show(topic: &Name, info: &TopicInfo, what: &str, globals: &Globals) -> Result<(), CliError> {
    let TopicInfo { first, next, bytes, batches, policy, partitions } = info;
    let mut output = Output::new();
    if globals.json {
        let mut object = json!({
            "topic": topic.as_str(),
            "first": first,
            "next": next,
            "bytes": bytes,
            "batches": batches,
            "policy": policy,
        });
        if let (Some(fields), Some(partitions)) = (object.as_object_mut(), partitions) {
            fields.insert("partitions".to_owned(), Value::from(*partitions));
        }
        output.json(&object)?;
        return output.flush();
    }
    let spread = partitions.map(|count| format!(" in {count} partitions")).unwrap_or_default();
    let records = next.saturating_sub(*first);
    output.line(&format!(
        "{topic} {what}{records} records{spread}, offsets {first} to {next}, {bytes} bytes in \
         {batches} batches (policy {policy})"
    ))?;
    output.flush()
}
