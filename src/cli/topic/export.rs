//! `tidewire topic export`: a topic's records as lines of JSON, or as they are.

use clap::Args;
use tidewire_client::{Client, Start};

use super::Of;
use super::reader::Reader;
use crate::cli::output::{Output, note};
use crate::cli::subscribe::{parse_start, record_json};
use crate::cli::{CliError, Globals};

#[derive(Args, Clone, Debug)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    of: Of,

    /// Where to start: earliest, last:N, offset:N, offset:N@EPOCH or time:RFC3339
    #[arg(long, value_name = "START", default_value = "earliest", value_parser = parse_start)]
    from: Start,

    /// The records in the protocol's own encoding, one after the other, in place of JSON
    #[arg(long)]
    raw: bool,
}

/// Writes the records that the topic has now.
///
/// # Errors
/// When there is no such topic, some records were removed meanwhile, or the connection is lost.
pub(super) async fn run(
    client: &Client,
    args: &ExportArgs,
    _globals: &Globals,
) -> Result<(), CliError> {
    let mut reader = Reader::open(client, &args.of.topic, args.from.clone()).await?;
    let mut output = Output::new();
    let mut count = 0_u64;
    while let Some(delivery) = reader.next().await? {
        for (offset, record) in reader.records(&delivery) {
            count += 1;
            match args.raw {
                true => output.raw(record.encoded)?,
                false => output.json(&record_json(&delivery, offset, &record))?,
            }
        }
    }
    output.flush()?;
    note(&format!("{count} records exported"));
    reader.finish()
}
