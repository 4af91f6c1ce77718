//! The ballots of a tally, for an audit. Voters stand there as keyed hashes, never by name.

use std::io;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tidewire_core::cell::{SavedTally, Tally};
use tidewire_core::shard_of_partition;
use tidewire_protocol::Name;
use tokio::sync::mpsc;

use super::refuse;
use super::streaming::body;
use crate::audit::Entry;
use crate::server::{Shared, wall_ms};

/// Bytes of lines that are sent together.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
pub(super) struct BallotsQuery {
    tally: String,
}

/// For each partition of the tally a line with its rules and standings, and a line for each of its
/// ballots, all as of one moment of the partition.
pub(super) async fn ballots(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BallotsQuery>,
) -> Response {
    let name = match Name::parse(&query.tally) {
        Ok(name) => name,
        Err(refusal) => {
            return refuse(StatusCode::BAD_REQUEST, refusal.code.name(), &refusal.message);
        }
    };
    let policies = shared.config.policies();
    let (home, partitions) = (policies.home(&name), policies.partitions(&name));
    let read = {
        let (shared, name) = (Arc::clone(&shared), name.clone());
        let now_ms = shared.clock.now_ms();
        move || {
            let copy = shared.copy_of(home)?;
            Some(copy.tally(&name).map(|tally| tally.is_hidden(now_ms)))
        }
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Some(Some(false))) => {}
        Ok(Some(Some(true))) => {
            let message = format!("tally '{name}': its results are hidden until it is closed");
            return refuse(StatusCode::CONFLICT, "forbidden", &message);
        }
        Ok(Some(None)) => {
            let message = format!("there is no tally '{name}'");
            return refuse(StatusCode::NOT_FOUND, "not_found", &message);
        }
        Ok(None) | Err(_) => {
            let message = "the server is stopping";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        }
    }
    shared.audit.record(|| Entry::done(wall_ms(), "admin.ballots").about(&name));
    let (sender, body) = body();
    tokio::task::spawn_blocking(move || {
        let now_ms = shared.clock.now_ms();
        for partition in 0..partitions {
            let Some(copy) = shared.copy_of(shard_of_partition(home, partition)) else { return };
            let Some(tally) = copy.tally(&name) else { return };
            if let Err(error) = send(partition, tally, now_ms, &sender) {
                tracing::warn!(%error, tally = %name, "an audit has ended early");
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn send(
    partition: u16,
    tally: &SavedTally,
    now_ms: u64,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let whole = Tally::restore(tally.clone(), 0).map_err(io::Error::other)?;
    let standings = whole.standings(now_ms);
    let mut lines = Vec::new();
    let head = json!({
        "partition": partition,
        "rules": tally.rules(),
        "standings": standings,
        "version": whole.version(),
    });
    serde_json::to_writer(&mut lines, &head)?;
    lines.push(b'\n');
    for (voter, choices, revision) in tally.ballots() {
        let voter: String = voter.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let ballot = json!({ "voter": voter, "choices": choices, "revision": revision });
        serde_json::to_writer(&mut lines, &ballot)?;
        lines.push(b'\n');
        if lines.len() >= PIECE_BYTES {
            put(&mut lines, to)?;
        }
    }
    put(&mut lines, to)
}

fn put(lines: &mut Vec<u8>, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let gone = |_closed| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more");
    to.blocking_send(Ok(Bytes::from(std::mem::take(lines)))).map_err(gone)
}
