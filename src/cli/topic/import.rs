//! `tidewire topic import`: publishes what `export` has written.

mod records;

use std::collections::VecDeque;
use std::path::PathBuf;

use clap::Args;
use tidewire_client::{AckLevel, BodyBuilder, Client, Name, Pending, PublishOptions, Published};
use tokio::io::AsyncRead;

use super::Of;
use crate::cli::output::note;
use crate::cli::publish::Ack;
use crate::cli::{CliError, Globals};
use records::Source;

/// Bodies that may be unacknowledged at once.
const IN_FLIGHT_MAX: usize = 64;
/// Records are gathered into bodies of so many ...
const BATCH_RECORDS_MAX: usize = 1_000;
/// ... or so many bytes.
const BATCH_BYTES_MAX: usize = 64 * 1024;

#[derive(Args, Clone, Debug)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    of: Of,

    /// The file; `-` is standard input. A file is checked as a whole before anything is published
    #[arg(default_value = "-")]
    file: PathBuf,

    /// The file is what `export --raw` has written
    #[arg(long)]
    raw: bool,

    /// How safe the records must be before they are acknowledged
    #[arg(long, value_enum, default_value_t = Ack::Policy)]
    ack: Ack,
}

/// Publishes the records of a file, in their order.
///
/// # Errors
/// When the file cannot be read or a record in it is broken, the server refuses, or the connection
/// is lost; the message says what was published.
pub(super) async fn run(
    client: &Client,
    args: &ImportArgs,
    _globals: &Globals,
) -> Result<(), CliError> {
    if args.file.as_os_str() == "-" {
        return publish(client, args, Source::of(tokio::io::stdin(), args.raw)).await;
    }
    let mut check = Source::of(open(args).await?, args.raw);
    let nothing = |broken: CliError| CliError {
        message: format!("{}; nothing was published", broken.message),
        ..broken
    };
    while check.next().await.map_err(nothing)?.is_some() {}
    publish(client, args, Source::of(open(args).await?, args.raw)).await
}

async fn open(args: &ImportArgs) -> Result<tokio::fs::File, CliError> {
    tokio::fs::File::open(&args.file)
        .await
        .map_err(|error| CliError::usage(format!("cannot read '{}': {error}", args.file.display())))
}

async fn publish<R: AsyncRead + Unpin>(
    client: &Client,
    args: &ImportArgs,
    mut source: Source<R>,
) -> Result<(), CliError> {
    let mut flow = Flow {
        client,
        topic: &args.of.topic,
        ack: args.ack.into(),
        sent: VecDeque::new(),
        done: 0,
    };
    let published = pump(&mut flow, &mut source).await;
    // What is under way is waited for, so that the number is right.
    let settled = flow.settle(0).await;
    let done = flow.done;
    match published.and(settled) {
        Ok(()) => {
            note(&format!("{done} records imported"));
            Ok(())
        }
        Err(error) => Err(CliError {
            message: format!("{}; the first {done} records were imported", error.message),
            ..error
        }),
    }
}

async fn pump<R: AsyncRead + Unpin>(
    flow: &mut Flow<'_>,
    source: &mut Source<R>,
) -> Result<(), CliError> {
    let mut body = BodyBuilder::new();
    loop {
        let record = source.next().await;
        let is_last = !matches!(&record, Ok(Some(_)));
        if let Ok(Some(record)) = &record {
            record.record().map(|record| body.push_encoded(&record).len());
        }
        let is_full = body.len() >= BATCH_RECORDS_MAX || body.byte_len() >= BATCH_BYTES_MAX;
        if !body.is_empty() && (is_full || is_last) {
            flow.send(std::mem::take(&mut body)).await?;
        }
        match record {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(broken) => return Err(broken),
        }
    }
}

/// Bodies on their way, acknowledged in their order.
struct Flow<'a> {
    client: &'a Client,
    topic: &'a Name,
    ack: AckLevel,
    sent: VecDeque<(u64, Pending<Published>)>,
    done: u64,
}

impl Flow<'_> {
    async fn send(&mut self, body: BodyBuilder) -> Result<(), CliError> {
        self.settle(IN_FLIGHT_MAX - 1).await?;
        let (records, body, options) =
            (body.len() as u64, body.finish(), PublishOptions::default());
        let pending = self.client.start_publish(self.topic, body, self.ack, options).await?;
        self.sent.push_back((records, pending));
        Ok(())
    }

    /// Waits until so many are unacknowledged at most.
    async fn settle(&mut self, most: usize) -> Result<(), CliError> {
        while self.sent.len() > most {
            let Some((records, pending)) = self.sent.pop_front() else { return Ok(()) };
            pending.await?;
            self.done += records;
        }
        Ok(())
    }
}
