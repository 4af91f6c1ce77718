//! Backups by request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewire_core::{SHARDS, SHARDS_MAX};

use super::refuse;
use super::streaming::body;
use crate::backup::{Blocks, FORMAT, Header, send};
use crate::server::Shared;

/// Sends what is kept on disk, one shard after the other, while the server goes on.
pub(super) async fn backup(State(shared): State<Arc<Shared>>) -> Response {
    let Some(master_key) = shared.fingerprint.clone() else {
        let message = "no name is kept on disk: no policy has durability \"disk\"";
        return refuse(StatusCode::CONFLICT, "unsupported", message);
    };
    let header = Header {
        format: FORMAT,
        server: concat!("tidewire/", env!("CARGO_PKG_VERSION")).to_owned(),
        node: shared.config.node.clone(),
        time_ms: shared.clock.now_ms(),
        master_key,
        shards: SHARDS_MAX - SHARDS,
    };
    let (sender, body) = body();
    tokio::task::spawn_blocking(move || {
        let mut shards = SHARDS..SHARDS_MAX;
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
        if let Err(error) = send(&header, next, blocks, &sender) {
            tracing::warn!(%error, "a backup has ended early");
        }
    });
    let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
    (content_type, body).into_response()
}
