//! Taking a state from another node, over a stream.

use bytes::Bytes;
use openraft::Vote;
use openraft::raft::SnapshotResponse;
use openraft::storage::Snapshot;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::TransferError;
use super::figures::count;
use super::piece::{Head, Piece};
use super::sink::{Sink, Step, Taken};
use super::states::{States, Turn, base_of};
use super::talk::{self, Offer, Said};
use crate::cluster::links::Incoming;
use crate::cluster::raft::{GroupSnapshot, Groups, NodeId, TakenState};
use crate::journal::{GroupLog, META, SNAPSHOT_BYTES_MAX};

impl States {
    /// Takes a state that another node gives over a stream of the service [`crate::cluster::services::STATES`].
    /// `find` gives the log of a group (by its shard, or [`META`]), or a sentence why its state is not taken;
    /// it sees the leader's vote. `install` hands what was taken over to the group
    /// (`Raft::install_full_snapshot`) and returns what that says, or why it does not.
    ///
    /// # Errors
    /// When it does not get here, or not whole, or does not come to count. The other node is told why.
    pub(crate) async fn take<F>(
        &self,
        incoming: Incoming,
        find: impl FnOnce(u16, &Vote<NodeId>) -> Result<GroupLog, String>,
        install: impl FnOnce(u16, Vote<NodeId>, Snapshot<Groups>) -> F,
    ) -> Result<(), TransferError>
    where
        F: Future<Output = Result<SnapshotResponse<NodeId>, String>>,
    {
        let Incoming { node, mut send, mut recv } = incoming;
        let streams = (&mut send, &mut recv);
        let outcome = self.take_over(streams, node.into(), find, install).await;
        let figures = self.figures();
        count(if outcome.is_ok() { &figures.taken } else { &figures.failed }, 1);
        // The other node may have gone.
        drop(send.finish());
        outcome
    }

    /// Takes a state over a stream.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) async fn take_over<F>(
        &self,
        (to, from): (&mut (impl AsyncWrite + Unpin), &mut (impl AsyncRead + Unpin)),
        peer: u64,
        find: impl FnOnce(u16, &Vote<NodeId>) -> Result<GroupLog, String>,
        install: impl FnOnce(u16, Vote<NodeId>, Snapshot<Groups>) -> F,
    ) -> Result<(), TransferError>
    where
        F: Future<Output = Result<SnapshotResponse<NodeId>, String>>,
    {
        let taken = self.receive(&mut *to, from, peer, find).await;
        let (_turn, Offer { group, vote, meta }, taken) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // It may not hear it any more.
                drop(talk::send(to, &talk::refused(&error.to_string())?).await);
                return Err(error);
            }
        };
        let snapshot = Snapshot { meta, snapshot: Box::new(taken) };
        match talk::busy(to, install(group, vote, snapshot)).await? {
            Ok(response) => talk::send(to, &talk::response(&response)?).await,
            Err(sentence) => {
                talk::send(to, &talk::refused(&sentence)?).await?;
                Err(TransferError::Journal(std::io::Error::other(sentence)))
            }
        }
    }

    async fn receive(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        from: &mut (impl AsyncRead + Unpin),
        peer: u64,
        find: impl FnOnce(u16, &Vote<NodeId>) -> Result<GroupLog, String>,
    ) -> Result<(Turn<'_>, Offer, GroupSnapshot), TransferError> {
        let Said::Offer(offer) = talk::read(from, peer).await? else { return Err(out_of_turn()) };
        let base = base_of(&offer.meta)?;
        let log = find(offer.group, &offer.vote);
        let log = log.map_err(|what| TransferError::Journal(std::io::Error::other(what)))?;
        let turn = talk::busy(to, self.turn_to_take()).await??;
        if log.remembered().committed >= Some(base.last) {
            // All of it is here. What the group says to that is the answer.
            return Ok((turn, *offer, GroupSnapshot::default()));
        }
        talk::send(to, &talk::ready()?).await?;
        let taken = match offer.group {
            META => GroupSnapshot::Bytes(self.receive_bytes(to, from, peer).await?),
            _ => {
                let taken = self.receive_pieces(to, from, peer, Sink::new(log, base)).await?;
                GroupSnapshot::Taken(TakenState::of(taken))
            }
        };
        Ok((turn, *offer, taken))
    }

    async fn receive_pieces(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        from: &mut (impl AsyncRead + Unpin),
        peer: u64,
        mut sink: Sink,
    ) -> Result<Taken, TransferError> {
        loop {
            let piece = self.piece(from, peer).await?;
            let put = tokio::task::spawn_blocking(move || {
                let step = sink.put(piece);
                (sink, step)
            });
            let done = talk::busy(to, put).await?;
            let step;
            (sink, step) =
                done.map_err(|ended| TransferError::Journal(std::io::Error::other(ended)))?;
            match step? {
                Step::More => {}
                Step::Wants(wanted) => talk::send(to, &Piece::Wanted(wanted).encode()?).await?,
                Step::Whole(taken) => return Ok(*taken),
            }
        }
    }

    /// The state of a group without a shard, which is small.
    async fn receive_bytes(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        from: &mut (impl AsyncRead + Unpin),
        peer: u64,
    ) -> Result<Bytes, TransferError> {
        let Piece::Head(head) = self.piece(from, peer).await? else { return Err(out_of_turn()) };
        let Head { state_bytes, state_checksum, .. } = *head;
        let length = usize::try_from(state_bytes).unwrap_or(usize::MAX);
        if length > SNAPSHOT_BYTES_MAX {
            let what = format!("it has {length} bytes, and {SNAPSHOT_BYTES_MAX} may be");
            return Err(TransferError::malformed(what));
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let Piece::State(part) = self.piece(from, peer).await? else {
                return Err(out_of_turn());
            };
            bytes.extend_from_slice(&part);
        }
        if bytes.len() != length || crc32c::crc32c(&bytes) != state_checksum {
            return Err(TransferError::malformed("the state has another length or checksum"));
        }
        talk::send(to, &Piece::Wanted(Vec::new()).encode()?).await?;
        match self.piece(from, peer).await? {
            Piece::End { blocks: 0, bytes: 0 } => Ok(bytes.into()),
            Piece::End { .. }
            | Piece::Head(_)
            | Piece::State(_)
            | Piece::Wanted(_)
            | Piece::Block { .. } => Err(out_of_turn()),
        }
    }

    async fn piece(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        peer: u64,
    ) -> Result<Piece, TransferError> {
        match talk::read(from, peer).await? {
            Said::Piece(piece) => {
                count(&self.figures().bytes_in, piece.bytes());
                Ok(piece)
            }
            Said::Offer(_) | Said::Ready | Said::Response(_) => Err(out_of_turn()),
        }
    }
}

fn out_of_turn() -> TransferError {
    TransferError::malformed("it says something that does not belong there")
}
