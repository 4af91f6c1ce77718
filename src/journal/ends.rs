//! Where the log of each shard ended, kept beside the database.
//!
//! A database that has lost its newest blocks looks like one that never had them. So the end is
//! written down elsewhere as well, at most a second after the commits it stands for. What is found
//! at the next start must reach that far.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::whole_file;

/// First line of the file.
const TITLE: &str = "tidewire ends 1";

/// The ends of all logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last commit.
    pub(crate) commit: u64,
    /// Each shard with the index that its next block will have.
    pub(crate) next: Vec<(u16, u64)>,
    /// Each group with the term of its last vote: one that is forgotten could be given twice.
    pub(crate) votes: Vec<(u16, u64)>,
}

impl Ends {
    /// The index of a shard's next block.
    pub(crate) fn next(&self, shard: u16) -> u64 {
        self.next.iter().find(|(known, _)| *known == shard).map_or(0, |(_, next)| *next)
    }

    pub(super) fn set_next(&mut self, shard: u16, next: u64) {
        set(&mut self.next, shard, next);
    }

    /// The term of a group's last vote.
    pub(crate) fn vote(&self, shard: u16) -> u64 {
        self.votes.iter().find(|(known, _)| *known == shard).map_or(0, |(_, term)| *term)
    }

    pub(super) fn set_vote(&mut self, shard: u16, term: u64) {
        set(&mut self.votes, shard, term);
    }

    fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\ncommit {}\n", self.commit);
        for (shard, next) in &self.next {
            text.push_str(&format!("shard {shard} next {next}\n"));
        }
        for (shard, term) in &self.votes {
            text.push_str(&format!("shard {shard} vote {term}\n"));
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("crc32c {checksum:08x}\n"));
        text
    }

    fn from_text(text: &str) -> Option<Self> {
        let at = text.rfind("crc32c ")?;
        let (covered, last) = text.split_at_checked(at)?;
        let checksum = last.strip_prefix("crc32c ")?.strip_suffix('\n')?;
        if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(covered.as_bytes()) {
            return None;
        }
        let mut lines = covered.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let commit = lines.next()?.strip_prefix("commit ")?.parse().ok()?;
        let mut ends = Self { commit, ..Self::default() };
        for line in lines {
            let (shard, rest) = line.strip_prefix("shard ")?.split_once(' ')?;
            let shard = shard.parse().ok()?;
            match rest.split_once(' ')? {
                ("next", next) => ends.next.push((shard, next.parse().ok()?)),
                ("vote", term) => ends.votes.push((shard, term.parse().ok()?)),
                (_, _) => return None,
            }
        }
        Some(ends)
    }
}

fn set(numbers: &mut Vec<(u16, u64)>, shard: u16, number: u64) {
    match numbers.iter_mut().find(|(known, _)| *known == shard) {
        Some((_, known)) => *known = number,
        None => numbers.push((shard, number)),
    }
}

/// The ends as they are kept in their file: a little behind the logs, never before them.
#[derive(Debug)]
pub(crate) struct KeptEnds {
    file: EndsFile,
    /// What the file holds.
    written: Ends,
    written_at: Instant,
}

impl KeptEnds {
    pub(crate) fn of(file: EndsFile, written: Ends) -> Self {
        Self { file, written, written_at: Instant::now() }
    }

    /// Whether it is so long since they were written.
    pub(super) fn are_older_than(&self, pause: Duration) -> bool {
        self.written_at.elapsed() >= pause
    }

    /// Whether the file says this.
    pub(super) fn say(&self, ends: &Ends) -> bool {
        self.written == *ends
    }

    /// Writes them if they are others.
    ///
    /// # Errors
    /// Those of the system; the file says what it said then.
    pub(super) fn write(&mut self, ends: &Ends) -> io::Result<()> {
        self.written_at = Instant::now();
        if self.written != *ends {
            self.file.write(ends)?;
            self.written = ends.clone();
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }
}

/// The file of the ends.
#[derive(Clone, Debug)]
pub(crate) struct EndsFile(PathBuf);

impl EndsFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What was written last; `None` if nothing ever was.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub(crate) fn read(&self) -> io::Result<Option<Ends>> {
        match std::fs::read_to_string(&self.0) {
            Ok(text) => match Ends::from_text(&text) {
                Some(ends) => Ok(Some(ends)),
                None => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file, as a whole, and waits until it is on the disk.
    ///
    /// # Errors
    /// Those of the system; the file is the earlier one then.
    pub(crate) fn write(&self, ends: &Ends) -> io::Result<()> {
        whole_file::replace(&self.0, ends.to_text().as_bytes(), 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = EndsFile::at(directory.path().join("ends"));
        assert_eq!(file.read().unwrap(), None);
        let (next, votes) = (vec![(16, 3), (31, u64::MAX)], vec![(16, 2)]);
        let ends = Ends { commit: 12, next, votes };
        file.write(&ends).unwrap();
        assert_eq!(file.read().unwrap(), Some(ends.clone()));
        assert_eq!((ends.next(31), ends.next(20)), (u64::MAX, 0));
        assert_eq!((ends.vote(16), ends.vote(31)), (2, 0));
        let text = std::fs::read(file.path()).unwrap();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            std::fs::write(file.path(), &damaged).unwrap();
            let read = file.read().ok().flatten();
            assert!(read.is_none() || read == Some(ends.clone()), "byte {at}: {read:?}");
            std::fs::write(file.path(), &text[..at]).unwrap();
            assert!(file.read().is_err() || at == 0, "cut at {at}");
        }
    }
}
