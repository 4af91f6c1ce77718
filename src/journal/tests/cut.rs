//! A real database whose power is cut in the middle of what is written to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::journal::base::Base;
use crate::journal::checkpoint::Record;
use crate::journal::disk::Disk;
use crate::journal::places::Place;
use crate::journal::saving::Covered;
use crate::journal::staging::Writes;
use crate::journal::store::Store;

/// When the power is cut, and what that leaves.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Writes before it.
    pub(crate) after: usize,
    /// The write that it comes into is all there, and nobody was told so.
    pub(crate) leaves_all: bool,
    pub(crate) writes: Arc<AtomicUsize>,
}

pub(crate) struct CutDisk {
    store: Store,
    cut: Cut,
}

impl Cut {
    pub(crate) fn new(after: usize, leaves_all: bool) -> Self {
        Self { after, leaves_all, writes: Arc::default() }
    }

    pub(crate) fn has_come(&self) -> bool {
        self.writes.load(Relaxed) > self.after
    }

    pub(super) fn disk(&self, store: Store) -> CutDisk {
        CutDisk { store, cut: self.clone() }
    }
}

impl CutDisk {
    fn write<T>(&mut self, write: impl FnOnce(&mut Store) -> io::Result<T>) -> io::Result<T> {
        let writes = self.cut.writes.fetch_add(1, Relaxed);
        if writes < self.cut.after {
            return write(&mut self.store);
        }
        if writes == self.cut.after && self.cut.leaves_all {
            write(&mut self.store)?;
        }
        Err(io::Error::other("the power is cut"))
    }
}

impl Disk for CutDisk {
    fn commit(&mut self, writes: Writes) -> io::Result<()> {
        self.write(|store| store.commit(writes))
    }

    fn finish_checkpoint(
        &mut self,
        shard: u16,
        record: Record,
        base: Option<&Base>,
    ) -> io::Result<()> {
        self.write(|store| store.finish_checkpoint(shard, record, base))
    }

    fn take_over(
        &mut self,
        shard: u16,
        record: Record,
        base: &Base,
        place: Place,
    ) -> io::Result<()> {
        self.write(|store| store.take_over(shard, record, base, place))
    }

    fn remove_left(&mut self, shard: u16, wanted_from: u64, limit: usize) -> io::Result<bool> {
        self.write(|store| store.remove_left(shard, wanted_from, limit))
    }

    fn save_snapshot(&mut self, shard: u16, bytes: &[u8]) -> io::Result<()> {
        self.write(|store| store.save_snapshot(shard, bytes))
    }

    fn remove_covered(&mut self, covered: &mut Covered, limit: usize) -> io::Result<bool> {
        self.write(|store| store.remove_covered(covered, limit))
    }

    fn file_bytes(&self) -> io::Result<u64> {
        self.store.file_bytes()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.store.free_bytes()
    }
}
