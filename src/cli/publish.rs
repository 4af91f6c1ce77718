//! `tidewire pub`: appends records to a topic.

use std::collections::VecDeque;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use tidewire_client::{AckLevel, BodyBuilder, Client, Name, Pending, PublishOptions, Published};
use tokio::io::AsyncRead;

use super::connection::{ConnectionArgs, parse_name};
use super::lines::Lines;
use super::output::{Output, note, put_positions, unless_pipe_closed};
use super::{CliError, Globals};

/// Bodies that may be unacknowledged at once.
const IN_FLIGHT_MAX: usize = 64;
/// Lines are gathered into bodies of so many records ...
const BATCH_RECORDS_MAX: usize = 1000;
/// ... or so many bytes.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Publish records to a topic
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidewire pub news 'hello'
  tidewire pub users '{\"name\":\"Ann\"}' --key ann --header kind=profile
  tail -f access.log | tidewire pub logs.access --stdin
  tidewire pub users --key ann --tombstone
  tidewire pub orders 'paid' --key o-17 --expected-offset 42 --of-key")]
pub(crate) struct PublishArgs {
    /// The topic
    #[arg(value_parser = parse_name)]
    pub(crate) topic: Name,

    /// The payload of the one record
    #[arg(required_unless_present_any = ["stdin", "file", "tombstone"])]
    pub(crate) payload: Option<String>,

    /// Read records from standard input, one per line
    #[arg(long, conflicts_with_all = ["payload", "file", "tombstone"])]
    pub(crate) stdin: bool,

    /// Read the payload of the one record from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "tombstone"])]
    pub(crate) file: Option<PathBuf>,

    /// Publish a record without payload: it deletes the key from the topic's map
    #[arg(long, requires = "key", conflicts_with = "payload")]
    pub(crate) tombstone: bool,

    /// The key of every record
    #[arg(long)]
    pub(crate) key: Option<String>,

    /// A header of every record; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    pub(crate) headers: Vec<(String, String)>,

    /// How safe a record must be before it is acknowledged
    #[arg(long, value_enum, default_value_t = Ack::Policy)]
    pub(crate) ack: Ack,

    /// The map entries of the keys expire after so long
    #[arg(long, value_name = "MS", requires = "key")]
    pub(crate) ttl_ms: Option<u64>,

    /// Append only if nothing was appended at this offset or behind it
    #[arg(long, value_name = "OFFSET", conflicts_with = "stdin")]
    pub(crate) expected_offset: Option<u64>,

    /// With --expected-offset: only records with the same --key count
    #[arg(long, requires_all = ["expected_offset", "key"])]
    pub(crate) of_key: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Acknowledgement levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ack {
    /// Do not wait
    None,
    /// In the server's memory
    Memory,
    /// On the server's disk
    Disk,
    /// On the disks of a majority
    Quorum,
    /// As the policy of the topic says
    Policy,
}

impl From<Ack> for AckLevel {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::None => Self::None,
            Ack::Memory => Self::Memory,
            Ack::Disk => Self::Disk,
            Ack::Quorum => Self::Quorum,
            Ack::Policy => Self::Policy,
        }
    }
}

/// Publishes and prints the offsets.
///
/// # Errors
/// When the input cannot be read, there is no connection, or the server refuses.
pub(super) async fn run(args: PublishArgs, globals: &Globals) -> Result<(), CliError> {
    let client = args.connection.connect().await?;
    let published = if args.stdin {
        publish_lines(&client, &args, globals).await
    } else {
        publish_one(&client, &args, globals).await
    };
    client.close().await;
    unless_pipe_closed(published)
}

async fn publish_one(
    client: &Client,
    args: &PublishArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let payload = match (&args.file, &args.payload) {
        (Some(file), _) => Some(tokio::fs::read(file).await.map_err(|error| CliError {
            exit_code: 2,
            message: format!("cannot read '{}': {error}", file.display()),
        })?),
        (None, payload) => payload.clone().map(String::into_bytes),
    };
    let mut batch = Batch::default();
    batch.push(args, payload.as_deref());
    let published = oldest(&mut VecDeque::from([batch.send(client, args).await?])).await?;
    let mut report = Report::new(globals);
    report.batch(&args.topic, &published)?;
    report.end(&args.topic)
}

async fn publish_lines(
    client: &Client,
    args: &PublishArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let mut report = Report::new(globals);
    let published = pump(client, args, &mut report).await;
    if published.is_err() {
        note(&format!("{} records were acknowledged before the error", report.records));
    }
    report.end(&args.topic)?;
    published
}

/// Sends lines as they come and takes acknowledgements as they come.
async fn pump(client: &Client, args: &PublishArgs, report: &mut Report) -> Result<(), CliError> {
    let mut lines = Lines::new(tokio::io::stdin());
    let mut sent = VecDeque::new();
    let mut open = true;
    while open || !sent.is_empty() {
        let has_room = sent.len() < IN_FLIGHT_MAX;
        tokio::select! {
            more = lines.read(), if open && has_room => {
                open = more?;
                send_lines(client, args, &mut lines, &mut sent).await?;
            }
            batch = oldest(&mut sent), if !sent.is_empty() => {
                sent.pop_front();
                report.batch(&args.topic, &batch?)?;
            }
        }
    }
    Ok(())
}

/// Sends all lines that have been read; nothing waits for more to come.
async fn send_lines<R: AsyncRead + Unpin>(
    client: &Client,
    args: &PublishArgs,
    lines: &mut Lines<R>,
    sent: &mut VecDeque<Sent>,
) -> Result<(), CliError> {
    let mut batch = Batch::default();
    while let Some(line) = lines.pop() {
        batch.push(args, Some(&line));
        if batch.is_full() {
            sent.push_back(std::mem::take(&mut batch).send(client, args).await?);
        }
    }
    if !batch.body.is_empty() {
        sent.push_back(batch.send(client, args).await?);
    }
    Ok(())
}

/// Waits for the oldest acknowledgement.
async fn oldest(sent: &mut VecDeque<Sent>) -> Result<(usize, Published), CliError> {
    match sent.front_mut() {
        Some(Sent { records, reply }) => Ok((*records, reply.await?)),
        None => std::future::pending().await,
    }
}

/// Records that go out in one body.
#[derive(Default)]
struct Batch {
    body: BodyBuilder,
}

impl Batch {
    fn push(&mut self, args: &PublishArgs, payload: Option<&[u8]>) {
        let headers: Vec<(&str, &str)> =
            args.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.body.push(args.key.as_deref(), &headers, payload);
    }

    fn is_full(&self) -> bool {
        self.body.len() >= BATCH_RECORDS_MAX || self.body.byte_len() >= BATCH_BYTES_MAX
    }

    async fn send(self, client: &Client, args: &PublishArgs) -> Result<Sent, CliError> {
        let records = self.body.len();
        let options = PublishOptions {
            ttl_ms: args.ttl_ms,
            expected_offset: args.expected_offset,
            expected_key: args.key.clone().filter(|_| args.of_key),
            ..PublishOptions::default()
        };
        let body = self.body.finish();
        let reply = client.start_publish(&args.topic, body, args.ack.into(), options).await?;
        Ok(Sent { records, reply })
    }
}

/// A body on its way.
struct Sent {
    records: usize,
    reply: Pending<Published>,
}

/// What was published: each body as one line of JSON, or one line for all at the end.
struct Report {
    output: Output,
    json: bool,
    records: usize,
    last: Option<(usize, Published)>,
}

impl Report {
    fn new(globals: &Globals) -> Self {
        Self { output: Output::new(), json: globals.json, records: 0, last: None }
    }

    fn batch(&mut self, topic: &Name, batch: &(usize, Published)) -> Result<(), CliError> {
        let (records, published) = batch;
        self.records += records;
        self.last = Some(batch.clone());
        if self.json {
            let mut object = json!({
                "topic": topic.as_str(),
                "epoch": published.epoch,
                "offset": published.offset,
                "records": records,
                "level": published.level.as_str(),
                "duplicate": published.duplicate,
            });
            put_positions(&mut object, "positions", &published.positions);
            self.output.json(&object)?;
            self.output.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, topic: &Name) -> Result<(), CliError> {
        let Some((records, last)) = self.last.take().filter(|_| !self.json) else { return Ok(()) };
        let level = last.level.as_str();
        let offset = last.offset.map(|first| first + records.saturating_sub(1) as u64);
        let text = match (offset, self.records) {
            (None, records) if !last.positions.is_empty() => {
                format!("{topic} {records} records by partition ({level})")
            }
            (None, records) if last.level != AckLevel::None => {
                format!("{topic} {records} records, offsets not known yet ({level})")
            }
            (None, records) => format!("{records} sent to {topic}, not acknowledged"),
            (Some(offset), 1) => format!("{topic} offset {offset} ({level})"),
            (Some(offset), records) => {
                format!("{topic} {records} records, the last at offset {offset} ({level})")
            }
        };
        self.output.line(&text)?;
        self.output.flush()
    }
}

fn parse_header(raw: &str) -> Result<(String, String), String> {
    match raw.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a header as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_name() {
        assert_eq!(parse_header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_header("=b").is_err());
        assert!(parse_header("a").is_err());
    }
}
