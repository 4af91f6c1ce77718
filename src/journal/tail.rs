//! The newest entries of a group's log, in memory: those that are on their way to the disk, and of
//! those before them as many as there is room for. Who follows closely reads nothing else.

use std::collections::VecDeque;
use std::ops::Range;

use super::message::GroupEntry;

/// Bytes that are kept of entries that are on the disk.
const TAIL_BYTES: usize = 4 * 1024 * 1024;

/// The newest entries, without a gap.
#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<GroupEntry>,
    bytes: usize,
    /// Entries before this index are on the disk.
    stored: u64,
    /// How often entries were taken back: what is told of writes before that is not about what is here.
    generation: u64,
}

impl Tail {
    /// Nothing, behind entries that are on the disk.
    pub(super) fn at(next: u64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, stored: next, generation: 0 }
    }

    /// Index of the first entry here, if there is one.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.id.index)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Appends an entry that is on its way.
    pub(super) fn push(&mut self, entry: GroupEntry) {
        self.bytes += entry.weight();
        self.entries.push_back(entry);
    }

    /// Entries before this index are on the disk, if none were taken back since.
    pub(super) fn stored(&mut self, next: u64, generation: u64) {
        if generation != self.generation {
            return;
        }
        self.stored = self.stored.max(next);
        while self.bytes > TAIL_BYTES
            && self.entries.front().is_some_and(|entry| entry.id.index < self.stored)
        {
            let gone = self.entries.pop_front();
            self.bytes -= gone.map_or(0, |entry| entry.weight());
        }
    }

    /// Takes back the entries from this index on.
    pub(super) fn truncate(&mut self, from: u64) {
        while let Some(last) = self.entries.pop_back_if(|last| last.id.index >= from) {
            self.bytes -= last.weight();
        }
        self.stored = self.stored.min(from);
        self.generation += 1;
    }

    /// Forgets the entries before this index.
    pub(super) fn forget_before(&mut self, index: u64) {
        while let Some(first) = self.entries.pop_front_if(|first| first.id.index < index) {
            self.bytes -= first.weight();
        }
    }

    /// The entries with these indices that are here, up to so many bytes, but one at least.
    pub(super) fn read(&self, indices: &Range<u64>, bytes_max: usize) -> Vec<GroupEntry> {
        let Some(first) = self.first() else { return Vec::new() };
        let place = |index: u64| {
            let place = usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
            place.min(self.entries.len())
        };
        let (start, end) = (place(indices.start), place(indices.end));
        let mut left = bytes_max;
        let entries = self.entries.range(start..end.max(start));
        let fits = |entry: &&GroupEntry| {
            let fits = entry.weight() <= left || left == bytes_max;
            left = left.saturating_sub(entry.weight());
            fits
        };
        entries.take_while(fits).cloned().collect()
    }
}
