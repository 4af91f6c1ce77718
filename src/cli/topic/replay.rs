//! `tidewire topic replay`: a topic's records again, at the pace at which they came or at another.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use tidewire_client::{
    AckLevel, BodyBuilder, Client, Delivery, Name, Pending, PublishOptions, Published, Record,
    Start,
};
use tokio::time::Instant;

use super::Of;
use super::reader::Reader;
use crate::cli::connection::parse_name;
use crate::cli::output::{Output, note};
use crate::cli::subscribe::{parse_start, record_json};
use crate::cli::{CliError, Globals};

/// Bodies that may be unacknowledged at once.
const IN_FLIGHT_MAX: usize = 64;

#[derive(Args, Clone, Debug)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    of: Of,

    /// Where to start: earliest, last:N, offset:N, offset:N@EPOCH or time:RFC3339
    #[arg(long, value_name = "START", default_value = "earliest", value_parser = parse_start)]
    from: Start,

    /// Publish the records to this topic, in place of printing them
    #[arg(long, value_name = "TOPIC", value_parser = parse_name)]
    into: Option<Name>,

    /// How fast, against the times at which they were appended: 1 is as it was, 10 ten times as
    /// fast. As fast as it goes unless given
    #[arg(long, value_name = "FACTOR", value_parser = parse_speed)]
    speed: Option<f64>,
}

fn parse_speed(raw: &str) -> Result<f64, String> {
    match raw.parse() {
        Ok(speed) if speed > 0.0 && speed <= 1e9 => Ok(speed),
        Ok(_) | Err(_) => Err("a number above 0".to_owned()),
    }
}

/// Replays the records that the topic has now.
///
/// # Errors
/// When there is no such topic, some records were removed meanwhile, the server refuses what is
/// published, or the connection is lost.
pub(super) async fn run(
    client: &Client,
    args: &ReplayArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let mut reader = Reader::open(client, &args.of.topic, args.from.clone()).await?;
    let mut stage = match &args.into {
        Some(into) if *into == args.of.topic => {
            return Err(CliError::usage("--into: another topic than the one that is replayed"));
        }
        Some(into) => Stage::Publish { client, into, sent: VecDeque::new() },
        None => Stage::Print { output: Output::new(), json: globals.json },
    };
    let mut pace = args.speed.map(Pace::new);
    let mut count = 0_u64;
    while let Some(delivery) = reader.next().await? {
        if let Some(pace) = &mut pace {
            stage.flush()?;
            pace.wait_for(delivery.time_ms).await;
        }
        let records: Vec<(u64, Record<'_>)> = reader.records(&delivery).collect();
        count += records.len() as u64;
        stage.take(&delivery, &records).await?;
    }
    stage.finish().await?;
    if args.into.is_some() {
        note(&format!("{count} records published"));
    }
    reader.finish()
}

/// When each batch is due.
struct Pace {
    speed: f64,
    /// When the first one was appended, and when it was replayed.
    first: Option<(u64, Instant)>,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self { speed, first: None }
    }

    async fn wait_for(&mut self, time_ms: u64) {
        let (first_ms, began) = *self.first.get_or_insert((time_ms, Instant::now()));
        let after = Duration::from_millis(time_ms.saturating_sub(first_ms));
        tokio::time::sleep_until(began + after.div_f64(self.speed)).await;
    }
}

/// Where the records go.
enum Stage<'a> {
    Print { output: Output, json: bool },
    Publish { client: &'a Client, into: &'a Name, sent: VecDeque<Pending<Published>> },
}

impl Stage<'_> {
    async fn take(
        &mut self,
        delivery: &Delivery,
        records: &[(u64, Record<'_>)],
    ) -> Result<(), CliError> {
        match self {
            Self::Print { output, json } => {
                for (offset, record) in records {
                    match json {
                        true => output.json(&record_json(delivery, *offset, record))?,
                        false => output.bytes(record.payload.unwrap_or_default())?,
                    }
                }
            }
            Self::Publish { client, into, sent } => {
                let mut body = BodyBuilder::new();
                for (_, record) in records {
                    body.push_encoded(record);
                }
                if body.is_empty() {
                    return Ok(());
                }
                while sent.len() >= IN_FLIGHT_MAX {
                    if let Some(oldest) = sent.pop_front() {
                        oldest.await?;
                    }
                }
                let (body, options) = (body.finish(), PublishOptions::default());
                sent.push_back(client.start_publish(into, body, AckLevel::Policy, options).await?);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CliError> {
        match self {
            Self::Print { output, .. } => output.flush(),
            Self::Publish { .. } => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<(), CliError> {
        self.flush()?;
        if let Self::Publish { sent, .. } = self {
            for pending in sent {
                pending.await?;
            }
        }
        Ok(())
    }
}
