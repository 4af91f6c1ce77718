//! Backups by request.

use std::io;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidewire_core::{SHARDS, SHARDS_MAX};

use super::refuse;
use super::streaming::body;
use crate::audit::Entry;
use crate::backup::{End, FORMAT, Header, Part, send};
use crate::journal::DirectoryId;
use crate::server::replicated::gather;
use crate::server::replicated::steering::{Point, points};
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
    /// Which data directory they are of, or which cluster.
    #[serde(default)]
    directory_ms: u64,
    #[serde(default)]
    master_key: String,
}

/// Sends what is kept on disk, one shard after the other, while the server goes on: of a cluster all of it, whichever
/// node is asked.
pub(super) async fn backup(
    State(shared): State<Arc<Shared>>,
    Query(resume): Query<Resume>,
) -> Response {
    let Some(DirectoryId { made_ms, master_key }) = shared.directory.clone() else {
        let message = "no name is kept on disk: no policy has durability \"disk\"";
        return refuse(StatusCode::CONFLICT, "unsupported", message);
    };
    let shards = SHARDS_MAX - SHARDS;
    let cluster = shared.cluster.as_ref().map(|cluster| cluster.id);
    // Any node of a cluster goes on with what another one has begun.
    let directory_ms = cluster.map_or(made_ms, |cluster| cluster.low_bits());
    let is_ours = (resume.directory_ms, &resume.master_key) == (directory_ms, &master_key);
    if resume.shards > 0 && !(is_ours && resume.shards <= shards) {
        let message = "what is there of the backup is of another data directory or cluster: begin anew, \
                       without --resume";
        return refuse(StatusCode::CONFLICT, "conflict", message);
    }
    let source = match cluster {
        None => Source::Own,
        Some(_) => match points(&shared).await {
            Ok(points) => Source::Cluster(points),
            Err(error) => {
                let message = error.to_string();
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
            }
        },
    };
    let header = Header {
        format: FORMAT,
        server: concat!("tidewire/", env!("CARGO_PKG_VERSION")).to_owned(),
        node: shared.config.node.clone(),
        time_ms: shared.clock.now_ms(),
        master_key,
        directory_ms,
        cluster,
        shards,
    };
    shared.audit.record(|| Entry::done(wall_ms(), "admin.backup"));
    let before = End { shards: resume.shards, bytes: resume.bytes };
    let (sender, body) = body();
    tokio::task::spawn_blocking(move || {
        let mut shards = SHARDS + before.shards..SHARDS_MAX;
        // What the states say lies in the journal stays there until it has been read.
        let _hold = shared.journal.as_ref().map(|journal| journal.hold());
        let next = || shards.next().map(|shard| source.part(&shared, shard)).transpose();
        if let Err(error) = send(&header, before, next, &sender) {
            tracing::warn!(%error, "a backup has ended early");
        }
    });
    let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
    (content_type, body).into_response()
}

/// Where the shards come from.
enum Source {
    /// All are this server's own.
    Own,
    /// Nodes of the cluster have them: as of these points of their groups.
    Cluster(Vec<Point>),
}

impl Source {
    fn part(&self, shared: &Arc<Shared>, shard: u16) -> io::Result<Part<'static>> {
        match self {
            Self::Own => own(shared, shard),
            Self::Cluster(points) => {
                let group = shard - SHARDS;
                let unknown = || io::Error::other(format!("shard {shard} has no group"));
                gather(shared, group, points.get(usize::from(group)).ok_or_else(unknown)?)
            }
        }
    }
}

fn own(shared: &Shared, shard: u16) -> io::Result<Part<'static>> {
    let stopping = || io::Error::other("the server is stopping");
    let snapshot = shared.copy_of(shard).ok_or_else(stopping)?;
    let reads = shared.blocks().ok_or_else(stopping)?;
    let extents: Vec<_> = snapshot.extents().iter().map(|extent| extent.blocks.clone()).collect();
    let blocks = extents.into_iter().flat_map(move |blocks| reads.scan(shard, blocks));
    let blocks = blocks.map(|block| block.map(|(key, bytes)| (key.index, bytes)));
    Ok(Part { snapshot, blocks: Box::new(blocks) })
}
