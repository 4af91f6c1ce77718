//! The frames of a backup: length, checksum, kind, payload.

use std::io::{self, Read, Write};

/// The first bytes of every backup.
pub(super) const MAGIC: &[u8; 16] = b"tidewire-backup\n";
/// Bytes of a shard's state in one frame.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// No frame is longer.
const FRAME_BYTES_MAX: usize = 2 * PIECE_BYTES;
/// Bytes before the payload: length, checksum, kind.
const HEAD_BYTES: usize = 4 + 4 + 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The header, as JSON.
    Header = 1,
    /// A piece of the state of a shard, whose number (u16) stands before it.
    Piece = 2,
    /// A shard is over: its number (u16) and the bytes of its state (u64).
    ShardEnd = 3,
    /// Everything is over, as JSON.
    End = 4,
    /// A piece of a block of a shard: number of the shard (u16) and index of the block (u64) stand
    /// before it.
    Block = 5,
    /// There is no more, and why: text.
    Failed = 6,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Header),
            2 => Some(Self::Piece),
            3 => Some(Self::ShardEnd),
            4 => Some(Self::End),
            5 => Some(Self::Block),
            6 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Writes one frame.
pub(super) fn write(out: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let len = u32::try_from(payload.len() + 1).map_err(io::Error::other)?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind as u8]), payload);
    out.write_all(&len.to_be_bytes())?;
    out.write_all(&checksum.to_be_bytes())?;
    out.write_all(&[kind as u8])?;
    out.write_all(payload)
}

/// Reads one frame; an error says what is wrong with it.
pub(super) fn read(from: &mut impl Read) -> Result<(Kind, Vec<u8>), String> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).map_err(cut)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = head;
    let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if len == 0 || len > FRAME_BYTES_MAX {
        return Err(format!("a frame of {len} bytes does not exist"));
    }
    let mut payload = vec![0; len - 1];
    from.read_exact(&mut payload).map_err(cut)?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &payload);
    if checksum != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err("a checksum is wrong".to_owned());
    }
    let kind = Kind::from_number(kind).ok_or_else(|| format!("kind {kind} is not known"))?;
    Ok((kind, payload))
}

fn cut(error: io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "it is cut off".to_owned();
    }
    error.to_string()
}
