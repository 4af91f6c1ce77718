//! Frames read back from a file, as far as it goes.

use std::io::{self, Read};

use serde::de::DeserializeOwned;

use super::format::{
    End, FRAME_BYTES_MAX, HEAD_BYTES, HashMark, Header, MAGIC, PREAMBLE_BYTES, Turn, VERSION, kind,
};

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system does not read it.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no recording: one begins with 'tidewire-record'")]
    NotARecording,
    /// It is of another version.
    #[error(
        "it has format {0}, and this program reads format {VERSION}: use the release that made it"
    )]
    Version(u32),
    /// Its bytes are not those that were written.
    #[error("it is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// One frame.
#[derive(Debug)]
pub(crate) enum Frame {
    Header(Header),
    SnapshotPiece { shard: u16, is_last: bool, bytes: Vec<u8> },
    Turn(Turn),
    Hash(HashMark),
    End(End),
}

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Next {
    Frame(Frame),
    /// The file is over, with a whole frame.
    Over,
    /// The file is over in the middle of a frame: whoever wrote it was cut off.
    Torn {
        /// Where that frame begins.
        offset: u64,
        /// Bytes that are left of it.
        bytes: u64,
    },
}

/// Reads frames. A length is believed only as far as its bytes are there.
#[derive(Debug)]
pub(crate) struct FramesIn<R> {
    file: R,
    offset: u64,
}

impl<R: Read> FramesIn<R> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// When it is no recording, or one of another version.
    pub(crate) fn begin(mut file: R) -> Result<Self, ReadError> {
        let preamble = read_up_to(&mut file, PREAMBLE_BYTES)?;
        let Some((magic, version)) = preamble.split_first_chunk::<{ MAGIC.len() }>() else {
            return Err(ReadError::NotARecording);
        };
        let version = <[u8; 4]>::try_from(version).map_err(|_short| ReadError::NotARecording)?;
        if magic != MAGIC {
            return Err(ReadError::NotARecording);
        }
        match u32::from_le_bytes(version) {
            VERSION => Ok(Self { file, offset: PREAMBLE_BYTES as u64 }),
            other => Err(ReadError::Version(other)),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When the file cannot be read, or a whole frame in it is not what was written.
    pub(crate) fn read(&mut self) -> Result<Next, ReadError> {
        let head = read_up_to(&mut self.file, HEAD_BYTES)?;
        if head.is_empty() {
            return Ok(Next::Over);
        }
        let Ok([l0, l1, l2, l3, c0, c1, c2, c3, kind]) = <[u8; HEAD_BYTES]>::try_from(&*head)
        else {
            return Ok(self.torn(head.len()));
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len == 0 || len > FRAME_BYTES_MAX {
            return Err(self.damaged(format!("a frame of {len} bytes does not exist")));
        }
        let payload = read_up_to(&mut self.file, len as usize - 1)?;
        if payload.len() < len as usize - 1 {
            return Ok(self.torn(HEAD_BYTES + payload.len()));
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&[kind]);
        checksum.update(&payload);
        if checksum.finalize() != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(self.damaged("the checksum of the frame is wrong".to_owned()));
        }
        let frame = self.decode(kind, payload)?;
        self.offset += (HEAD_BYTES - 1) as u64 + u64::from(len);
        Ok(Next::Frame(frame))
    }

    fn decode(&self, kind: u8, payload: Vec<u8>) -> Result<Frame, ReadError> {
        match kind {
            kind::HEADER => Ok(Frame::Header(self.value(&payload)?)),
            kind::SNAPSHOT => match payload.split_first_chunk() {
                Some(([low, high, last], bytes)) => Ok(Frame::SnapshotPiece {
                    shard: u16::from_le_bytes([*low, *high]),
                    is_last: *last != 0,
                    bytes: bytes.to_vec(),
                }),
                None => Err(self.damaged("a piece of a snapshot lacks its head".to_owned())),
            },
            kind::TURN => Ok(Frame::Turn(self.value(&payload)?)),
            kind::HASH => Ok(Frame::Hash(self.value(&payload)?)),
            kind::END => Ok(Frame::End(self.value(&payload)?)),
            other => Err(self.damaged(format!("frames of kind {other} are not known here"))),
        }
    }

    fn value<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, ReadError> {
        rmp_serde::from_slice(payload).map_err(|error| self.damaged(error.to_string()))
    }

    /// What is wrong with the frame that begins here.
    pub(crate) fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged { offset: self.offset, what }
    }

    fn torn(&self, bytes: usize) -> Next {
        Next::Torn { offset: self.offset, bytes: bytes as u64 }
    }
}

/// So many bytes, or fewer where the file is over.
fn read_up_to(file: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
