//! Shards of a cluster for a backup: from this node's own copy, or from another node that has one.

use std::io;
use std::time::Duration;

use quinn::RecvStream;
use tidewire_core::SHARDS;
use tidewire_core::shard::ShardSnapshot;
use tokio::runtime::Handle;

use super::Shared;
use super::giving::{COPY, Piece, Wanted};
use super::steering::Point;
use crate::backup::{Part, kept_blocks};
use crate::cluster::{NodeId, frames, services};

/// How long a stream to another node may take to be opened, and each of its pieces to come.
const OPEN: Duration = Duration::from_secs(5);
const PIECE: Duration = Duration::from_secs(15);
/// Bytes of a state that is taken; a longer one would not fit into memory beside the rest.
const STATE_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;
/// No block is longer: a round of a shard is one, however large.
const BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The durable shard of a group as of a point, from the first node that gives it. Blocks.
///
/// # Errors
/// When nobody does: with what each has said.
pub(crate) fn gather(shared: &Shared, group: u16, point: &Point) -> io::Result<Part<'static>> {
    let (shard, runtime) = (SHARDS + group, Handle::current());
    let mut said = Vec::new();
    for node in &point.nodes {
        let is_own = shared.cluster.as_ref().is_some_and(|cluster| cluster.node == *node);
        let outcome = match is_own {
            true => runtime.block_on(own(shared, shard, point.entries)),
            false => runtime.block_on(other(shared, *node, shard, point.entries)),
        };
        match outcome {
            Ok(part) => return Ok(part),
            Err(error) => said.push(format!("node {node}: {error}")),
        }
    }
    let said = if said.is_empty() {
        "no node that has one is reached".to_owned()
    } else {
        said.join("; ")
    };
    Err(io::Error::other(format!(
        "shard {shard} is not to be had, so the backup would lack it: {said}; try again with --resume when they are there"
    )))
}

async fn own(shared: &Shared, shard: u16, entries: u64) -> io::Result<Part<'static>> {
    let copy = shared.copy_with(shard, entries, COPY).await;
    let snapshot = copy.ok_or_else(|| io::Error::other("its copy lacks what is committed"))?;
    let reads = shared.blocks().ok_or_else(|| io::Error::other("it is stopping"))?;
    let blocks = Box::new(kept_blocks(&reads, &snapshot));
    Ok(Part { snapshot, blocks })
}

async fn other(
    shared: &Shared,
    node: NodeId,
    shard: u16,
    entries: u64,
) -> io::Result<Part<'static>> {
    let cluster = shared.cluster.as_ref().ok_or_else(|| io::Error::other("there is no cluster"))?;
    let opened = tokio::time::timeout(OPEN, cluster.links.open(node, services::BACKUPS)).await;
    let opened = opened.map_err(|_late| io::ErrorKind::TimedOut)?;
    let (mut send, mut recv) = opened.map_err(|error| io::Error::other(error.to_string()))?;
    frames::send(&mut send, &Wanted { shard, entries }).await?;
    let mut state = Vec::new();
    loop {
        match next(&mut recv).await? {
            Piece::State(bytes) if state.len() + bytes.len() <= STATE_BYTES_MAX => {
                state.extend_from_slice(&bytes);
            }
            Piece::State(_) => return Err(io::Error::other("the state is too large")),
            Piece::StateEnd => break,
            Piece::Refused(why) => return Err(io::Error::other(why)),
            Piece::Block { .. } | Piece::End { .. } => return Err(out_of_turn()),
        }
    }
    let snapshot: ShardSnapshot = rmp_serde::from_slice(&state).map_err(io::Error::other)?;
    if snapshot.shard() != shard {
        return Err(io::Error::other(format!("it has given shard {}", snapshot.shard())));
    }
    let blocks = Box::new(Coming {
        recv,
        runtime: Handle::current(),
        ahead: None,
        blocks: 0,
        has_ended: false,
    });
    Ok(Part { snapshot, blocks })
}

async fn next(recv: &mut RecvStream) -> io::Result<Piece> {
    let piece = tokio::time::timeout(PIECE, frames::receive(recv)).await;
    let piece = piece.map_err(|_late| io::Error::other("it gives nothing any more"))??;
    piece.ok_or_else(|| {
        io::Error::other("its stream has ended: it knows no backups of a cluster, or stops")
    })
}

fn out_of_turn() -> io::Error {
    io::Error::other("what it gives comes out of turn")
}

/// The blocks that another node gives, one after the other. Blocks who asks for one.
struct Coming {
    recv: RecvStream,
    runtime: Handle,
    /// The beginning of the next block.
    ahead: Option<(u64, Vec<u8>)>,
    blocks: u64,
    has_ended: bool,
}

impl Coming {
    fn take(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut open = self.ahead.take();
        while !self.has_ended {
            match self.runtime.block_on(next(&mut self.recv))? {
                Piece::Block { index, bytes } => match &mut open {
                    Some((known, block)) if *known == index => {
                        if block.len() + bytes.len() > BLOCK_BYTES_MAX {
                            return Err(io::Error::other(format!("block {index} is too long")));
                        }
                        block.extend_from_slice(&bytes);
                    }
                    Some(_) => {
                        self.ahead = Some((index, bytes.into_vec()));
                        break;
                    }
                    None => open = Some((index, bytes.into_vec())),
                },
                Piece::End { blocks } => {
                    self.has_ended = true;
                    if blocks != self.blocks + u64::from(open.is_some()) {
                        return Err(io::Error::other(format!(
                            "{blocks} blocks were given, and fewer have come"
                        )));
                    }
                }
                Piece::Refused(why) => return Err(io::Error::other(why)),
                Piece::State(_) | Piece::StateEnd => return Err(out_of_turn()),
            }
        }
        self.blocks += u64::from(open.is_some());
        Ok(open)
    }
}

impl Iterator for Coming {
    type Item = io::Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        self.has_ended |= taken.is_err();
        taken.transpose()
    }
}
