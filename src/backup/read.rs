//! Reading a backup back, with every checksum.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use tidewire_core::shard::ShardSnapshot;

use super::frames::{self, Kind, MAGIC};
use super::{End, FORMAT, Header};

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no backup: one begins with 'tidewire-backup'")]
    Other {
        /// The file.
        path: PathBuf,
    },
    /// It is of another format.
    #[error(
        "{path} has format {found}, and this release reads format {FORMAT}: use the release that made it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its bytes are not those that were written, or not all of them.
    #[error("{path} is damaged after {whole} whole shards: {what}; use another copy of it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Shards before the damage.
        whole: u16,
        /// What is wrong.
        what: String,
    },
}

/// What a whole backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) shards: u16,
    /// Bytes of the states.
    pub(crate) bytes: u64,
}

/// A backup that is being read.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    seen: Summary,
}

impl Reader {
    /// Opens a backup and reads its header.
    ///
    /// # Errors
    /// When it is none, or cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, BackupError> {
        let path = path.to_owned();
        let refuse = |source| BackupError::Io { path: path.clone(), source };
        let mut file = BufReader::new(File::open(&path).map_err(refuse)?);
        let mut magic = [0; MAGIC.len()];
        if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
            return Err(BackupError::Other { path });
        }
        let damaged = |what: String| BackupError::Damaged { path: path.clone(), whole: 0, what };
        let (kind, payload) = frames::read(&mut file).map_err(damaged)?;
        if kind != Kind::Header {
            return Err(damaged("it does not begin with its header".to_owned()));
        }
        #[derive(serde::Deserialize)]
        struct OnlyFormat {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| damaged(error.to_string());
        let OnlyFormat { format } = serde_json::from_slice(&payload).map_err(unreadable)?;
        if format != FORMAT {
            return Err(BackupError::Format { path, found: format });
        }
        let header = serde_json::from_slice(&payload).map_err(unreadable)?;
        Ok(Self { path, file, header, seen: Summary::default() })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The state of the next shard; `None` at the end of a whole backup.
    ///
    /// # Errors
    /// When it is damaged, or ends too early.
    pub(crate) fn next(&mut self) -> Result<Option<ShardSnapshot>, BackupError> {
        let mut pieces =
            Pieces { file: &mut self.file, piece: Vec::new(), at: 0, last: None, bytes: 0 };
        let outcome = match pieces.advance() {
            Err(what) => Err(what),
            Ok(()) => match pieces.last.take() {
                Some(Last::End(end)) => {
                    let Summary { shards, bytes } = self.seen;
                    let expected = End { shards, bytes };
                    if end == expected && shards == self.header.shards {
                        return Ok(None);
                    }
                    Err("it does not hold what its end says".to_owned())
                }
                Some(Last::Shard(..)) => Err("a shard has no state".to_owned()),
                None => read_shard(&mut pieces),
            },
        };
        let bytes = pieces.bytes;
        match outcome {
            Ok(snapshot) => {
                self.seen =
                    Summary { shards: self.seen.shards + 1, bytes: self.seen.bytes + bytes };
                Ok(Some(snapshot))
            }
            Err(what) => {
                let (path, whole) = (self.path.clone(), self.seen.shards);
                Err(BackupError::Damaged { path, whole, what })
            }
        }
    }

    /// Reads all that is left.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) fn verify(mut self) -> Result<Summary, BackupError> {
        while self.next()?.is_some() {}
        Ok(self.seen)
    }
}

fn read_shard(pieces: &mut Pieces<'_>) -> Result<ShardSnapshot, String> {
    let snapshot: ShardSnapshot =
        rmp_serde::from_read(&mut *pieces).map_err(|error| error.to_string())?;
    if pieces.at < pieces.piece.len() {
        return Err(format!("shard {} does not end where it ends", snapshot.shard()));
    }
    if pieces.last.is_none() {
        pieces.advance()?;
    }
    match pieces.last {
        Some(Last::Shard(shard, bytes)) if (shard, bytes) == (snapshot.shard(), pieces.bytes) => {
            Ok(snapshot)
        }
        Some(Last::Shard(..) | Last::End(_)) | None => {
            Err(format!("shard {} does not end where it ends", snapshot.shard()))
        }
    }
}

/// The frame behind the pieces of a shard.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// Number of the shard, bytes of its state.
    Shard(u16, u64),
    End(End),
}

/// The state of one shard, put together from its frames.
struct Pieces<'a> {
    file: &'a mut BufReader<File>,
    piece: Vec<u8>,
    at: usize,
    last: Option<Last>,
    bytes: u64,
}

impl Pieces<'_> {
    /// Reads the next frame.
    fn advance(&mut self) -> Result<(), String> {
        let (kind, payload) = frames::read(self.file)?;
        let short = || "a frame is too short".to_owned();
        match kind {
            Kind::Header => return Err("a header stands in its middle".to_owned()),
            Kind::Piece => {
                let (_shard, piece) = payload.split_first_chunk::<2>().ok_or_else(short)?;
                self.bytes += piece.len() as u64;
                self.piece = piece.to_vec();
                self.at = 0;
            }
            Kind::ShardEnd => {
                let (shard, rest) = payload.split_first_chunk().ok_or_else(short)?;
                let (bytes, _) = rest.split_first_chunk().ok_or_else(short)?;
                let (shard, bytes) = (u16::from_be_bytes(*shard), u64::from_be_bytes(*bytes));
                self.last = Some(Last::Shard(shard, bytes));
            }
            Kind::End => {
                let end = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
                self.last = Some(Last::End(end));
            }
        }
        Ok(())
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() && self.last.is_none() {
            self.advance().map_err(std::io::Error::other)?;
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
