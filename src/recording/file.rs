//! The file of a recording: what it may be called, where it lies, who may read it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 128;

/// A file name that leads nowhere but into its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        let shown: String = raw.chars().take(64).flat_map(char::escape_default).collect();
        let refuse = |rule: &str| Err(format!("'{shown}' is no name for a recording: {rule}"));
        if raw.is_empty() || raw.len() > NAME_BYTES_MAX {
            return refuse("it has 1 to 128 bytes");
        }
        if raw.starts_with('.') {
            return refuse("it does not begin with a dot");
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !raw.chars().all(is_allowed) {
            return refuse("letters, digits, '.', '_' and '-' only; the directory is the server's");
        }
        Ok(Self(raw.to_owned()))
    }

    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Makes the file, for this user only; its directory as well if need be.
///
/// # Errors
/// When the directory cannot be made, or a file of this name exists.
pub(super) fn create(directory: &Path, name: &FileName) -> io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = directory.join(&name.0);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for good in ["a", "incident-7.twr", "2026-11-24_12.00"] {
            assert_eq!(FileName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "../x", "/etc/x", "a\\b", "a\0", "ü", "a b"] {
            assert!(FileName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(FileName::parse(&"x".repeat(129)).is_err());
    }

    #[test]
    fn a_file_is_for_its_owner_only_and_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("recordings");
        let name = FileName::parse("one").unwrap();
        let (path, _file) = create(&directory, &name).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700));
        let again = create(&directory, &name).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }
}
