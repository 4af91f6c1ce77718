mod history;

use std::borrow::ToOwned;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use tidewire_protocol::tally::Round;

use super::*;

fn rules(kind: TallyKind) -> TallyRules {
    TallyRules::new(kind, ["A", "B", "C", "D"].map(ToString::to_string).to_vec())
}

fn tally(rules: TallyRules) -> Tally {
    Tally::new(rules, 1_000, 7, 1).unwrap()
}

fn voter(number: u8) -> VoterId {
    VoterId([number; 16])
}

fn one(option: u64) -> [Choice; 1] {
    [Choice::Index(option)]
}

#[test]
fn a_voter_who_votes_twice_counts_once() {
    let mut tally = tally(rules(TallyKind::Single));
    let first = tally.vote(voter(1), &one(0), None, 5, 0).unwrap();
    assert_eq!(first, Voted { version: 5, status: VoteStatus::Accepted, revision: 1 });
    let changed = tally.vote(voter(1), &one(1), None, 6, 0).unwrap();
    assert_eq!(changed, Voted { version: 6, status: VoteStatus::Changed, revision: 2 });
    tally.vote(voter(2), &one(1), None, 8, 0).unwrap();
    let again = tally.vote(voter(1), &[Choice::Name("B".to_owned())], None, 9, 0).unwrap();
    assert_eq!(again, Voted { version: 8, status: VoteStatus::Duplicate, revision: 2 });
    let standings = tally.standings(0);
    assert_eq!((standings.counts, standings.ballots), (vec![0, 2, 0, 0], 2));
    assert_eq!((tally.voters(), tally.version()), (2, 8));
}

#[test]
fn a_delayed_ballot_does_not_overwrite_a_newer_one() {
    let mut tally = tally(rules(TallyKind::Single));
    tally.vote(voter(1), &one(0), Some(10), 2, 0).unwrap();
    let refused = tally.vote(voter(1), &one(1), Some(10), 3, 0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::StaleRevision);
    let retry = tally.vote(voter(1), &one(0), Some(9), 3, 0).unwrap();
    assert_eq!((retry.status, retry.revision, retry.version), (VoteStatus::Duplicate, 10, 2));
    // The same ballot under a higher revision is stored under it, or 11 would not be stale.
    let raised = tally.vote(voter(1), &one(0), Some(12), 4, 0).unwrap();
    assert_eq!((raised.status, raised.revision), (VoteStatus::Changed, 12));
    let refused = tally.vote(voter(1), &one(1), Some(11), 5, 0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::StaleRevision);
    assert_eq!(tally.vote(voter(1), &one(1), None, 5, 0).unwrap().revision, 13);
    assert_eq!(tally.standings(0).counts, [0, 1, 0, 0]);
}

#[test]
fn a_revision_that_cannot_be_stored_is_refused() {
    let mut tally = tally(rules(TallyKind::Single));
    let last = u64::from(u32::MAX);
    let refused = tally.vote(voter(1), &one(0), Some(last + 1), 2, 0).unwrap_err();
    assert_eq!((refused.code, tally.voters()), (ErrorCode::InvalidArgument, 0));
    tally.vote(voter(1), &one(0), Some(last), 3, 0).unwrap();
    for revision in [None, Some(last + 1)] {
        let refused = tally.vote(voter(1), &one(1), revision, 4, 0).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
    }
    assert_eq!(tally.standings(0).counts, [1, 0, 0, 0]);
}

#[test]
fn a_final_ballot_can_be_repeated_but_not_changed() {
    let mut tally = tally(TallyRules { is_final: true, ..rules(TallyKind::Single) });
    tally.vote(voter(1), &one(0), None, 2, 0).unwrap();
    for revision in [None, Some(1), Some(9)] {
        let again = tally.vote(voter(1), &one(0), revision, 3, 0).unwrap();
        assert_eq!((again.status, again.revision), (VoteStatus::Duplicate, 1));
        let refused = tally.vote(voter(1), &one(1), revision, 3, 0).unwrap_err();
        assert_eq!(refused.code, ErrorCode::AlreadyVoted);
    }
    assert_eq!(tally.version(), 2);
}

#[test]
fn ballots_outside_the_opening_times_are_refused_and_retries_are_not() {
    let times =
        TallyRules { opens_at_ms: Some(100), closes_at_ms: Some(200), ..rules(TallyKind::Single) };
    let mut tally = tally(times);
    let early = tally.vote(voter(1), &one(9), None, 2, 99).unwrap_err();
    assert_eq!((early.code, early.retry_after_ms), (ErrorCode::TallyNotOpen, Some(1)));
    tally.vote(voter(1), &one(0), Some(3), 2, 100).unwrap();
    assert_eq!(
        tally.vote(voter(2), &one(0), None, 3, 200).unwrap_err().code,
        ErrorCode::TallyClosed
    );
    for revision in [None, Some(3)] {
        let retry = tally.vote(voter(1), &one(0), revision, 3, 200).unwrap();
        assert_eq!((retry.status, retry.version), (VoteStatus::Duplicate, 2));
    }
    for (option, revision) in [(1, None), (1, Some(9)), (0, Some(9)), (9, None)] {
        let refused = tally.vote(voter(1), &one(option), revision, 3, 200).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TallyClosed);
    }
}

#[test]
fn opening_and_closing_stamp_a_version_only_when_they_change_something() {
    let mut tally = tally(rules(TallyKind::Single));
    assert!(!tally.open(2, 0));
    assert_eq!(tally.version(), 1);
    assert!(tally.close(3, 0) && !tally.close(4, 0));
    assert_eq!((tally.version(), tally.state(0)), (3, TallyState::Closed));
    assert_eq!(tally.standings(0).state, TallyState::Closed);
    assert!(tally.open(5, 0));
    tally.touch(6);
    assert_eq!((tally.version(), tally.state(0)), (6, TallyState::Open));
    assert!(tally.vote(voter(1), &one(0), None, 7, 0).is_ok());
}

#[test]
fn one_voter_too_many_is_refused_and_the_others_may_still_change() {
    let mut tally = Tally::new(rules(TallyKind::Single), 1, 7, 1).unwrap();
    tally.vote(voter(1), &one(0), None, 2, 0).unwrap();
    let refused = tally.vote(voter(2), &one(0), None, 3, 0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LimitExceeded);
    assert!(tally.vote(voter(1), &one(1), None, 3, 0).is_ok());
}

#[test]
fn rules_that_contradict_themselves_make_no_tally() {
    let none = TallyRules::new(TallyKind::Single, Vec::new());
    assert_eq!(Tally::new(none, 1, 0, 1).unwrap_err().code, ErrorCode::InvalidArgument);
}

#[test]
fn rounds_are_for_ranked_tallies_and_count_what_voters_changed() {
    let refused = tally(rules(TallyKind::Multiple)).rounds(0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unsupported);

    let mut tally = tally(rules(TallyKind::Ranked));
    let ranked = [[0, 3], [0, 1], [1, 0], [1, 2], [2, 1]];
    for (number, [first, second]) in (0_u8..).zip(ranked) {
        let choices = [Choice::Index(first), Choice::Index(second)];
        tally.vote(voter(number), &choices, None, 2, 0).unwrap();
    }
    tally.vote(voter(9), &[Choice::Over], None, 3, 0).unwrap();
    tally.vote(voter(0), &[Choice::Skipped, Choice::Index(0)], None, 4, 0).unwrap();
    let standings = tally.standings(0);
    assert_eq!(standings.counts, [1, 2, 1, 0]);
    assert_eq!((standings.ballots, standings.blank, standings.overvotes), (6, 1, 1));

    let rounds = tally.rounds(0).unwrap();
    assert_eq!((rounds.ballots, rounds.options.len()), (6, 4));
    let round = |votes: [u64; 4], eliminated, winner| Round {
        votes: votes.to_vec(),
        exhausted: 1,
        eliminated,
        winner,
    };
    assert_eq!(
        rounds.rounds,
        [
            round([2, 2, 1, 0], Some(3), None),
            round([2, 2, 1, 0], Some(2), None),
            round([2, 3, 0, 0], None, Some(1)),
        ]
    );
}
