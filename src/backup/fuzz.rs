//! The property that fuzzing checks.

use std::cell::RefCell;
use std::io::Write as _;

use tempfile::NamedTempFile;

use super::frames::{self, Kind, MAGIC};
use super::read::{BackupError, Reader, Summary};

thread_local! {
    /// A reader wants a file; it is the same one each time.
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// Bytes are a whole backup or are refused. The input stands for frames: kind, length (u16), payload; as it is it
/// is a backup, too, if it begins like one.
pub fn backup(input: &[u8]) {
    let mut file = Vec::from(*MAGIC);
    let mut rest = input;
    while let Some(([kind, low, high], behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (payload, behind) = behind.split_at(len);
        let kinds =
            [Kind::Header, Kind::Piece, Kind::ShardEnd, Kind::End, Kind::Block, Kind::Failed];
        let kind = kinds.iter().cycle().nth(usize::from(*kind)).copied().unwrap_or(Kind::End);
        assert!(frames::write(&mut file, kind, payload).is_ok());
        rest = behind;
    }
    for bytes in [input, &file] {
        match verify(bytes) {
            Ok(Some(summary)) => {
                let room = bytes.len() as u64;
                assert!(summary.bytes <= room, "{summary:?} in {room} bytes");
            }
            Ok(None) => return,
            Err(refused) => assert!(!refused.to_string().is_empty()),
        }
    }
}

/// What a file of these bytes holds; nothing if there cannot be one.
fn verify(bytes: &[u8]) -> Result<Option<Summary>, BackupError> {
    FILE.with_borrow_mut(|file| {
        if file.is_none() {
            // In memory, where there is such a folder.
            *file = NamedTempFile::new_in("/dev/shm").or_else(|_none| NamedTempFile::new()).ok();
        }
        let Some(file) = file else { return Ok(None) };
        let path = file.path().to_owned();
        let Ok(mut opened) = std::fs::File::create(&path) else { return Ok(None) };
        if opened.write_all(bytes).is_err() {
            return Ok(None);
        }
        Reader::open(&path)?.verify().map(Some)
    })
}
