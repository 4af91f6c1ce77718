//! Blocks as they are read beside the commits, and put into the place of others: each a value of the
//! database, or several that are put together.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::key::{Key, value_key};
use super::places::{Place, Places, Slot};

/// Bytes of one value. sled writes up to 17 values together, and what is larger than a quarter of a segment
/// into a file of its own, which it does not sync.
const VALUE_BYTES: usize = 128 * 1024;
/// The blocks, which are read beside the commits.
#[derive(Clone)]
pub(crate) struct Reads {
    blocks: sled::Tree,
    /// Those of states that were taken over.
    taken: [sled::Tree; 2],
    places: Arc<Places>,
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Reads {
    pub(super) fn of(blocks: sled::Tree, taken: [sled::Tree; 2], places: Arc<Places>) -> Self {
        Self { blocks, taken, places }
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The tree of blocks that were taken over, or are to be.
    pub(super) fn taken(&self, slot: Slot) -> &sled::Tree {
        let [first, second] = &self.taken;
        match slot {
            Slot::First => first,
            Slot::Second => second,
        }
    }

    /// The blocks of a shard with these indices, in order: as far as they were taken over from where
    /// they lie then.
    pub(crate) fn scan(
        &self,
        shard: u16,
        indices: Range<u64>,
    ) -> impl Iterator<Item = io::Result<(Key, Vec<u8>)>> + use<> {
        let [taken, own] = self.parts(shard, indices);
        taken.chain(own)
    }

    /// The blocks in the tree of a state that does not count yet.
    pub(super) fn scan_slot(
        &self,
        slot: Slot,
        shard: u16,
        indices: Range<u64>,
    ) -> impl Iterator<Item = io::Result<(Key, Vec<u8>)>> + use<> {
        Blocks::in_tree(self.taken(slot), shard, indices)
    }

    fn parts(&self, shard: u16, indices: Range<u64>) -> [Blocks; 2] {
        let Place { slot, before } = self.place(shard);
        let (start, end) = (indices.start, indices.end);
        let taken = start..end.min(before).max(start);
        let own = start.max(before).min(end)..end;
        [Blocks::in_tree(self.taken(slot), shard, taken), Blocks::in_tree(&self.blocks, shard, own)]
    }

    fn place(&self, shard: u16) -> Place {
        self.places.of(shard).unwrap_or(Place { slot: Slot::First, before: 0 })
    }

    /// How many blocks of a shard have these indices.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn count(&self, shard: u16, indices: Range<u64>) -> io::Result<u64> {
        let mut found = 0;
        for part in self.parts(shard, indices) {
            for known in part.values.map(|found| found.map(|(key, _)| key)) {
                // Further values of a block have longer keys.
                found += u64::from(known.map_err(to_io)?.len() == Key::BYTES);
            }
        }
        Ok(found)
    }

    /// Puts blocks into the place of those with these indices, all or none. All of these lie in one tree
    /// ([`Self::is_in_one_tree`]).
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn replace(
        &self,
        shard: u16,
        indices: Range<u64>,
        blocks: Vec<(Key, Vec<u8>)>,
    ) -> io::Result<()> {
        let Place { slot, before } = self.place(shard);
        let tree = if indices.start < before { self.taken(slot) } else { &self.blocks };
        let mut batch = sled::Batch::default();
        for old in Blocks::in_tree(tree, shard, indices).values {
            batch.remove(old.map_err(to_io)?.0);
        }
        blocks.into_iter().for_each(|(key, block)| put(&mut batch, key, &block));
        tree.apply_batch(batch).map_err(to_io)
    }

    /// Whether these blocks of a shard were all taken over, or none of them.
    pub(super) fn is_in_one_tree(&self, shard: u16, indices: &Range<u64>) -> bool {
        let before = self.place(shard).before;
        indices.end <= before || before <= indices.start
    }

    /// Removes blocks from the tree of a state that does not count.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn remove_from_slot(
        &self,
        slot: Slot,
        shard: u16,
        indices: Range<u64>,
    ) -> io::Result<()> {
        let tree = self.taken(slot);
        for found in Blocks::in_tree(tree, shard, indices).values {
            tree.remove(found.map_err(to_io)?.0).map_err(to_io)?;
        }
        Ok(())
    }

    /// Makes sled count a block against its cache at once. It looks at what was used in lots of 64
    /// uses for each 256th of its pages, and a page of 16 blocks has up to a mebibyte: without more
    /// uses than one it keeps gigabytes of what was read or written once.
    pub(super) fn count_use(tree: &sled::Tree, block: Key) -> io::Result<()> {
        const USES_PER_LOT: usize = 64;
        const BLOCKS_PER_PAGE: usize = 16;
        for _ in 0..USES_PER_LOT / BLOCKS_PER_PAGE {
            tree.contains_key(block.to_bytes()).map_err(to_io)?;
        }
        Ok(())
    }
}

/// Blocks, put together from their values.
struct Blocks {
    tree: sled::Tree,
    values: std::iter::Peekable<sled::Iter>,
}

impl Blocks {
    fn in_tree(tree: &sled::Tree, shard: u16, indices: Range<u64>) -> Self {
        let key = |index| Key { shard, index }.to_bytes();
        let range = key(indices.start)..key(indices.end.max(indices.start));
        Self { tree: tree.clone(), values: tree.range(range).peekable() }
    }
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
        Some(Reads::count_use(&self.tree, block).map(|()| (block, bytes)))
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
