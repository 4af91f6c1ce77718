//! Backups by request.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidewire_core::{SHARDS, SHARDS_MAX};

use super::refuse;
use super::streaming::body;
use crate::audit::Entry;
use crate::backup::{Blocks, End, FORMAT, Header, send};
use crate::journal::DirectoryId;
use crate::server::{Shared, wall_ms};

/// What is there already, of a backup that was cut off; nothing of a new one.
#[derive(Deserialize)]
pub(super) struct Resume {
    /// Whole shards.
    #[serde(default)]
    shards: u16,
    /// Bytes of their states and blocks.
    #[serde(default)]
    bytes: u64,
    /// Which data directory they are of.
    #[serde(default)]
    directory_ms: u64,
    #[serde(default)]
    master_key: String,
}

/// Sends what is kept on disk, one shard after the other, while the server goes on.
pub(super) async fn backup(
    State(shared): State<Arc<Shared>>,
    Query(resume): Query<Resume>,
) -> Response {
    let Some(DirectoryId { made_ms, master_key }) = shared.directory.clone() else {
        let message = "no name is kept on disk: no policy has durability \"disk\"";
        return refuse(StatusCode::CONFLICT, "unsupported", message);
    };
    let shards = SHARDS_MAX - SHARDS;
    let is_ours = (resume.directory_ms, &resume.master_key) == (made_ms, &master_key);
    if resume.shards > 0 && !(is_ours && resume.shards <= shards) {
        let message = "what is there of the backup is of another data directory: begin anew, \
                       without --resume";
        return refuse(StatusCode::CONFLICT, "conflict", message);
    }
    let header = Header {
        format: FORMAT,
        server: concat!("tidewire/", env!("CARGO_PKG_VERSION")).to_owned(),
        node: shared.config.node.clone(),
        time_ms: shared.clock.now_ms(),
        master_key,
        directory_ms: made_ms,
        shards,
    };
    shared.audit.record(|| Entry::done(wall_ms(), "admin.backup"));
    let before = End { shards: resume.shards, bytes: resume.bytes };
    let (sender, body) = body();
    tokio::task::spawn_blocking(move || {
        let mut shards = SHARDS + before.shards..SHARDS_MAX;
        let next = || shards.next().and_then(|shard| shared.copy_of(shard));
        // What the states say lies in the journal stays there until it has been read.
        let _hold = shared.journal.as_ref().map(|journal| journal.hold());
        let reads = shared.blocks();
        let blocks = |shard, indices| -> Blocks<'_> {
            let blocks = reads.iter().flat_map(move |blocks| {
                let blocks = blocks.scan(shard, std::ops::Range::clone(&indices));
                blocks.map(|block| block.map(|(key, bytes)| (key.index, bytes)))
            });
            Box::new(blocks)
        };
        if let Err(error) = send(&header, before, next, blocks, &sender) {
            tracing::warn!(%error, "a backup has ended early");
        }
    });
    let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
    (content_type, body).into_response()
}
