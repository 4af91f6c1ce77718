//! Blocks as they are read beside the commits, and put into the place of others: each a value of the
//! database, or several that are put together.

use std::io;
use std::ops::Range;

use super::key::{Key, value_key};

/// Bytes of one value. sled writes up to 17 values together, and what is larger than a quarter of a segment
/// into a file of its own, which it does not sync.
const VALUE_BYTES: usize = 128 * 1024;
/// The blocks, which are read beside the commits.
#[derive(Clone)]
pub(crate) struct Reads(sled::Tree);

impl Reads {
    pub(super) fn of(blocks: sled::Tree) -> Self {
        Self(blocks)
    }

    /// The blocks of a shard with these indices, in order.
    pub(crate) fn scan(
        &self,
        shard: u16,
        indices: Range<u64>,
    ) -> impl Iterator<Item = io::Result<(Key, Vec<u8>)>> + use<> {
        let key = |index| Key { shard, index }.to_bytes();
        let range = key(indices.start)..key(indices.end);
        Blocks { reads: self.clone(), values: self.0.range(range).peekable() }
    }

    /// How many blocks of a shard have these indices.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn count(&self, shard: u16, indices: Range<u64>) -> io::Result<u64> {
        let key = |index| Key { shard, index }.to_bytes();
        let mut found = 0;
        for known in self.0.range(key(indices.start)..key(indices.end)).keys() {
            // Further values of a block have longer keys.
            found += u64::from(known.map_err(to_io)?.len() == Key::BYTES);
        }
        Ok(found)
    }

    /// Puts blocks into the place of those with these indices, all or none.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn replace(
        &self,
        shard: u16,
        indices: Range<u64>,
        blocks: Vec<(Key, Vec<u8>)>,
    ) -> io::Result<()> {
        let key = |index| Key { shard, index }.to_bytes();
        let mut batch = sled::Batch::default();
        for old in self.0.range(key(indices.start)..key(indices.end)).keys() {
            batch.remove(old.map_err(to_io)?);
        }
        blocks.into_iter().for_each(|(key, block)| put(&mut batch, key, &block));
        self.0.apply_batch(batch).map_err(to_io)
    }

    /// Makes sled count a block against its cache at once. It looks at what was used in lots of 64
    /// uses for each 256th of its pages, and a page of 16 blocks has up to a mebibyte: without more
    /// uses than one it keeps gigabytes of what was read or written once.
    pub(super) fn count_use(&self, block: Key) -> io::Result<()> {
        const USES_PER_LOT: usize = 64;
        const BLOCKS_PER_PAGE: usize = 16;
        for _ in 0..USES_PER_LOT / BLOCKS_PER_PAGE {
            self.0.contains_key(block.to_bytes()).map_err(to_io)?;
        }
        Ok(())
    }
}

/// Blocks, put together from their values.
struct Blocks {
    reads: Reads,
    values: std::iter::Peekable<sled::Iter>,
}

impl Iterator for Blocks {
    type Item = io::Result<(Key, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = match self.values.next()? {
            Ok(found) => found,
            Err(error) => return Some(Err(to_io(error))),
        };
        let Some(block) = Key::from_bytes(&key) else {
            return Some(Err(io::Error::other("a key of the journal is not one of a block")));
        };
        let mut bytes = value.to_vec();
        // One that is missing shows in the checksum.
        let belongs = |found: &sled::Result<(sled::IVec, sled::IVec)>| {
            found
                .as_ref()
                .is_ok_and(|(other, _)| other.len() > key.len() && other.starts_with(&key))
        };
        while let Some(Ok((_, more))) = self.values.next_if(belongs) {
            bytes.extend_from_slice(&more);
        }
        Some(self.reads.count_use(block).map(|()| (block, bytes)))
    }
}

pub(super) fn put(batch: &mut sled::Batch, key: Key, block: &[u8]) {
    // The first value stands under the block's key, the others behind it.
    for (number, value) in (0_u32..).zip(block.chunks(VALUE_BYTES)) {
        batch.insert(value_key(key, number), value);
    }
}

pub(super) fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        other @ (sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)) => io::Error::other(other.to_string()),
        sled::Error::Corruption { at, .. } => {
            io::Error::other(format!("its database file is damaged ({at:?})"))
        }
    }
}
