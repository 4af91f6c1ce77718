//! States of shards for a backup that another node makes, which has no copy of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::{Semaphore, mpsc};

use super::Shared;
use crate::backup::kept_blocks;
use crate::cluster::links::Incoming;
use crate::cluster::{Cluster, frames};

/// States that are given at the same time; others wait.
const GIVEN_MAX: usize = 2;
/// Bytes of a state or a block in one frame.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that are ready to be sent.
const PIECES: usize = 4;
/// How long this node may take to have what is to be in a state.
pub(super) const COPY: Duration = Duration::from_secs(10);
/// How long the other one may take nothing. Meanwhile nothing of the shard is removed here.
const STALLED: Duration = Duration::from_secs(60);

/// The first frame of a stream: what is wanted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) shard: u16,
    /// Entries of its group that have to be in it.
    pub(super) entries: u64,
}

/// What comes, in this order: the state, its blocks, the end. Or why it does not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Piece {
    /// Bytes of the state, as a backup holds it.
    State(ByteBuf),
    /// That was the state.
    StateEnd,
    /// Bytes of a block that holds records of it; the rest of a longer one follows.
    Block {
        index: u64,
        bytes: ByteBuf,
    },
    /// That was all.
    End {
        blocks: u64,
    },
    Refused(String),
}

/// Serves streams until the links end.
pub(super) async fn serve(shared: Shared, mut streams: mpsc::Receiver<Incoming>) {
    let turns = Arc::new(Semaphore::new(GIVEN_MAX));
    while let Some(Incoming { node, mut send, recv }) = streams.recv().await {
        let (shared, turns) = (Shared::clone(&shared), Arc::clone(&turns));
        drop(tokio::spawn(async move {
            let Ok(_turn) = turns.acquire().await else { return };
            let Some(cluster) = &shared.cluster else { return };
            if let Err(error) = give(&shared, cluster, &mut send, recv).await {
                tracing::warn!(node = node.get(), %error, "a shard is not given for a backup");
                let refused = Piece::Refused(error.to_string());
                // Who has gone does not hear it.
                drop(frames::send(&mut send, &refused).await);
            }
            drop(send.finish());
            drop(tokio::time::timeout(STALLED, send.stopped()).await);
        }));
    }
}

async fn give(
    shared: &Shared,
    cluster: &Cluster,
    send: &mut SendStream,
    mut recv: RecvStream,
) -> io::Result<()> {
    let wanted = frames::receive(&mut recv).await?;
    let Some(Wanted { shard, entries }) = wanted else { return Ok(()) };
    // What the state says lies in the journal stays there until it has been read.
    let _hold = shared.journal.as_ref().map(|journal| journal.hold_shard(shard));
    let state = shared.copy_with(shard, entries, COPY).await;
    let behind =
        || io::Error::other(format!("it has no copy of shard {shard} with what is committed"));
    let state = state.ok_or_else(behind)?;
    let reads = shared.blocks().ok_or_else(|| io::Error::other("it is stopping"))?;
    let (pieces, mut ready) = mpsc::channel(PIECES);
    let making = tokio::task::spawn_blocking(move || {
        let put =
            |piece| pieces.blocking_send(piece).map_err(|_gone| io::ErrorKind::BrokenPipe.into());
        let bytes = rmp_serde::to_vec_named(&state).map_err(io::Error::other)?;
        bytes.chunks(PIECE_BYTES).try_for_each(|part| put(Piece::State(ByteBuf::from(part))))?;
        drop(bytes);
        put(Piece::StateEnd)?;
        let mut blocks = 0;
        for block in kept_blocks(&reads, &state) {
            let (index, block) = block?;
            blocks += 1;
            for part in block.chunks(PIECE_BYTES) {
                put(Piece::Block { index, bytes: ByteBuf::from(part) })?;
            }
        }
        put(Piece::End { blocks })
    });
    while let Some(piece) = ready.recv().await {
        let frame = frames::encode(&piece)?;
        cluster.states.paced(frame.len()).await;
        let written = tokio::time::timeout(STALLED, send.write_all(&frame)).await;
        written.map_err(|_late| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?;
    }
    making.await.map_err(io::Error::other)?
}
