//! The counts of a tally, kept current with every ballot so that reading them costs nothing.

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::tally::{Standings, TallyKind, TallyRules};

use super::marks::{OVER, SKIPPED};
use crate::state_hash::StateHasher;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Marks of a ballot that count: the first preference, or every chosen option.
    marks_counted: usize,
    options: Vec<u64>,
    ballots: u64,
    blank: u64,
    overvotes: u64,
}

impl Counts {
    pub(super) fn of(rules: &TallyRules) -> Self {
        let marks_counted = match rules.kind {
            TallyKind::Single | TallyKind::Ranked => 1,
            TallyKind::Multiple => usize::MAX,
        };
        let options = vec![0; rules.options.len()];
        Self { marks_counted, options, ballots: 0, blank: 0, overvotes: 0 }
    }

    pub(super) fn add(&mut self, marks: &[u16]) {
        self.change(marks, |count| *count = count.saturating_add(1));
    }

    pub(super) fn remove(&mut self, marks: &[u16]) {
        self.change(marks, |count| *count = count.saturating_sub(1));
    }

    fn change(&mut self, marks: &[u16], step: impl Fn(&mut u64)) {
        step(&mut self.ballots);
        match marks.first() {
            None | Some(&SKIPPED) => step(&mut self.blank),
            Some(&OVER) => step(&mut self.overvotes),
            Some(_) => {
                for option in marks.iter().take(self.marks_counted) {
                    if let Some(count) = self.options.get_mut(usize::from(*option)) {
                        step(count);
                    }
                }
            }
        }
    }

    /// Number of options that are counted.
    pub(super) fn options(&self) -> usize {
        self.options.len()
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { marks_counted, options, ballots, blank, overvotes } = self;
        hasher.size(*marks_counted);
        hasher.ordered(options, |hasher, count| hasher.number(*count));
        for number in [ballots, blank, overvotes] {
            hasher.number(*number);
        }
    }

    pub(super) fn standings(&self) -> Standings {
        Standings {
            counts: self.options.clone(),
            ballots: self.ballots,
            blank: self.blank,
            overvotes: self.overvotes,
            ..Standings::default()
        }
    }
}
