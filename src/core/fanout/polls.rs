//! Polls with partitions: what watchers see is the sum of what each partition says.

use alloc::vec;
use alloc::vec::Vec;

use tidewire_protocol::tally::{Standings, TallyState};
use tidewire_protocol::wire;

use super::Dispatcher;
use super::watched::{CellView, ViewValue};
use crate::partition_in;
use crate::shard::{CellValue, TallyPart};

/// The partitions of a watched poll, as far as they are known.
#[derive(Debug)]
pub(super) struct Poll {
    parts: Vec<Part>,
    /// They have changed since they were added up.
    is_outdated: bool,
}

/// What is known of one partition.
#[derive(Debug)]
struct Part {
    known: bool,
    version: u64,
    tally: Option<alloc::sync::Arc<TallyPart>>,
}

/// What the partitions say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    /// They speak of the same poll.
    Poll,
    /// There is none.
    Absent,
    /// Some have not heard yet that it was made, deleted or made again.
    NotYet,
}

impl Poll {
    pub(super) fn new(partitions: u16) -> Self {
        let part = |_| Part { known: false, version: 0, tally: None };
        Self { parts: (0..partitions).map(part).collect(), is_outdated: false }
    }

    pub(super) fn partitions(&self) -> u16 {
        u16::try_from(self.parts.len()).unwrap_or(u16::MAX)
    }

    /// Versions of different partitions cannot be compared; their sum grows with each of them.
    fn version(&self) -> u64 {
        self.parts.iter().map(|part| part.version).sum()
    }

    fn agreement(&self) -> Agreement {
        if self.parts.iter().any(|part| !part.known) {
            return Agreement::NotYet;
        }
        // The home partition, which is the first, decides what there is.
        let Some(home) = self.parts.first().and_then(|part| part.tally.as_ref()) else {
            return Agreement::Absent;
        };
        let is_same = |part: &Part| {
            part.tally.as_ref().is_some_and(|tally| tally.incarnation == home.incarnation)
        };
        if self.parts.iter().all(is_same) { Agreement::Poll } else { Agreement::NotYet }
    }

    fn standings(&self) -> Standings {
        sum(self.parts.iter().filter_map(|part| part.tally.as_deref()))
    }
}

impl CellView {
    /// Adds the partitions up, if they have changed since.
    pub(super) fn sum_up(&mut self) {
        if let Some(poll) = self.poll.as_mut().filter(|poll| poll.is_outdated) {
            poll.is_outdated = false;
            let mut encoded = Vec::new();
            wire::put_value(&mut encoded, &poll.standings());
            self.value = ViewValue::Whole(encoded.into());
        }
    }
}

impl Dispatcher {
    /// Takes in what one partition of a watched poll says. Watchers keep what they hold until all
    /// of them speak of the same poll.
    pub(super) fn poll_event(
        &mut self,
        index: usize,
        shard: u16,
        version: u64,
        epoch: u64,
        value: CellValue,
        snapshot: bool,
    ) {
        let Some(view) = self.cells.get_mut(index) else { return };
        let Some(poll) = &mut view.poll else { return };
        let partition = usize::from(partition_in(&view.name, shard));
        let Some(part) = poll.parts.get_mut(partition).filter(|part| part.known || snapshot) else {
            return;
        };
        match value {
            CellValue::Refused(refusal) => return self.refuse_watchers(index, &refusal),
            CellValue::Part(tally, info) => {
                let is_other =
                    part.tally.as_ref().is_none_or(|old| old.incarnation != tally.incarnation);
                *part = Part { known: true, version, tally: Some(tally) };
                // What is known of an earlier poll does not count for this one.
                if info.is_some() || (is_other && partition == 0) {
                    view.info = info;
                }
            }
            CellValue::Absent | CellValue::Whole { .. } | CellValue::Entries { .. } => {
                *part = Part { known: true, version, tally: None };
                if partition == 0 {
                    view.info = None;
                }
            }
        }
        match poll.agreement() {
            Agreement::NotYet => return,
            Agreement::Absent => {
                poll.is_outdated = false;
                view.value = ViewValue::Absent;
            }
            Agreement::Poll => {
                poll.is_outdated = true;
                view.value = ViewValue::Whole(bytes::Bytes::new());
            }
        }
        view.version = poll.version();
        view.epoch = epoch;
        view.ready = true;
        let may_start = matches!(view.value, ViewValue::Whole(_)) && view.info.is_some();
        let followers = core::mem::take(&mut view.followers);
        for cursor in &followers {
            // Who waits for a poll that is not there any more is refused by its home partition.
            if may_start {
                self.start_watch(*cursor);
            }
            self.wake(*cursor);
        }
        if let Some(view) = self.cells.get_mut(index) {
            view.followers = followers;
        }
    }
}

/// The standings of a poll: those of its partitions, in their order, added up.
pub(super) fn sum<'a>(parts: impl Iterator<Item = &'a TallyPart>) -> Standings {
    let mut whole = Standings { partitions: Some(Vec::new()), ..Standings::default() };
    for (number, part) in parts.enumerate() {
        let Standings { counts, ballots, blank, overvotes, state, hidden, .. } = &part.standings;
        whole.hidden |= hidden;
        if number == 0 {
            whole.counts = vec![0; counts.len()];
            whole.state = *state;
        }
        for (all, count) in whole.counts.iter_mut().zip(counts) {
            *all += count;
        }
        whole.ballots += ballots;
        whole.blank += blank;
        whole.overvotes += overvotes;
        whole.state = earlier(whole.state, *state);
        whole.partitions.get_or_insert_default().push(part.version);
    }
    if whole.hidden {
        // Some may have closed a moment before the others.
        (whole.blank, whole.overvotes) = (0, 0);
        whole.counts.clear();
    }
    whole
}

/// A poll has come as far as the partition that is behind the others.
pub(super) fn earlier(one: TallyState, other: TallyState) -> TallyState {
    match (one, other) {
        (TallyState::Scheduled, _) | (_, TallyState::Scheduled) => TallyState::Scheduled,
        (TallyState::Open, _) | (_, TallyState::Open) => TallyState::Open,
        (TallyState::Closed, TallyState::Closed) => TallyState::Closed,
    }
}
