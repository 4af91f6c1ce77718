//! Answers that are longer than memory, sent piece by piece.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that wait for the reader; the writer waits beyond them.
const PIECES: usize = 16;

/// A body, and where its pieces go.
pub(super) fn body() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    let pieces = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, Body::from_stream(pieces))
}
