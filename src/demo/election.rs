//! An election as the demo replays it: the options, the distinct rankings, and how many ballots
//! hold each of them.

use std::collections::HashMap;

use tidewire_protocol::tally::{Choice, Standings, TallyKind, TallyRules, TallyState};

/// What stands at one rank of a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// An option, by its index in declared order.
    Option(u16),
    /// Nothing.
    Skipped,
    /// More than one option.
    Over,
}

/// A ranking, and the number of ballots that hold exactly it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranking {
    /// One mark per rank, best first.
    pub(crate) marks: Box<[Mark]>,
    /// Ballots.
    pub(crate) count: u64,
}

/// The ballots of one election.
#[derive(Clone, Debug, Default)]
pub(crate) struct Election {
    /// What the page and the summary call it.
    pub(crate) title: String,
    /// Ranks on each ballot.
    pub(crate) ranks: usize,
    /// Names in declared order: by first appearance, row by row.
    pub(crate) options: Vec<String>,
    /// Distinct rankings in the order of their first appearance.
    pub(crate) rankings: Vec<Ranking>,
    option_indices: HashMap<String, u16>,
    ranking_indices: HashMap<Box<[Mark]>, usize>,
}

impl Election {
    /// An election without ballots.
    pub(crate) fn new(title: String, ranks: usize) -> Self {
        Self { title, ranks, ..Self::default() }
    }

    /// The mark for the option of this name, which is declared if it is new. `None` when there are
    /// more options than an index can number.
    pub(crate) fn mark(&mut self, name: &str) -> Option<Mark> {
        if let Some(index) = self.option_indices.get(name) {
            return Some(Mark::Option(*index));
        }
        let index = u16::try_from(self.options.len()).ok()?;
        self.options.push(name.to_owned());
        self.option_indices.insert(name.to_owned(), index);
        Some(Mark::Option(index))
    }

    /// Adds so many ballots of one ranking.
    pub(crate) fn add(&mut self, marks: Box<[Mark]>, count: u64) {
        let known = self.ranking_indices.get(&marks).copied();
        if let Some(ranking) = known.and_then(|index| self.rankings.get_mut(index)) {
            ranking.count += count;
            return;
        }
        self.ranking_indices.insert(marks.clone(), self.rankings.len());
        self.rankings.push(Ranking { marks, count });
    }

    /// Ballots in all.
    pub(crate) fn ballots(&self) -> u64 {
        self.rankings.iter().map(|ranking| ranking.count).sum()
    }

    /// The rules under which the ballots are counted.
    pub(crate) fn rules(&self) -> TallyRules {
        let mut rules = TallyRules::new(TallyKind::Ranked, self.options.clone());
        rules.choices_max = u64::try_from(self.ranks).ok();
        rules
    }

    /// What a right count of all ballots shows once the tally is closed.
    pub(crate) fn standings(&self) -> Standings {
        let mut standings = Standings {
            counts: vec![0; self.options.len()],
            state: TallyState::Closed,
            ..Standings::default()
        };
        for Ranking { marks, count } in &self.rankings {
            standings.ballots += count;
            match marks.first() {
                Some(Mark::Option(index)) => {
                    if let Some(votes) = standings.counts.get_mut(usize::from(*index)) {
                        *votes += count;
                    }
                }
                Some(Mark::Over) => standings.overvotes += count,
                Some(Mark::Skipped) | None => standings.blank += count,
            }
        }
        standings
    }

    /// The ballots one by one, as indices of rankings, in an order that is the same for each run
    /// with this seed. Shuffled, because files come sorted by their first column and a race in
    /// which one candidate's ballots all come first is none.
    pub(crate) fn casting_order(&self, seed: u64) -> Vec<u32> {
        let mut order = Vec::new();
        for (index, ranking) in (0_u32..).zip(&self.rankings) {
            let count = usize::try_from(ranking.count).unwrap_or(usize::MAX);
            order.extend(std::iter::repeat_n(index, count));
        }
        shuffle(&mut order, seed);
        order
    }
}

impl Ranking {
    /// The ballot as it travels.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let choice = |mark: &Mark| match mark {
            Mark::Option(index) => Choice::Index(u64::from(*index)),
            Mark::Skipped => Choice::Skipped,
            Mark::Over => Choice::Over,
        };
        self.marks.iter().map(choice).collect()
    }
}

/// Fisher and Yates' shuffle.
fn shuffle(items: &mut [u32], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last + 1).unwrap_or(u64::MAX);
        let drawn = usize::try_from(split_mix(&mut state) % bound).unwrap_or(last);
        items.swap(last, drawn);
    }
}

/// `SplitMix64`: good enough to mix ballots, and the same everywhere.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Election {
        let mut election = Election::new("Small".to_owned(), 2);
        let ada = election.mark("Ada").unwrap();
        let bo = election.mark("Bo").unwrap();
        election.add([ada, bo].into(), 3);
        election.add([Mark::Skipped, ada].into(), 2);
        election.add([Mark::Over, bo].into(), 1);
        election.add([bo, Mark::Skipped].into(), 4);
        election.add([ada, bo].into(), 5);
        election
    }

    #[test]
    fn an_option_keeps_the_index_of_its_first_appearance() {
        let mut election = small();
        assert_eq!(election.mark("Bo"), Some(Mark::Option(1)));
        assert_eq!(election.options, ["Ada", "Bo"]);
    }

    #[test]
    fn the_same_ranking_twice_is_one_ranking() {
        let election = small();
        assert_eq!(election.rankings.len(), 4);
        assert_eq!(election.ballots(), 15);
    }

    #[test]
    fn only_the_first_rank_counts_in_the_standings() {
        let standings = small().standings();
        assert_eq!(standings.counts, [8, 4]);
        assert_eq!((standings.ballots, standings.blank, standings.overvotes), (15, 2, 1));
    }

    #[test]
    fn the_casting_order_holds_each_ballot_once_and_is_the_same_for_a_seed() {
        let election = small();
        let order = election.casting_order(7);
        assert_eq!(order, election.casting_order(7));
        assert_ne!(order, election.casting_order(8));
        for (index, ranking) in (0_u32..).zip(&election.rankings) {
            let cast = order.iter().filter(|cast| **cast == index).count();
            assert_eq!(cast as u64, ranking.count);
        }
    }

    #[test]
    fn a_ballot_travels_with_its_gaps() {
        let ranking = Ranking { marks: [Mark::Over, Mark::Skipped].into(), count: 1 };
        assert_eq!(ranking.choices(), [Choice::Over, Choice::Skipped]);
    }
}
