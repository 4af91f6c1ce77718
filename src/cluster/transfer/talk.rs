//! What two nodes say to each other about a state, around its pieces.

use std::time::Duration;

use bytes::Bytes;
use openraft::raft::SnapshotResponse;
use openraft::{SnapshotMeta, Vote};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::TransferError;
use super::frame::{self, Before, HEAD_BYTES};
use super::piece::Piece;
use crate::cluster::raft::{Node, NodeId};

/// Without a word for so long the other side is given up.
const STALLED: Duration = Duration::from_secs(60);
/// Who works on something says so this often.
const BUSY_PAUSE: Duration = Duration::from_secs(10);

/// The numbers of the kinds are part of the protocol; those below are of pieces.
const OFFER: u8 = 16;
const READY: u8 = 17;
const BUSY: u8 = 18;
const RESPONSE: u8 = 19;
const REFUSED: u8 = 20;

/// What is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The shard of the group, or [`crate::journal::META`].
    pub(super) group: u16,
    /// The leader's vote.
    pub(super) vote: Vote<NodeId>,
    pub(super) meta: SnapshotMeta<NodeId, Node>,
}

/// What comes over the stream of a state.
#[derive(Debug)]
pub(super) enum Said {
    Offer(Box<Offer>),
    /// It is the state's turn.
    Ready,
    Piece(Piece),
    /// It counts, or it does not, because of this vote.
    Response(SnapshotResponse<NodeId>),
}

/// Says one thing.
pub(super) fn offer(offer: &Offer) -> Result<Vec<u8>, TransferError> {
    let payload = rmp_serde::to_vec_named(offer).map_err(TransferError::malformed)?;
    frame::encode(OFFER, &payload)
}

pub(super) fn ready() -> Result<Vec<u8>, TransferError> {
    frame::encode(READY, &[])
}

pub(super) fn response(response: &SnapshotResponse<NodeId>) -> Result<Vec<u8>, TransferError> {
    let payload = rmp_serde::to_vec_named(response).map_err(TransferError::malformed)?;
    frame::encode(RESPONSE, &payload)
}

pub(super) fn refused(sentence: &str) -> Result<Vec<u8>, TransferError> {
    let mut end = sentence.len().min(1_000);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    frame::encode(REFUSED, sentence.get(..end).unwrap_or_default().as_bytes())
}

/// Sends a frame.
///
/// # Errors
/// When the stream has ended, or nobody takes it.
pub(super) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &[u8],
) -> Result<(), TransferError> {
    let sent = tokio::time::timeout(STALLED, to.write_all(frame)).await;
    sent.map_err(|_late| TransferError::Broken(stalled()))?.map_err(TransferError::Broken)
}

/// Reads what the other side says next. `from_node`: who that is. Who is waited for may take its time if
/// `is_patient`.
///
/// # Errors
/// When the stream has ended, or it says why not, or says what nobody understands.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    from_node: u64,
) -> Result<Said, TransferError> {
    loop {
        let (kind, payload) = match tokio::time::timeout(STALLED, read_frame(from)).await {
            Ok(read) => read?,
            Err(_late) => return Err(TransferError::Broken(stalled())),
        };
        return Ok(match kind {
            BUSY => continue,
            READY => Said::Ready,
            OFFER => {
                let offer = rmp_serde::from_slice(&payload).map_err(TransferError::malformed)?;
                Said::Offer(Box::new(offer))
            }
            RESPONSE => {
                Said::Response(rmp_serde::from_slice(&payload).map_err(TransferError::malformed)?)
            }
            REFUSED => {
                let sentence = String::from_utf8_lossy(&payload).into_owned();
                return Err(TransferError::Refused { node: from_node, sentence });
            }
            kind => Said::Piece(Piece::decode(kind, payload)?),
        });
    }
}

/// Waits for something, and says meanwhile that one is still there.
///
/// # Errors
/// When the stream has ended.
pub(super) async fn busy<T>(
    to: &mut (impl AsyncWrite + Unpin),
    work: impl Future<Output = T>,
) -> Result<T, TransferError> {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(BUSY_PAUSE, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_late) => send(to, &frame::encode(BUSY, &[])?).await?,
        }
    }
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<(u8, Bytes), TransferError> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).await.map_err(TransferError::Broken)?;
    let before = Before::decode(head)?;
    let mut payload = vec![0; before.payload_bytes];
    from.read_exact(&mut payload).await.map_err(TransferError::Broken)?;
    before.check(&payload)?;
    Ok((before.kind, payload.into()))
}

fn stalled() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing was said for a minute")
}
