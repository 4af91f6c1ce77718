//! The file of the record.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
#[error("audit.file: cannot write {path}: {source}")]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// A file that lines are appended to; it may be moved away, and what could not be written does not
/// end it.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    /// The last line may be only part of one.
    is_cut: bool,
}

impl Log {
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = append_to(path);
        let file = file.map_err(|source| AuditError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: Some(file), is_cut: false })
    }

    /// Appends lines, and waits until they are on the disk. Blocks.
    ///
    /// # Errors
    /// When they are not there; the next ones are tried again.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let outcome = self.try_write(lines);
        if outcome.is_err() {
            (self.file, self.is_cut) = (None, true);
        }
        outcome
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        let there = self.path.metadata();
        let is_same = |file: &File| {
            let (Ok(there), Ok(here)) = (&there, file.metadata()) else { return false };
            (here.dev(), here.ino()) == (there.dev(), there.ino())
        };
        let mut file = match self.file.take().filter(is_same) {
            Some(file) => file,
            None => append_to(&self.path)?,
        };
        if self.is_cut {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        file.sync_data()?;
        (self.file, self.is_cut) = (Some(file), false);
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_for_a_while_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("audit");
        let mut log = Log::open(&path).unwrap();
        log.write(b"one\n").unwrap();
        std::fs::rename(&inner, folder.path().join("away")).unwrap();
        log.write(b"lost\n").unwrap_err();
        log.write(b"lost\n").unwrap_err();
        std::fs::rename(folder.path().join("away"), &inner).unwrap();
        log.write(b"two\n").unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n\ntwo\nthree\n");
        std::fs::rename(&path, inner.join("old")).unwrap();
        log.write(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n", "it was moved away");
        assert!(Log::open(&folder.path().join("nowhere/audit")).is_err());
    }
}
