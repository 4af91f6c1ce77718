//! Random histories of votes against a plain count that shares no code with the tally.

use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Attempt {
    voter: u8,
    choices: Vec<Choice>,
    revision: Option<u64>,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let name = prop_oneof![Just("A"), Just("D"), Just("E")];
    let choice = prop_oneof![
        8 => (0_u64..5).prop_map(Choice::Index),
        2 => name.prop_map(|name| Choice::Name(name.to_owned())),
        2 => Just(Choice::Skipped),
        1 => Just(Choice::Over),
    ];
    let choices = proptest::collection::vec(choice, 0..5);
    (0_u8..6, choices, proptest::option::of(0_u64..12))
        .prop_map(|(voter, choices, revision)| Attempt { voter, choices, revision })
}

/// A ballot in plain words: what stands at each rank, or the chosen options in declared order.
fn plain(rules: &TallyRules, choices: &[Choice]) -> Result<Vec<String>, ErrorCode> {
    let mut words: Vec<String> = Vec::new();
    for choice in choices {
        words.push(match choice {
            Choice::Index(index) => match rules.options.get(*index as usize) {
                Some(name) => name.clone(),
                None => "unknown".to_owned(),
            },
            Choice::Name(name) if rules.options.contains(name) => name.clone(),
            Choice::Name(_) => "unknown".to_owned(),
            Choice::Skipped => "skipped".to_owned(),
            Choice::Over => "over".to_owned(),
        });
    }
    if words.iter().all(|word| word == "skipped") {
        return Ok(Vec::new());
    }
    if rules.kind == TallyKind::Ranked {
        while words.last().is_some_and(|word| word == "skipped") {
            words.pop();
        }
        if words.len() as u64 > rules.choices_max.unwrap() {
            return Err(ErrorCode::InvalidArgument);
        }
    } else if rules.kind == TallyKind::Single && words == ["over"] {
        return Ok(words);
    }
    let is_marked = |word: &String| word == "skipped" || word == "over";
    for word in &words {
        if word == "unknown" {
            return Err(ErrorCode::UnknownOption);
        }
        if is_marked(word) && rules.kind != TallyKind::Ranked {
            return Err(ErrorCode::InvalidArgument);
        }
    }
    if rules.kind == TallyKind::Ranked {
        let repeats =
            |rank: usize| !is_marked(&words[rank]) && words[..rank].contains(&words[rank]);
        let repeated: Vec<usize> = (0..words.len()).filter(|rank| repeats(*rank)).collect();
        repeated.into_iter().for_each(|rank| words[rank] = "repeated".to_owned());
        return Ok(words);
    }
    words.sort();
    words.dedup();
    let most = if rules.kind == TallyKind::Single { 1 } else { rules.choices_max.unwrap() };
    if words.len() as u64 > most { Err(ErrorCode::InvalidArgument) } else { Ok(words) }
}

/// What a vote must be answered with, given what is stored of this voter.
fn expected(
    is_final: bool,
    stored: Option<&(Vec<String>, u64)>,
    ballot: Result<Vec<String>, ErrorCode>,
    revision: Option<u64>,
) -> Result<(VoteStatus, u64), ErrorCode> {
    let ballot = ballot?;
    let Some((held, held_revision)) = stored else {
        return Ok((VoteStatus::Accepted, revision.unwrap_or(1)));
    };
    let is_newer = revision.is_none_or(|revision| revision > *held_revision);
    let is_same = ballot == *held;
    match revision {
        _ if is_final && is_same => Ok((VoteStatus::Duplicate, *held_revision)),
        _ if is_final => Err(ErrorCode::AlreadyVoted),
        None if is_same => Ok((VoteStatus::Duplicate, *held_revision)),
        None => Ok((VoteStatus::Changed, held_revision + 1)),
        Some(revision) if is_newer => Ok((VoteStatus::Changed, revision)),
        Some(_) if is_same => Ok((VoteStatus::Duplicate, *held_revision)),
        Some(_) => Err(ErrorCode::StaleRevision),
    }
}

/// Standings from the stored ballots, one by one.
fn recount<'a>(rules: &TallyRules, ballots: impl Iterator<Item = &'a Vec<String>>) -> Standings {
    let mut standings = Standings { counts: vec![0; rules.options.len()], ..Standings::default() };
    for ballot in ballots {
        standings.ballots += 1;
        let counted = if rules.kind == TallyKind::Multiple { ballot.len() } else { 1 };
        match ballot.first().map(String::as_str) {
            None | Some("skipped") => standings.blank += 1,
            Some("over") => standings.overvotes += 1,
            Some(_) => {
                for word in &ballot[..counted] {
                    let at = rules.options.iter().position(|option| option == word).unwrap();
                    standings.counts[at] += 1;
                }
            }
        }
    }
    standings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_history_of_votes_is_answered_and_counted_as_a_naive_recount_says(
        attempts in proptest::collection::vec(attempt(), 1..60),
        kind in prop_oneof![
            Just(TallyKind::Single), Just(TallyKind::Multiple), Just(TallyKind::Ranked)
        ],
        is_final in any::<bool>(),
    ) {
        let rules = TallyRules { is_final, choices_max: Some(3), ..rules(kind) };
        let mut tally = tally(rules.clone());
        let mut stored: BTreeMap<u8, (Vec<String>, u64)> = BTreeMap::new();
        let mut cast: BTreeMap<u8, Vec<Choice>> = BTreeMap::new();
        let mut newest = 1;
        for (version, Attempt { voter: number, choices, revision }) in (2..).zip(attempts) {
            let ballot = plain(&rules, &choices);
            let must = expected(is_final, stored.get(&number), ballot.clone(), revision);
            if let Ok((VoteStatus::Accepted | VoteStatus::Changed, revision)) = must {
                newest = version;
                stored.insert(number, (ballot.unwrap(), revision));
                cast.insert(number, choices.clone());
            }
            let answer = tally.vote(voter(number), &choices, revision, version, 0);
            let must = must.map(|(status, revision)| Voted { version: newest, status, revision });
            prop_assert_eq!(answer.map_err(|refusal| refusal.code), must);
            let ballots = stored.values().map(|(ballot, _)| ballot);
            prop_assert_eq!(tally.standings(0), recount(&rules, ballots));
            prop_assert_eq!((tally.version(), tally.voters()), (newest, stored.len()));
        }
        // The rounds depend on the ballots that stand, not on how they came to stand.
        let mut rebuilt = self::tally(rules);
        for (number, choices) in &cast {
            rebuilt.vote(voter(*number), choices, None, 2, 0).unwrap();
        }
        prop_assert_eq!(rebuilt.rounds(0), tally.rounds(0));
    }
}
