//! Topics that lie there with one record each, and what they cost the server.

use std::collections::VecDeque;

use tidewire_client::{Client, Name};

use crate::bench::payload::Batch;
use crate::bench::progress::Progress;
use crate::bench::unfinished;
use crate::cli::CliError;

/// Publishes under way.
const WINDOW: usize = 256;
/// What is published to each topic.
const BATCH: Batch = Batch { payload_bytes: 16, records: 1 };

/// Publishes one record to each of so many topics.
///
/// # Errors
/// When one is refused.
pub(super) async fn make(
    client: &Client,
    prefix: &Name,
    topics: u32,
    progress: &Progress,
) -> Result<(), CliError> {
    progress.begin("publishing to topics", topics.into());
    let mut under_way = VecDeque::with_capacity(WINDOW);
    for number in 0..topics {
        if under_way.len() == WINDOW {
            settle(&mut under_way).await?;
        }
        let name = Name::parse(&format!("{prefix}.{number}"));
        let name = name.map_err(|refusal| unfinished(&refusal.message))?;
        let body = BATCH.body(0);
        let ack = tidewire_client::AckLevel::Policy;
        let pending = client.start_publish(&name, body, ack, Default::default()).await?;
        under_way.push_back(pending);
        progress.at(number.into(), "");
    }
    while !under_way.is_empty() {
        settle(&mut under_way).await?;
    }
    Ok(())
}

async fn settle<T>(
    under_way: &mut VecDeque<impl Future<Output = Result<T, tidewire_client::Error>>>,
) -> Result<(), CliError> {
    if let Some(oldest) = under_way.pop_front() {
        oldest.await?;
    }
    Ok(())
}

/// KiB of resident memory for each 1,000 topics, of all nodes together.
pub(super) fn kib_per_1000(
    before_bytes: Option<u64>,
    after_bytes: Option<u64>,
    topics: u32,
) -> Option<f64> {
    let grown_kib = after_bytes?.saturating_sub(before_bytes?) / 1024;
    let grown_kib = f64::from(u32::try_from(grown_kib).ok()?);
    (topics > 0).then(|| (grown_kib / f64::from(topics) * 10_000.0).round() / 10.0)
}
