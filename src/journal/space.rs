//! Space: what is kept in the database's file, so that what is not counts as free, since sled uses it
//! again. It gives it back to the file system only where the end of the file is free.

use std::collections::HashMap;

/// The file may be so many times as large as what is kept in it, and some more, before the rest of it
/// counts as free.
const FILE_RATIO: u64 = 2;
const FILE_MORE_BYTES: u64 = 64 * 1024 * 1024;
/// Blocks behind the last extent of a checkpoint, at most.
const TAIL_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of each shard that are kept, about.
#[derive(Debug, Default)]
pub(crate) struct Space {
    shards: HashMap<u16, Shard>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    kept: u64,
    /// Logged since the newest checkpoint.
    since: u64,
}

impl Space {
    /// So many bytes are kept of a shard, and so many were logged since its checkpoint.
    pub(crate) fn begin(&mut self, shard: u16, kept: u64, since: u64) {
        self.shards.insert(shard, Shard { kept, since });
    }

    pub(super) fn logged(&mut self, shard: u16, bytes: u64) {
        self.shards.entry(shard).or_default().since += bytes;
    }

    /// A checkpoint of the shard counts; what it has made superfluous is still there.
    pub(super) fn saved(&mut self, shard: u16) {
        let shard = self.shards.entry(shard).or_default();
        *shard = Shard { kept: shard.kept + shard.since, since: 0 };
    }

    /// What the checkpoint has made superfluous is gone.
    pub(super) fn removed(&mut self, shard: u16, kept: u64) {
        self.shards.entry(shard).or_default().kept = kept + TAIL_BYTES;
    }

    /// Bytes in a file of this size that are used again.
    pub(super) fn reusable(&self, file_bytes: u64) -> u64 {
        let kept: u64 = self.shards.values().map(|shard| shard.kept + shard.since).sum();
        file_bytes.saturating_sub(kept.saturating_mul(FILE_RATIO).saturating_add(FILE_MORE_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn what_was_removed_is_used_again() {
        let mut space = Space::default();
        space.begin(16, 10 * MIB, 0);
        space.logged(16, 390 * MIB);
        assert_eq!(space.reusable(500 * MIB), 0);
        space.saved(16);
        assert_eq!(space.reusable(500 * MIB), 0, "it is still there");
        space.logged(16, MIB);
        space.removed(16, MIB);
        assert_eq!(space.reusable(500 * MIB), (500 - 64 - 2 * 4) * MIB);
    }
}
