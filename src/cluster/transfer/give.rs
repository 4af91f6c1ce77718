//! Giving a state to another node, over a stream.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use openraft::Vote;
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::error::TransferError;
use super::figures::count;
use super::piece::{Head, Piece};
use super::source::{Out, Source};
use super::states::{States, base_of};
use super::talk::{self, Offer, Said};
use crate::cluster::raft::{GroupSnapshot, Groups, NodeId};
use crate::cluster::{Links, NodeId as Peer, services};
use crate::journal::{META, STATE_PART_BYTES_MAX};

/// Frames that are ready to be sent.
const FRAMES: usize = 4;

impl States {
    /// Gives a state to another node, which lets it count; returns what that node's group says. Waits
    /// for its turn on both sides. Whoever does not want it any more drops the future.
    ///
    /// # Errors
    /// When it does not get there. Another attempt goes on with the blocks that have.
    pub(crate) async fn give(
        &self,
        links: &Links,
        to: Peer,
        vote: Vote<NodeId>,
        snapshot: Snapshot<Groups>,
    ) -> Result<SnapshotResponse<NodeId>, TransferError> {
        let _turn = self.turn_to_give().await?;
        let stream = links.open(to, services::STATES).await;
        let outcome = match stream {
            Ok((mut send, mut recv)) => {
                self.give_over((&mut send, &mut recv), to.into(), vote, snapshot).await
            }
            Err(error) => Err(error.into()),
        };
        let figures = self.figures();
        count(if outcome.is_ok() { &figures.given } else { &figures.failed }, 1);
        outcome
    }

    /// Gives a state over a stream that was opened for it.
    ///
    /// # Errors
    /// As [`Self::give`].
    pub(super) async fn give_over(
        &self,
        (to, from): (&mut (impl AsyncWrite + Unpin), &mut (impl AsyncRead + Unpin)),
        peer: u64,
        vote: Vote<NodeId>,
        snapshot: Snapshot<Groups>,
    ) -> Result<SnapshotResponse<NodeId>, TransferError> {
        let Snapshot { meta, snapshot } = snapshot;
        let base = base_of(&meta)?;
        let given = match *snapshot {
            GroupSnapshot::Given(source) => {
                if source.base().last != base.last {
                    return Err(TransferError::malformed("its group says that it is another one"));
                }
                Given::Shard(source)
            }
            GroupSnapshot::Bytes(bytes) => Given::Bytes(bytes),
            GroupSnapshot::Taken(_) => {
                return Err(TransferError::malformed("what was taken is not given on as it is"));
            }
        };
        let group = match &given {
            Given::Shard(source) => source.shard(),
            Given::Bytes(_) => META,
        };
        talk::send(to, &talk::offer(&Offer { group, vote, meta })?).await?;
        let not_now = || TransferError::malformed("an answer that does not belong there");
        match talk::read(from, peer).await? {
            Said::Ready => {}
            Said::Response(response) => return Ok(response),
            Said::Offer(_) | Said::Piece(_) => return Err(not_now()),
        }
        let (state, blocks) = (given.clone(), given);
        self.pump(to, move |out| state.give_state(&base, out)).await?;
        let wanted = match talk::read(from, peer).await? {
            Said::Piece(Piece::Wanted(wanted)) => wanted,
            Said::Response(response) => return Ok(response),
            Said::Ready | Said::Offer(_) | Said::Piece(_) => return Err(not_now()),
        };
        self.pump(to, move |out| blocks.give_blocks(&wanted, out)).await?;
        match talk::read(from, peer).await? {
            Said::Response(response) => Ok(response),
            Said::Ready | Said::Offer(_) | Said::Piece(_) => Err(not_now()),
        }
    }

    /// Sends what is given, as fast as it may be sent and taken.
    async fn pump(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        give: impl FnOnce(&mut Out<'_>) -> Result<(), TransferError> + Send + 'static,
    ) -> Result<(), TransferError> {
        let (sender, mut frames) = mpsc::channel::<Vec<u8>>(FRAMES);
        let giving = tokio::task::spawn_blocking(move || {
            let gone = |_gone| TransferError::Broken(std::io::ErrorKind::BrokenPipe.into());
            give(&mut |piece| sender.blocking_send(piece.encode()?).map_err(gone))
        });
        while let Some(frame) = frames.recv().await {
            self.pace().wait(frame.len()).await;
            talk::send(to, &frame).await?;
            count(&self.figures().bytes_out, frame.len());
        }
        giving.await.map_err(|ended| TransferError::Journal(std::io::Error::other(ended)))?
    }
}

/// What is given.
#[derive(Clone)]
enum Given {
    Shard(Arc<Source>),
    /// The state of a group without a shard.
    Bytes(Bytes),
}

impl Given {
    fn give_state(
        &self,
        base: &crate::journal::Base,
        out: &mut Out<'_>,
    ) -> Result<(), TransferError> {
        let bytes = match self {
            Self::Shard(source) => return source.give_state(out),
            Self::Bytes(bytes) => bytes,
        };
        let (state_bytes, state_checksum) = (bytes.len() as u64, crc32c::crc32c(bytes));
        let head = Head { state_bytes, state_checksum, ..Head::new(META, base) };
        out(Piece::Head(Box::new(head)))?;
        bytes
            .chunks(STATE_PART_BYTES_MAX)
            .try_for_each(|part| out(Piece::State(bytes.slice_ref(part))))
    }

    fn give_blocks(&self, wanted: &[Range<u64>], out: &mut Out<'_>) -> Result<(), TransferError> {
        match self {
            Self::Shard(source) => source.give_blocks(wanted, out),
            Self::Bytes(_) => out(Piece::End { blocks: 0, bytes: 0 }),
        }
    }
}
