//! `tidewire counter`: counts, reads and follows counters.

use clap::{Args, Subcommand};
use serde_json::json;
use tidewire_client::{
    AsOf, CellKind, Client, Counted, CounterOp, CounterOptions, Name, Value, WatchOptions,
    WatchValue,
};

use super::connection::{ConnectionArgs, parse_name};
use super::interrupt::{interrupted, stopped};
use super::output::{Output, unless_pipe_closed};
use super::{CliError, Globals};

/// Count, read and follow counters
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire counter incr likes.42
  tidewire counter incr stock.7 -1 --min 0 --strict
  tidewire counter incr sales 3 --id order-1093
  tidewire counter watch likes.42")]
pub(crate) struct CounterArgs {
    #[command(subcommand)]
    pub(crate) command: CounterCommand,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// What to do with a counter.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum CounterCommand {
    /// Add to a counter; one that does not exist counts from 0
    Incr {
        /// The counter
        #[arg(value_parser = parse_name)]
        name: Name,
        /// How much to add; may be negative
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        delta: i64,
        #[command(flatten)]
        bounds: BoundsArgs,
    },
    /// Set a counter to a value
    Set {
        /// The counter
        #[arg(value_parser = parse_name)]
        name: Name,
        /// The value; may be negative
        #[arg(allow_negative_numbers = true)]
        value: i64,
        #[command(flatten)]
        bounds: BoundsArgs,
    },
    /// Print a counter's value
    Get {
        /// The counter
        #[arg(value_parser = parse_name)]
        name: Name,
    },
    /// Delete a counter
    Reset {
        /// The counter
        #[arg(value_parser = parse_name)]
        name: Name,
    },
    /// Print the value whenever it changes
    Watch {
        /// The counter
        #[arg(value_parser = parse_name)]
        name: Name,
        /// End after so many values
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// At most one value in so long
        #[arg(long, value_name = "MS")]
        interval_ms: Option<u64>,
    },
}

/// Limits of one operation.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BoundsArgs {
    /// The value does not fall below this
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) min: Option<i64>,
    /// The value does not rise above this
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) max: Option<i64>,
    /// Refuse what the bounds would clamp
    #[arg(long)]
    pub(crate) strict: bool,
    /// Delete the counter so long after this operation; 0 keeps it forever
    #[arg(long, value_name = "MS")]
    pub(crate) ttl_ms: Option<u64>,
    /// Apply this once, however often it is sent with the same id
    #[arg(long)]
    pub(crate) id: Option<String>,
}

impl From<BoundsArgs> for CounterOptions {
    fn from(bounds: BoundsArgs) -> Self {
        Self {
            min: bounds.min,
            max: bounds.max,
            strict: bounds.strict.then_some(true),
            ttl_ms: bounds.ttl_ms,
            id: bounds.id,
            ..Self::default()
        }
    }
}

/// Runs one counter command.
///
/// # Errors
/// When there is no connection, or the server refuses.
pub(super) async fn run(args: CounterArgs, globals: &Globals) -> Result<(), CliError> {
    let connection = &args.connection;
    if let CounterCommand::Watch { name, count, interval_ms } = args.command {
        let client = connection.connect_lasting().await?;
        let watched = watch(&client, &name, interval_ms, count, globals).await;
        client.close().await;
        return unless_pipe_closed(watched);
    }
    let client = connection.connect().await?;
    let done = once(&client, args.command, globals).await;
    client.close().await;
    unless_pipe_closed(done)
}

async fn once(client: &Client, command: CounterCommand, globals: &Globals) -> Result<(), CliError> {
    let (name, op, operand, bounds) = match command {
        CounterCommand::Incr { name, delta, bounds } => (name, CounterOp::Add, delta, bounds),
        CounterCommand::Set { name, value, bounds } => (name, CounterOp::Set, value, bounds),
        CounterCommand::Reset { name } => (name, CounterOp::Reset, 0, BoundsArgs::default()),
        CounterCommand::Get { name } | CounterCommand::Watch { name, .. } => {
            return print_value(&name, client.get(CellKind::Counter, &name, None).await?, globals);
        }
    };
    let counted = client.count(&name, op, operand, bounds.into()).await?;
    print_counted(&name, &counted, globals)
}

fn print_value(name: &Name, value: Option<Value>, globals: &Globals) -> Result<(), CliError> {
    let mut output = Output::new();
    let (exists, as_of) = (value.is_some(), value.as_ref().and_then(|value| value.as_of));
    let number = value.map_or(Ok(0), |value| value.counter())?;
    if globals.json {
        let name = name.as_str();
        output.json(&match as_of {
            None => json!({ "counter": name, "value": number, "exists": exists }),
            Some(AsOf { as_of_ms, is_stale }) => json!({
                "counter": name, "value": number, "exists": exists, "as_of_ms": as_of_ms,
                "stale": is_stale,
            }),
        })?;
    } else {
        output.line(&number.to_string())?;
    }
    output.flush()
}

fn print_counted(name: &Name, counted: &Counted, globals: &Globals) -> Result<(), CliError> {
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({
            "counter": name.as_str(),
            "value": counted.value,
            "applied": counted.applied,
            "duplicate": counted.duplicate,
            "version": counted.version,
            "epoch": counted.epoch,
            "as_of": counted.as_of,
        }))?;
    } else {
        output.line(&counted.value.to_string())?;
    }
    output.flush()
}

async fn watch(
    client: &Client,
    name: &Name,
    interval_ms: Option<u64>,
    count: Option<u64>,
    globals: &Globals,
) -> Result<(), CliError> {
    let options = WatchOptions { interval_ms, ..WatchOptions::default() };
    let mut watch = client.watch(CellKind::Counter, name, options).await?;
    let mut output = Output::new();
    let mut seen = 0;
    while count.is_none_or(|count| seen < count) {
        let event = tokio::select! {
            event = watch.next() => event,
            () = interrupted() => return stopped(seen, count),
        };
        let Some(event) = event else { break };
        seen += 1;
        let number = if let WatchValue::Counter(number) = event.value { number } else { 0 };
        if globals.json {
            output.json(&json!({
                "counter": name.as_str(),
                "value": number,
                "version": event.version,
                "exists": !event.deleted && event.value != WatchValue::Absent,
                "behind_ms": event.behind_ms,
            }))?;
        } else {
            output.line(&number.to_string())?;
        }
        output.flush()?;
    }
    watch.end_reason().map_or(Ok(()), |error| Err(error.into()))
}
