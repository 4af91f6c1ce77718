use std::collections::BTreeMap;
use std::format;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use tidewire_protocol::tally::TallyKind;

use super::*;

fn rules(options: usize) -> TallyRules {
    TallyRules::new(TallyKind::Ranked, (0..options).map(|number| format!("o{number}")).collect())
}

fn run(rules: &TallyRules, profile: &[(&[u16], u64)]) -> Vec<Round> {
    rounds(rules, profile.iter().copied())
}

fn eliminated(rounds: &[Round]) -> Vec<u64> {
    rounds.iter().filter_map(|round| round.eliminated).collect()
}

const A: u16 = 0;
const B: u16 = 1;
const C: u16 = 2;
const D: u16 = 3;

#[test]
fn a_majority_in_the_first_round_ends_it() {
    let rounds = run(&rules(3), &[(&[A, B], 6), (&[B, A], 3), (&[C], 2), (&[], 4)]);
    assert_eq!(rounds.len(), 1);
    assert_eq!(rounds[0].votes, [6, 3, 2]);
    assert_eq!((rounds[0].winner, rounds[0].eliminated, rounds[0].exhausted), (Some(0), None, 4));
}

#[test]
fn the_ballots_of_the_eliminated_move_to_their_next_choice() {
    // The capital of Tennessee: Memphis 42, Nashville 26, Chattanooga 15, Knoxville 17.
    let profile: &[(&[u16], u64)] =
        &[(&[A, B, C, D], 42), (&[B, C, D, A], 26), (&[C, D, B, A], 15), (&[D, C, B, A], 17)];
    let rounds = run(&rules(4), profile);
    let votes: Vec<_> = rounds.iter().map(|round| round.votes.clone()).collect();
    assert_eq!(votes, [[42, 26, 15, 17], [42, 26, 0, 32], [42, 0, 0, 58]]);
    assert_eq!(eliminated(&rounds), [2, 1]);
    assert_eq!(rounds.last().unwrap().winner, Some(3));
}

#[test]
fn half_of_the_ballots_is_not_a_majority_and_of_a_full_tie_the_last_declared_goes() {
    let rounds = run(&rules(2), &[(&[A], 5), (&[B], 5)]);
    assert_eq!(eliminated(&rounds), [1]);
    assert_eq!((rounds[1].winner, rounds[1].exhausted), (Some(0), 5));
    assert_eq!(rounds[1].votes, [5, 0]);
}

#[test]
fn a_tie_is_broken_by_the_round_before() {
    // D goes first; its ballots lift B to C's 5 votes. In the round before B had fewer.
    let rounds = run(&rules(4), &[(&[A], 9), (&[B], 4), (&[C], 5), (&[D, B], 1)]);
    assert_eq!(rounds[1].votes, [9, 5, 5, 0]);
    assert_eq!(eliminated(&rounds[..2]), [3, 1]);
}

#[test]
fn the_latest_round_that_differs_decides_a_tie() {
    // Round 1: A 8, B 5, C 4, D 2, E 3. D gives C 2: B 5, C 6. E gives B 1 and A 2: B 6, C 6.
    // B and C tie in round 3; round 2 had B below C, although round 1 had C below B.
    let profile: &[(&[u16], u64)] =
        &[(&[A], 8), (&[B], 5), (&[C], 4), (&[D, C], 2), (&[4, B], 1), (&[4, A], 2)];
    let rounds = run(&rules(5), profile);
    assert_eq!(rounds[1].votes, [8, 5, 6, 0, 3]);
    assert_eq!(rounds[2].votes, [10, 6, 6, 0, 0]);
    assert_eq!(eliminated(&rounds[..3]), [3, 4, 1]);
}

#[test]
fn a_tie_of_three_is_narrowed_round_by_round() {
    // Round 3 ties B, C and D at 5. Round 2 leaves C and D, at 4 below B's 5; round 1 had C
    // at 3 below D's 4. So C goes, neither B (first declared) nor D (last declared).
    let profile: &[(&[u16], u64)] =
        &[(&[A], 9), (&[B], 5), (&[C], 3), (&[D], 4), (&[4, C], 1), (&[5, C], 1), (&[5, D], 1)];
    let rounds = run(&rules(6), profile);
    assert_eq!(rounds[0].votes, [9, 5, 3, 4, 1, 2]);
    assert_eq!(rounds[1].votes, [9, 5, 4, 4, 0, 2]);
    assert_eq!(rounds[2].votes, [9, 5, 5, 5, 0, 0]);
    assert_eq!(eliminated(&rounds[..3]), [4, 5, 2]);
}

#[test]
fn without_a_ballot_for_anybody_there_is_one_round_and_no_winner() {
    for (profile, exhausted) in [(&[][..], 0), (&[(&[][..], 3), (&[OVER], 2)], 5)] {
        let rounds = run(&rules(2), profile);
        let empty = Round { votes: vec![0, 0], exhausted, eliminated: None, winner: None };
        assert_eq!(rounds, [empty]);
    }
    assert_eq!(run(&rules(1), &[(&[A], 1)])[0].winner, Some(0));
}

#[test]
fn a_skipped_rank_is_passed_over_until_too_many_are_skipped_in_a_row() {
    let votes = |exhaust_after_skips, marks: &[u16]| {
        let rules = TallyRules { exhaust_after_skips, ..rules(1) };
        run(&rules, &[(marks, 1)])[0].votes[0]
    };
    assert_eq!(votes(0, &[SKIPPED, SKIPPED, SKIPPED, A]), 1);
    assert_eq!(votes(2, &[SKIPPED, A]), 1);
    assert_eq!(votes(2, &[SKIPPED, SKIPPED, A]), 0);
    assert_eq!(votes(1, &[SKIPPED, A]), 0);
    // A passed-over over-vote is no skipped rank and does not end the run.
    assert_eq!(votes(2, &[OVER, SKIPPED, OVER, A]), 1);
    assert_eq!(votes(2, &[SKIPPED, OVER, SKIPPED, A]), 0);
}

#[test]
fn a_rank_of_an_eliminated_option_ends_a_run_of_skips_and_a_repeated_one_does_not() {
    let votes_of_a = |marks: &[u16]| {
        let rules = TallyRules { exhaust_after_skips: 2, ..rules(4) };
        let rounds = run(&rules, &[(marks, 3), (&[C], 4), (&[D], 5), (&[A], 4)]);
        assert_eq!(rounds[0].eliminated, Some(1));
        rounds[1].votes[0]
    };
    assert_eq!(votes_of_a(&[SKIPPED, B, SKIPPED, A]), 7);
    assert_eq!(votes_of_a(&[B, SKIPPED, REPEATED, A]), 7);
    assert_eq!(votes_of_a(&[B, SKIPPED, REPEATED, SKIPPED, A]), 4);
}

#[test]
fn an_over_vote_is_passed_over_or_ends_the_ballot() {
    let run_with = |overvote| {
        let rules = TallyRules { overvote, ..rules(2) };
        let last = run(&rules, &[(&[OVER, B], 3), (&[A, OVER], 2)]).pop().unwrap();
        (last.winner, last.exhausted)
    };
    assert_eq!(run_with(Overvote::Skip), (Some(1), 0));
    assert_eq!(run_with(Overvote::Exhaust), (Some(0), 3));
}

/// The plain count: every ballot is read from its first rank in every round.
fn naive_rounds(rules: &TallyRules, profile: &[(Vec<u16>, u64)]) -> Vec<Round> {
    let declared = rules.options.len();
    let mut gone: Vec<usize> = Vec::new();
    let mut rounds: Vec<Round> = Vec::new();
    loop {
        let mut votes = vec![0; declared];
        let mut exhausted = 0;
        for (marks, ballots) in profile {
            match naive_top(rules, marks, &gone) {
                Some(option) => votes[option] += ballots,
                None => exhausted += ballots,
            }
        }
        let continuing: u64 = votes.iter().sum();
        let left: Vec<usize> = (0..declared).filter(|option| !gone.contains(option)).collect();
        let winner = left
            .iter()
            .find(|option| votes[**option] * 2 > continuing || (left.len() == 1 && continuing > 0));
        let winner = winner.map(|option| *option as u64);
        let mut round = Round { votes, exhausted, eliminated: None, winner };
        if winner.is_some() || continuing == 0 {
            rounds.push(round);
            return rounds;
        }
        let loser = naive_loser(&left, &round.votes, &rounds);
        round.eliminated = Some(loser as u64);
        gone.push(loser);
        rounds.push(round);
    }
}

fn naive_top(rules: &TallyRules, marks: &[u16], gone: &[usize]) -> Option<usize> {
    let mut skipped_in_a_row = 0;
    for mark in marks {
        if *mark == SKIPPED {
            skipped_in_a_row += 1;
            if rules.exhaust_after_skips > 0 && skipped_in_a_row >= rules.exhaust_after_skips {
                return None;
            }
        } else if *mark == OVER {
            if rules.overvote == Overvote::Exhaust {
                return None;
            }
        } else if *mark != REPEATED {
            skipped_in_a_row = 0;
            if !gone.contains(&usize::from(*mark)) {
                return Some(usize::from(*mark));
            }
        }
    }
    None
}

fn naive_loser(left: &[usize], votes: &[u64], earlier: &[Round]) -> usize {
    let fewest = |among: &[usize], votes: &[u64]| -> Vec<usize> {
        let least = among.iter().map(|option| votes[*option]).min().unwrap();
        among.iter().copied().filter(|option| votes[*option] == least).collect()
    };
    let mut tied = fewest(left, votes);
    for round in earlier.iter().rev() {
        if tied.len() > 1 {
            tied = fewest(&tied, &round.votes);
        }
    }
    *tied.last().unwrap()
}

const OPTIONS: u16 = 6;

/// A ballot as the marks of up to seven ranks, repeats marked as they are when it is read.
fn marks() -> impl Strategy<Value = Vec<u16>> {
    let mark = prop_oneof![8 => 0..OPTIONS, 3 => Just(SKIPPED), 1 => Just(OVER)];
    proptest::collection::vec(mark, 0..8).prop_map(|mut marks| {
        for rank in 1..marks.len() {
            if marks[rank] < OPTIONS && marks[..rank].contains(&marks[rank]) {
                marks[rank] = REPEATED;
            }
        }
        marks
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // Few ballots and small numbers, so that ties are the rule and not the exception.
    #[test]
    fn the_runoff_equals_a_naive_recount_of_every_round(
        profile in proptest::collection::btree_map(marks(), 1_u64..4, 0..14),
        exhausts in any::<bool>(),
        exhaust_after_skips in 0_u64..4,
    ) {
        let overvote = if exhausts { Overvote::Exhaust } else { Overvote::Skip };
        let rules = TallyRules { overvote, exhaust_after_skips, ..rules(OPTIONS.into()) };
        let profile: Vec<(Vec<u16>, u64)> = BTreeMap::into_iter(profile).collect();
        let ballots: u64 = profile.iter().map(|(_, ballots)| ballots).sum();
        let counted = rounds(&rules, profile.iter().map(|(marks, n)| (&**marks, *n)));
        for round in &counted {
            prop_assert_eq!(round.votes.iter().sum::<u64>() + round.exhausted, ballots);
        }
        prop_assert_eq!(counted, naive_rounds(&rules, &profile));
    }
}
