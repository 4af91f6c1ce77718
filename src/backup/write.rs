//! Writing a backup, piece by piece, while the server goes on.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::shard::ShardSnapshot;
use tokio::sync::mpsc;

use super::ending::REASON_BYTES_MAX;
use super::frames::{self, Kind, MAGIC, PIECE_BYTES};
use super::{End, Header};

/// Where the bytes go, in the order in which they come. A receiver that is slow holds the writer up.
pub(crate) type Sending = mpsc::Sender<io::Result<Bytes>>;

/// How long nothing may be read of it before it is given up.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// Blocks of a shard, in order: index and bytes.
pub(crate) type Blocks<'a> = Box<dyn Iterator<Item = io::Result<(u64, Vec<u8>)>> + 'a>;

/// A shard of a backup: its state, and the blocks that hold records of it.
pub(crate) struct Part<'a> {
    pub(crate) snapshot: ShardSnapshot,
    pub(crate) blocks: Blocks<'a>,
}

/// Sends a backup: all of it, or what comes behind the shards that `before` counts. `next` gives one
/// shard after the other. If something is not to be had, why is the last that is sent. Blocks.
///
/// # Errors
/// When the receiver has gone, or a shard is not to be had, cannot be encoded or read.
pub(crate) fn send<'a>(
    header: &Header,
    before: End,
    next: impl FnMut() -> io::Result<Option<Part<'a>>>,
    to: &Sending,
) -> io::Result<()> {
    let mut out = Chunks { to, open: Vec::with_capacity(2 * PIECE_BYTES) };
    let sent = send_shards(header, before, next, &mut out);
    if let Err(error) = &sent {
        let mut reason = error.to_string();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        // Whoever has gone does not hear it.
        drop(frames::write(&mut out, Kind::Failed, reason.as_bytes()).and_then(|()| out.flush()));
    }
    sent
}

fn send_shards<'a>(
    header: &Header,
    before: End,
    mut next: impl FnMut() -> io::Result<Option<Part<'a>>>,
    out: &mut Chunks<'_>,
) -> io::Result<()> {
    if before.shards == 0 {
        out.write_all(MAGIC)?;
        frames::write(out, Kind::Header, &serde_json::to_vec(header)?)?;
    }
    let mut end = before;
    while let Some(Part { snapshot, blocks }) = next()? {
        let shard = snapshot.shard();
        let mut pieces = Pieces { out, shard, open: Vec::new(), bytes: 0 };
        rmp_serde::encode::write_named(&mut pieces, &snapshot).map_err(io::Error::other)?;
        pieces.flush()?;
        let bytes = pieces.bytes;
        let mut payload = shard.to_be_bytes().to_vec();
        payload.extend_from_slice(&bytes.to_be_bytes());
        frames::write(out, Kind::ShardEnd, &payload)?;
        let block_bytes = send_blocks(out, shard, blocks)?;
        end = End { shards: end.shards + 1, bytes: end.bytes + bytes + block_bytes };
    }
    if end.shards == header.shards {
        // Without it the reader knows that something is missing.
        frames::write(out, Kind::End, &serde_json::to_vec(&end)?)?;
    }
    out.flush()
}

/// Sends blocks of a shard; returns their bytes.
fn send_blocks(
    out: &mut Chunks<'_>,
    shard: u16,
    blocks: impl Iterator<Item = io::Result<(u64, Vec<u8>)>>,
) -> io::Result<u64> {
    let mut sent = 0;
    for block in blocks {
        let (index, block) = block?;
        for piece in block.chunks(PIECE_BYTES) {
            let mut payload = shard.to_be_bytes().to_vec();
            payload.extend_from_slice(&index.to_be_bytes());
            payload.extend_from_slice(piece);
            frames::write(out, Kind::Block, &payload)?;
        }
        sent += block.len() as u64;
    }
    Ok(sent)
}

/// Cuts the state of a shard into frames.
struct Pieces<'a, 'b> {
    out: &'a mut Chunks<'b>,
    shard: u16,
    open: Vec<u8>,
    bytes: u64,
}

impl Write for Pieces<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.is_empty() {
            self.open.extend_from_slice(&self.shard.to_be_bytes());
        }
        let room = (PIECE_BYTES + 2).saturating_sub(self.open.len());
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.open.extend_from_slice(taken);
        self.bytes += taken.len() as u64;
        if self.open.len() >= PIECE_BYTES + 2 {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.open.is_empty() {
            frames::write(self.out, Kind::Piece, &self.open)?;
            self.open.clear();
        }
        Ok(())
    }
}

/// Gathers what is written into few messages.
struct Chunks<'a> {
    to: &'a Sending,
    open: Vec<u8>,
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.extend_from_slice(bytes);
        if self.open.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.open));
        let gone = |_closed| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more");
        // While it is written nothing is removed from the journal, so it has to end.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let sent = tokio::time::timeout(STALLED_MAX, self.to.send(Ok(chunk)));
                runtime.block_on(sent).map_err(io::Error::other)?.map_err(gone)
            }
            Err(_) => self.to.blocking_send(Ok(chunk)).map_err(gone),
        }
    }
}
