//! The copy of a watched cell, and what its watchers lack, encoded once for those that lack the same.

use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;

use super::CursorId;
use super::large::LargeUpdates;
use super::polls::Poll;
use crate::cell::{Keyed, Part};

/// The copy of one cell.
#[derive(Debug)]
pub(super) struct CellView {
    pub(super) kind: CellKind,
    pub(super) name: Name,
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) value: ViewValue,
    pub(super) info: Option<Bytes>,
    pub(super) ready: bool,
    pub(super) followers: Vec<CursorId>,
    /// The last changes that were encoded, for the next watcher that needs the same.
    pub(super) encoded: Option<Encoded>,
    /// The partitions of a poll that has several.
    pub(super) poll: Option<Poll>,
    /// It may lack what was done since this time, because whoever knows is not reached.
    pub(super) behind_ms: Option<u64>,
    /// The newest large update that replaces everything.
    large_full: Option<u64>,
    /// The large update that leads from a version to the newest.
    large_changes: Option<(Option<u64>, u64)>,
}

#[derive(Debug)]
pub(super) enum ViewValue {
    Absent,
    Whole(Bytes),
    Keyed(Keyed),
}

/// Changes that fit a frame, and since when.
#[derive(Debug)]
pub(super) struct Encoded {
    since: Option<u64>,
    full: bool,
    part: Part,
}

/// What a watcher lacks.
#[derive(Debug)]
pub(super) enum Encoding {
    /// It fits a frame: whether it replaces everything, the number of entries, and these.
    Whole { full: bool, count: usize, bytes: Bytes },
    /// It is the large update of this number.
    Large(u64),
}

impl CellView {
    pub(super) fn new(kind: CellKind, name: Name, partitions: u16) -> Self {
        Self {
            kind,
            name,
            epoch: 0,
            version: 0,
            value: ViewValue::Absent,
            info: None,
            ready: false,
            followers: Vec::new(),
            encoded: None,
            poll: (partitions > 1).then(|| Poll::new(partitions)),
            behind_ms: None,
            large_full: None,
            large_changes: None,
        }
    }

    /// Number of its partitions.
    pub(super) fn partitions(&self) -> u16 {
        self.poll.as_ref().map_or(1, Poll::partitions)
    }

    /// What has been encoded of changes is of no use to those who come now: there are newer ones.
    pub(super) fn outdate(&mut self, large: &mut LargeUpdates) {
        self.encoded = None;
        if let Some((_, number)) = self.large_changes.take() {
            large.retire(number);
        }
    }

    /// Nobody watches any more.
    pub(super) fn forget(mut self, large: &mut LargeUpdates) {
        self.outdate(large);
        if let Some(number) = self.large_full {
            large.retire(number);
        }
    }

    /// What a watcher of a keyed cell lacks, in parts of at most so many bytes.
    pub(super) fn changes_since(
        &mut self,
        since: Option<u64>,
        part_bytes_max: usize,
        large: &mut LargeUpdates,
    ) -> Encoding {
        if let Some(Encoded { full, part, .. }) =
            self.encoded.as_ref().filter(|encoded| encoded.since == since)
        {
            return Encoding::Whole { full: *full, count: part.count, bytes: part.bytes.clone() };
        }
        let ViewValue::Keyed(keyed) = &self.value else {
            return Encoding::Whole { full: true, count: 0, bytes: Bytes::new() };
        };
        if let Some((base, number)) = self.large_changes
            && base == since
        {
            return Encoding::Large(number);
        }
        if let Some(number) = self.large_full
            && let Some(version) = large.version(number)
            && suits(keyed, since, version)
        {
            return Encoding::Large(number);
        }
        let mut changes = keyed.encode_since(since, part_bytes_max);
        if changes.parts.len() > 1 {
            let full = changes.full;
            let number = large.insert(changes);
            let older = match full {
                true => self.large_full.replace(number),
                false => self.large_changes.replace((since, number)).map(|(_, older)| older),
            };
            if let Some(older) = older {
                large.retire(older);
            }
            return Encoding::Large(number);
        }
        let part = changes.parts.pop().unwrap_or(Part { count: 0, bytes: Bytes::new() });
        let (full, count, bytes) = (changes.full, part.count, part.bytes.clone());
        self.encoded = Some(Encoded { since, full, part });
        Encoding::Whole { full, count, bytes }
    }
}

/// Whether an update that replaces everything suits a watcher that holds version `since`: it needs
/// everything, and what has changed since the update is little.
fn suits(keyed: &Keyed, since: Option<u64>, version: u64) -> bool {
    let needs_all = keyed.changes_since(since).is_full();
    needs_all && since.is_none_or(|since| since < version) && keyed.is_near(version)
}
