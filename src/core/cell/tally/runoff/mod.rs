//! The instant runoff: one option is eliminated per round until one has a majority.
//!
//! How a ballot is read, rank by rank:
//!
//! * a rank with an option that still stands takes the ballot;
//! * a rank with an eliminated option is passed over, and ends a run of skipped ranks;
//! * a skipped rank is passed over; so many in a row as the rules say end the ballot;
//! * an over-vote is passed over or ends the ballot, as the rules say;
//! * an over-vote that is passed over, and an option that stood at an earlier rank, are as if
//!   they were not there: they are no skipped rank, nor do they end a run of them.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::mem;

use tidewire_protocol::tally::{Overvote, Round, TallyRules};

use super::marks::{OVER, REPEATED, SKIPPED};

/// Counts a profile: distinct ballots as marks per rank, each with its number.
///
/// The last round has a winner, with more than half of the ballots that still count for
/// somebody, unless there is no such ballot at all. Of options with the fewest votes that one is
/// eliminated which had fewer in the latest earlier round in which they differ; if none tells
/// them apart, the one declared last.
pub(super) fn rounds<'a>(
    rules: &TallyRules,
    profile: impl Iterator<Item = (&'a [u16], u64)>,
) -> Vec<Round> {
    let mut runoff = Runoff::new(rules, profile);
    let mut rounds = Vec::new();
    loop {
        let mut round = runoff.count();
        round.winner = majority(&round.votes);
        // The last option that stands has every vote, so it needs no rule of its own.
        if round.winner.is_none() && round.votes.iter().any(|votes| *votes > 0) {
            round.eliminated = runoff.eliminate(&round.votes);
        }
        let is_last = round.eliminated.is_none();
        rounds.push(round);
        if is_last {
            return rounds;
        }
    }
}

fn majority(votes: &[u64]) -> Option<u64> {
    let continuing: u64 = votes.iter().sum();
    (0..).zip(votes).find(|(_, votes)| **votes > continuing - **votes).map(|(option, _)| option)
}

struct Runoff<'a> {
    reading: Reading,
    /// By declared order.
    options: Vec<Standing<'a>>,
    /// Those that stand, the next to be eliminated first. Sorting it by the votes of each round,
    /// stably, leaves those with equal votes in the order of the rounds before: that is the
    /// whole rule for ties.
    weakest_first: Vec<usize>,
    ballots: u64,
}

/// One option: its ballots, until it is eliminated.
#[derive(Default)]
struct Standing<'a> {
    is_eliminated: bool,
    votes: u64,
    piles: Vec<Pile<'a>>,
}

/// Equal ballots that move together.
struct Pile<'a> {
    ballots: u64,
    unread: &'a [u16],
    skips: u64,
}

#[derive(Clone, Copy)]
struct Reading {
    overvote: Overvote,
    exhaust_after_skips: u64,
}

impl<'a> Runoff<'a> {
    fn new(rules: &TallyRules, profile: impl Iterator<Item = (&'a [u16], u64)>) -> Self {
        let declared = rules.options.len();
        let mut runoff = Self {
            reading: Reading {
                overvote: rules.overvote,
                exhaust_after_skips: rules.exhaust_after_skips,
            },
            options: (0..declared).map(|_| Standing::default()).collect(),
            weakest_first: (0..declared).rev().collect(),
            ballots: 0,
        };
        for (marks, ballots) in profile {
            runoff.ballots += ballots;
            runoff.place(Pile { ballots, unread: marks, skips: 0 });
        }
        runoff
    }

    fn count(&self) -> Round {
        let votes: Vec<u64> = self.options.iter().map(|option| option.votes).collect();
        let exhausted = self.ballots - votes.iter().sum::<u64>();
        Round { votes, exhausted, eliminated: None, winner: None }
    }

    fn eliminate(&mut self, votes: &[u64]) -> Option<u64> {
        self.weakest_first.sort_by_key(|option| votes.get(*option));
        let weakest = *self.weakest_first.first()?;
        self.weakest_first.remove(0);
        let option = self.options.get_mut(weakest)?;
        option.is_eliminated = true;
        option.votes = 0;
        for pile in mem::take(&mut option.piles) {
            self.place(pile);
        }
        Some(weakest as u64)
    }

    /// Gives a pile to its next option that stands; without one it is exhausted.
    fn place(&mut self, mut pile: Pile<'a>) {
        while let Some(next) = pile.next_option(self.reading) {
            if let Some(option) = self.options.get_mut(usize::from(next))
                && !option.is_eliminated
            {
                option.votes += pile.ballots;
                option.piles.push(pile);
                return;
            }
        }
    }
}

impl Pile<'_> {
    /// Reads on to the next rank with an option; `None`: the ballots are exhausted.
    fn next_option(&mut self, reading: Reading) -> Option<u16> {
        while let Some((mark, unread)) = self.unread.split_first() {
            self.unread = unread;
            match *mark {
                SKIPPED => {
                    self.skips += 1;
                    if self.skips == reading.exhaust_after_skips {
                        return None;
                    }
                }
                OVER if reading.overvote == Overvote::Exhaust => return None,
                OVER | REPEATED => {}
                option => {
                    self.skips = 0;
                    return Some(option);
                }
            }
        }
        None
    }
}
