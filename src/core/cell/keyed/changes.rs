//! What a watcher of a keyed cell lacks: changes, or everything.

use alloc::collections::btree_map::Range;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::put_entry;

use super::{Keyed, Place};

/// The last change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a Arc<str>,
    /// Version of the change.
    pub version: u64,
    /// The value; `None`: the key is gone.
    pub value: Option<&'a Bytes>,
}

/// The entries that lead from a version to the newest, in order of their versions.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    is_full: bool,
    version: u64,
    places: Range<'a, Place, Option<Bytes>>,
}

impl Changes<'_> {
    /// Whether these are all entries, to replace what the watcher holds. Otherwise they are
    /// changes to be merged, with the keys that are gone.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Version of the cell that they lead to.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let is_full = self.is_full;
        let ((version, key), value) = self.places.find(|(_, value)| !is_full || value.is_some())?;
        Some(Change { key, version: *version, value: value.as_ref() })
    }
}

/// The encoding of what a watcher lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedChanges {
    /// Whether it replaces what the watcher holds.
    pub full: bool,
    /// Version of the cell that it leads to.
    pub version: u64,
    /// The entries in parts, each without an enclosing array.
    pub parts: Vec<Part>,
}

/// Some encoded entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of entries.
    pub count: usize,
    /// Their encodings, one after the other.
    pub bytes: Bytes,
}

/// What has been encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Whether it replaces what the watcher holds.
    pub full: bool,
    /// Number of entries.
    pub count: usize,
    /// Version of the cell that it leads to.
    pub version: u64,
}

impl Keyed {
    /// What a watcher that holds version `since` lacks; everything if it holds none, or one
    /// from before the horizon, or one that this cell has not reached.
    #[must_use]
    pub fn changes_since(&self, since: Option<u64>) -> Changes<'_> {
        let known = since.filter(|since| (self.horizon..=self.version).contains(since));
        let first = known.map_or(0, |since| since.saturating_add(1));
        let places = self.log.range((first, Arc::default())..);
        Changes { is_full: known.is_none(), version: self.version, places }
    }

    /// Encodes [`Self::changes_since`] in parts of at most so many bytes; an entry that is larger
    /// is a part of its own. There is one part at least.
    #[must_use]
    pub fn encode_since(&self, since: Option<u64>, part_bytes_max: usize) -> EncodedChanges {
        let changes = self.changes_since(since);
        let full = changes.is_full();
        let mut parts = Vec::new();
        let (mut count, mut bytes) = (0, Vec::new());
        for Change { key, version, value } in changes {
            let before = bytes.len();
            put_entry(&mut bytes, key, version, value.map(AsRef::as_ref));
            if count > 0 && bytes.len() > part_bytes_max {
                let begun = bytes.split_off(before);
                let full_part = core::mem::replace(&mut bytes, begun);
                parts.push(Part { count, bytes: full_part.into() });
                count = 0;
            }
            count += 1;
        }
        parts.push(Part { count, bytes: bytes.into() });
        EncodedChanges { full, version: self.version, parts }
    }

    /// Whether a watcher that holds this version can be brought up to date with changes, and these
    /// are no more than a quarter of what there is.
    #[must_use]
    pub fn is_near(&self, version: u64) -> bool {
        let few = self.len() / 4;
        let changes = self.changes_since(Some(version));
        !changes.is_full() && changes.take(few + 1).count() <= few
    }

    /// Appends the one entry that a watcher of only this key lacks: its value, or that it is not
    /// there. It replaces what the watcher holds.
    pub fn encode_key(&self, key: &str, out: &mut Vec<u8>) -> Encoded {
        let value = self.get(key).map(|entry| entry.value.as_ref());
        put_entry(out, key, self.key_version(key), value);
        Encoded { full: true, count: 1, version: self.version }
    }
}
