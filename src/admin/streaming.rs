//! Answers that are longer than memory, sent piece by piece.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use tidewire_core::shard::ShardSnapshot;
use tokio::sync::{mpsc, oneshot};

use crate::server::Shared;

/// Pieces that wait for the reader; the writer waits beyond them.
const PIECES: usize = 16;

/// A body, and where its pieces go.
pub(super) fn body() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let pieces = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, Body::from_stream(pieces))
}

impl Shared {
    /// The state of a shard as it is between two rounds; `None` when the server is stopping. Blocks.
    pub(super) fn copy_of(&self, shard: u16) -> Option<ShardSnapshot> {
        let (sender, receiver) = oneshot::channel();
        self.copies.get(usize::from(shard))?.blocking_send(sender).ok()?;
        receiver.blocking_recv().ok()
    }
}
