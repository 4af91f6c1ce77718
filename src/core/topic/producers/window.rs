//! The newest publishes of one producer to one topic.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Place;
use crate::state_hash::StateHasher;

/// Which sequences were appended, and where. Complete from its first run on; what is below
/// `too_old` has been forgotten.
#[derive(Debug, Default)]
pub(super) struct Window {
    epoch: u64,
    /// Sequences below this one are not remembered.
    too_old: u64,
    /// Publishes in the runs.
    publishes: u64,
    /// In the order of their sequences.
    runs: VecDeque<Run>,
}

/// Publishes with sequences and offsets in a row, each of as many records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u32, u32)", into = "(u64, u64, u32, u32)")]
struct Run {
    sequence: u64,
    offset: u64,
    publishes: u32,
    records: u32,
}

impl From<(u64, u64, u32, u32)> for Run {
    fn from((sequence, offset, publishes, records): (u64, u64, u32, u32)) -> Self {
        Self { sequence, offset, publishes, records }
    }
}

impl From<Run> for (u64, u64, u32, u32) {
    fn from(Run { sequence, offset, publishes, records }: Run) -> Self {
        (sequence, offset, publishes, records)
    }
}

impl Run {
    fn next_sequence(&self) -> u64 {
        self.sequence.saturating_add(u64::from(self.publishes))
    }

    fn next_offset(&self) -> u64 {
        self.offset + u64::from(self.publishes) * u64::from(self.records)
    }

    /// Takes the publish in if it continues the run.
    fn extend(&mut self, sequence: u64, offset: u64, records: u32) -> bool {
        let continues = sequence == self.next_sequence()
            && offset == self.next_offset()
            && records == self.records
            && self.publishes < u32::MAX;
        self.publishes += u32::from(continues);
        continues
    }
}

/// What a window says about a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not appended.
    New,
    /// It was.
    Known(Place),
    /// It is not remembered whether it was; what is begins at `oldest`.
    TooOld { oldest: u64 },
}

impl Window {
    pub(super) fn find(&self, sequence: u64) -> Verdict {
        if sequence < self.too_old {
            return Verdict::TooOld { oldest: self.too_old };
        }
        let behind = self.runs.partition_point(|run| run.sequence <= sequence);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        match run.filter(|run| sequence < run.next_sequence()) {
            Some(run) => {
                let offset = run.offset + (sequence - run.sequence) * u64::from(run.records);
                Verdict::Known(Place { epoch: self.epoch, offset })
            }
            None => Verdict::New,
        }
    }

    /// Remembers a sequence that is new, and forgets the oldest beyond so many publishes.
    pub(super) fn record(&mut self, sequence: u64, place: Place, count: u64, publishes_max: u64) {
        if self.epoch != place.epoch {
            // The topic has begun anew. What stood in it before is too old now.
            self.too_old = self.runs.back().map_or(self.too_old, Run::next_sequence);
            (self.epoch, self.publishes) = (place.epoch, 0);
            self.runs.clear();
        }
        let records = u32::try_from(count).unwrap_or(u32::MAX);
        let behind = self.runs.partition_point(|run| run.sequence <= sequence);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get_mut(at));
        if !run.is_some_and(|run| run.extend(sequence, place.offset, records)) {
            let run = Run { sequence, offset: place.offset, publishes: 1, records };
            self.runs.insert(behind, run);
        }
        self.publishes += 1;
        while self.publishes > publishes_max.max(1) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(first) = self.runs.front_mut() else { return };
        self.too_old = first.sequence + 1;
        self.publishes -= 1;
        first.publishes -= 1;
        first.sequence += 1;
        first.offset += u64::from(first.records);
        if first.publishes == 0 {
            self.runs.pop_front();
        }
    }

    /// Runs, which are what it takes memory for.
    pub(super) fn entries(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn save(&self) -> SavedWindow {
        let Self { epoch, too_old, publishes: _, runs } = self;
        SavedWindow(*epoch, *too_old, runs.iter().copied().collect())
    }

    pub(super) fn restore(SavedWindow(epoch, too_old, runs): SavedWindow) -> Self {
        let publishes = runs.iter().map(|run| u64::from(run.publishes)).sum();
        Self { epoch, too_old, publishes, runs: runs.into() }
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { epoch, too_old, publishes, runs } = self;
        for number in [epoch, too_old, publishes] {
            hasher.number(*number);
        }
        hasher.ordered(runs, |hasher, Run { sequence, offset, publishes, records }| {
            hasher.number(*sequence);
            hasher.number(*offset);
            hasher.number(*publishes);
            hasher.number(*records);
        });
    }
}

/// A saved [`Window`]: epoch, first sequence that is remembered, runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedWindow(u64, u64, Vec<Run>);
