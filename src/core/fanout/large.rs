//! Updates that do not fit a frame. Watchers take them part by part, each at its own pace, so an
//! update has to stay as it was encoded until the last of them has taken it. Watchers of a cell
//! share them. Each cell keeps its newest one; the older ones that are still being taken have a
//! bound in bytes, beyond which the oldest is dropped, and who was taking it begins the newest.

use alloc::collections::BTreeMap;

use tidewire_protocol::frame::{flags, put_update_entries_header};

use super::pull::Pull;
use super::session::Owner;
use super::sink::Lane;
use super::{CursorId, Dispatcher, Target, Turn};
use crate::cell::{EncodedChanges, Part};

/// Bytes of one part, so that a large update does not hold up what else its connection gets.
pub(super) const PART_BYTES: usize = 64 * 1024;
/// Bytes that a frame needs beside the entries, at most.
pub(super) const PART_HEAD_BYTES: usize = 64;

/// The large updates that are being taken.
#[derive(Debug)]
pub(super) struct LargeUpdates {
    /// By number: the oldest first.
    updates: BTreeMap<u64, LargeUpdate>,
    last: u64,
    /// Bytes of those that are not the newest of their cell, and their bound.
    retired_bytes: usize,
    retired_bytes_max: usize,
}

#[derive(Debug)]
struct LargeUpdate {
    changes: EncodedChanges,
    bytes: usize,
    takers: usize,
    /// Its cell has a newer one.
    is_retired: bool,
}

/// A watcher's place in a large update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taking {
    pub(super) update: u64,
    pub(super) part: usize,
}

impl LargeUpdates {
    pub(super) fn new(retired_bytes_max: usize) -> Self {
        Self { updates: BTreeMap::new(), last: 0, retired_bytes: 0, retired_bytes_max }
    }

    /// Takes in the newest update of a cell.
    pub(super) fn insert(&mut self, changes: EncodedChanges) -> u64 {
        let bytes = changes.parts.iter().map(|part| part.bytes.len()).sum();
        self.last += 1;
        let update = LargeUpdate { changes, bytes, takers: 0, is_retired: false };
        self.updates.insert(self.last, update);
        self.last
    }

    /// The cell of this update has a newer one, or is not watched any more.
    pub(super) fn retire(&mut self, number: u64) {
        let Some(update) = self.updates.get_mut(&number) else { return };
        if !update.is_retired {
            update.is_retired = true;
            self.retired_bytes += update.bytes;
        }
        self.drop_unused(number);
        while self.retired_bytes > self.retired_bytes_max {
            let oldest = self.updates.iter().find(|(_, update)| update.is_retired);
            let Some(number) = oldest.map(|(number, _)| *number) else { return };
            self.remove(number);
        }
    }

    /// Version that an update leads to, if it is still there.
    pub(super) fn version(&self, number: u64) -> Option<u64> {
        self.updates.get(&number).map(|update| update.changes.version)
    }

    /// A watcher begins to take an update.
    pub(super) fn begin(&mut self, number: u64) -> Taking {
        if let Some(update) = self.updates.get_mut(&number) {
            update.takers += 1;
        }
        Taking { update: number, part: 0 }
    }

    /// A watcher has taken an update, or ends.
    pub(super) fn end(&mut self, taking: Taking) {
        if let Some(update) = self.updates.get_mut(&taking.update) {
            update.takers -= 1;
        }
        self.drop_unused(taking.update);
    }

    fn part(&self, taking: Taking) -> Option<(&EncodedChanges, &Part)> {
        let changes = &self.updates.get(&taking.update)?.changes;
        Some((changes, changes.parts.get(taking.part)?))
    }

    fn drop_unused(&mut self, number: u64) {
        if self.updates.get(&number).is_some_and(|u| u.is_retired && u.takers == 0) {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(update) = self.updates.remove(&number) {
            self.retired_bytes -= update.bytes;
        }
    }
}

impl Dispatcher {
    /// One turn of a watcher that is in the middle of a large update.
    pub(super) fn take_parts(&mut self, id: CursorId, owner: Owner, pull: &mut Pull<'_>) -> Turn {
        loop {
            if !pull.has_room(self, owner) {
                return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
            }
            if pull.turn <= 0 {
                return Turn::More;
            }
            let stale = self.stale_flags(owner, self.behind_at(id));
            let Some(Target::Watch(target)) = self.cursors.get_mut(id).map(|c| &mut c.target)
            else {
                return Turn::Ended;
            };
            let Some(taking) = target.taking else { return Turn::More };
            let Some((changes, part)) = self.large.part(taking) else {
                // It was dropped. What the client has of it counts for nothing: it has not seen
                // the last part.
                self.stats.updates_restarted += 1;
                target.taking = None;
                return Turn::More;
            };
            let is_last = taking.part + 1 == changes.parts.len();
            let mut frame_flags = if changes.full { flags::FULL | stale } else { stale };
            if !is_last {
                frame_flags |= flags::MORE;
            }
            pull.head.clear();
            put_update_entries_header(
                pull.head,
                owner.sub,
                changes.version,
                frame_flags,
                part.count,
            );
            pull.send_on(Lane::Sub(owner.sub), &part.bytes);
            self.stats.updates += 1;
            if is_last {
                target.taken(changes.version);
                self.large.end(taking);
                return self.taken_up_to_date(id, owner);
            }
            target.taking = Some(Taking { part: taking.part + 1, ..taking });
        }
    }

    /// A large update has been taken. The cell may have gone on meanwhile.
    fn taken_up_to_date(&mut self, id: CursorId, owner: Owner) -> Turn {
        self.set_due(id, owner);
        let Some(Target::Watch(target)) = self.cursors.get(id).map(|cursor| &cursor.target) else {
            return Turn::Ended;
        };
        let version = self.cells.get(target.view).map(|view| view.version);
        if version.is_some_and(|version| target.lacks(version)) {
            return self.wake_later(id);
        }
        Turn::Done
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use bytes::Bytes;

    use super::*;

    fn changes(version: u64, sizes: &[usize]) -> EncodedChanges {
        let part = |size: &usize| Part { count: 1, bytes: Bytes::from(vec![0; *size]) };
        EncodedChanges { full: true, version, parts: sizes.iter().map(part).collect() }
    }

    #[test]
    fn a_retired_update_leaves_with_its_last_taker() {
        let mut large = LargeUpdates::new(1_000);
        let number = large.insert(changes(5, &[100, 100]));
        let (one, other) = (large.begin(number), large.begin(number));
        large.end(one);
        large.retire(number);
        assert_eq!(large.version(number), Some(5));
        large.end(other);
        assert!(large.part(other).is_none() && large.updates.is_empty());
        assert_eq!(large.retired_bytes, 0);
    }

    #[test]
    fn the_newest_of_a_cell_stays_without_takers_and_whatever_its_size() {
        let mut large = LargeUpdates::new(10);
        let number = large.insert(changes(5, &[100, 100]));
        let taking = large.begin(number);
        large.end(taking);
        assert!(large.version(number).is_some());
        large.retire(number);
        assert!(large.updates.is_empty());
    }

    #[test]
    fn beyond_the_bound_the_oldest_retired_one_leaves_whoever_takes_it() {
        let mut large = LargeUpdates::new(1_000);
        let numbers = [1, 2, 3].map(|version| large.insert(changes(version, &[400])));
        let takings = numbers.map(|number| large.begin(number));
        let newest = large.insert(changes(9, &[5_000]));
        numbers.into_iter().for_each(|number| large.retire(number));
        assert_eq!(numbers.map(|number| large.version(number).is_some()), [false, true, true]);
        assert!(large.version(newest).is_some());
        takings.into_iter().for_each(|taking| large.end(taking));
        assert_eq!((large.retired_bytes, large.updates.len()), (0, 1));
    }
}
