//! Going on with a backup that was cut off: its whole shards stay.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::frames::{self, Kind};
use super::{BackupError, End, Header, Reader};

/// What is there of a backup that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) header: Header,
    /// The shards that are whole.
    pub(crate) before: End,
    /// Bytes of the file up to their end: the rest has to come again.
    pub(crate) at: u64,
}

/// Looks for whole shards at the beginning of a file; `None` if there is none.
///
/// A shard is over when the next one begins, since its blocks have no end of their own.
///
/// # Errors
/// When the file is no backup, or cannot be read.
pub(crate) fn begun(path: &Path) -> Result<Option<Begun>, BackupError> {
    let header = match Reader::open(path) {
        Ok(reader) => reader.header().clone(),
        // It was cut off so early.
        Err(BackupError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let refuse = |source| BackupError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(refuse)?;
    let mut file = Counted { from: BufReader::new(file), at: 0 };
    io::copy(&mut (&mut file).take(frames::MAGIC.len() as u64), &mut io::sink()).map_err(refuse)?;
    let (mut before, mut seen, mut at) = (End::default(), End::default(), 0);
    let mut last = Kind::Header;
    loop {
        let begins_at = file.at;
        let Ok((kind, payload)) = frames::read(&mut file) else { break };
        let bytes = |head: usize| payload.len().saturating_sub(head) as u64;
        if matches!(kind, Kind::Piece | Kind::End) && matches!(last, Kind::ShardEnd | Kind::Block) {
            seen.shards += 1;
            (before, at) = (seen, begins_at);
        }
        match kind {
            Kind::Piece => seen.bytes += bytes(2),
            Kind::Block => seen.bytes += bytes(10),
            Kind::Header | Kind::ShardEnd => {}
            Kind::End | Kind::Failed => break,
        }
        last = kind;
    }
    Ok((before.shards > 0).then_some(Begun { header, before, at }))
}

/// A file, and how far it has been read.
struct Counted {
    from: BufReader<File>,
    at: u64,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.at += read as u64;
        Ok(read)
    }
}
