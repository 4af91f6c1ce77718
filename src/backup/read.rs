//! Reading a backup back, with every checksum.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use tidewire_core::shard::ShardSnapshot;
use tidewire_core::topic::StoredBatch;

use super::frames::{self, Kind, MAGIC};
use super::pieces::{Pieces, ended_early, read_shard, short};
use super::{End, FORMAT, Header};
use crate::journal::batches_in;

/// No block is longer: a change that is larger than a block has one of its own.
const BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;

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
    /// Bytes of the states and blocks.
    pub(crate) bytes: u64,
}

/// A backup that is being read.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    seen: Summary,
    /// A frame that was read to see where a block ends.
    ahead: Option<(Kind, Vec<u8>)>,
    /// The shard that was read last, and those of its records that have not come yet.
    shard: u16,
    stored: VecDeque<StoredBatch>,
}

/// What a backup holds.
pub(crate) enum Item {
    /// The state of a shard.
    Shard(Box<ShardSnapshot>),
    /// A block that holds records of the shard before it.
    Block {
        /// The shard.
        shard: u16,
        /// Index of the block in its log.
        index: u64,
        /// The block.
        bytes: Vec<u8>,
    },
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
        Ok(Self {
            path,
            file,
            header,
            seen: Summary::default(),
            ahead: None,
            shard: 0,
            stored: VecDeque::new(),
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What comes next; `None` at the end of a whole backup.
    ///
    /// # Errors
    /// When it is damaged, or ends too early.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, BackupError> {
        let outcome = self.read_next();
        let (path, whole) = (&self.path, self.seen.shards);
        outcome.map_err(|what| BackupError::Damaged { path: path.clone(), whole, what })
    }

    fn read_next(&mut self) -> Result<Option<Item>, String> {
        let (kind, payload) = match self.ahead.take() {
            Some(frame) => frame,
            None => frames::read(&mut self.file)?,
        };
        match kind {
            Kind::Header => Err("a header stands in its middle".to_owned()),
            Kind::ShardEnd => Err("a shard has no state".to_owned()),
            Kind::Piece => {
                self.check_stored()?;
                let mut pieces = Pieces::new(&mut self.file, &payload)?;
                let snapshot = read_shard(&mut pieces)?;
                self.seen.bytes += pieces.bytes;
                self.seen.shards += 1;
                self.shard = snapshot.shard();
                self.stored = snapshot.stored().into();
                Ok(Some(Item::Shard(Box::new(snapshot))))
            }
            Kind::Block => self.read_block(&payload).map(Some),
            Kind::Failed => Err(ended_early(&payload)),
            Kind::End => {
                self.check_stored()?;
                let end: End =
                    serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
                let Summary { shards, bytes } = self.seen;
                if end == (End { shards, bytes }) && shards == self.header.shards {
                    return Ok(None);
                }
                Err("it does not hold what its end says".to_owned())
            }
        }
    }

    /// Reads the rest of a block, which has to hold records of the shard before it.
    fn read_block(&mut self, first: &[u8]) -> Result<Item, String> {
        let (place, piece) = first.split_first_chunk::<10>().ok_or_else(short)?;
        let mut bytes = piece.to_vec();
        loop {
            let (kind, payload) = frames::read(&mut self.file)?;
            if kind != Kind::Block || !payload.starts_with(place) {
                self.ahead = Some((kind, payload));
                break;
            }
            bytes.extend_from_slice(payload.get(place.len()..).unwrap_or_default());
            if bytes.len() > BLOCK_BYTES_MAX {
                return Err(format!("a block has more than {BLOCK_BYTES_MAX} bytes"));
            }
        }
        let [s0, s1, index @ ..] = *place;
        let (shard, index) = (u16::from_be_bytes([s0, s1]), u64::from_be_bytes(index));
        if shard != self.shard {
            return Err(format!("block {index} is one of shard {shard}, not {}", self.shard));
        }
        let batches = batches_in(&bytes).map_err(|what| format!("block {index}: {what}"))?;
        for (sequence, length) in batches {
            let is_this = |stored: &StoredBatch| {
                (stored.sequence, stored.bytes as usize) == (sequence, length)
            };
            if self.stored.front().is_some_and(is_this) {
                self.stored.pop_front();
            }
        }
        self.seen.bytes += bytes.len() as u64;
        Ok(Item::Block { shard, index, bytes })
    }

    /// The blocks behind a state have held all its records.
    fn check_stored(&self) -> Result<(), String> {
        match self.stored.front() {
            None => Ok(()),
            Some(missing) => {
                let StoredBatch { topic, base, .. } = missing;
                Err(format!("records of topic '{topic}' are missing, from offset {base} on"))
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
