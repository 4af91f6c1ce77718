use super::*;
use tidewire_client::Round;

fn round(votes: &[u64], exhausted: u64, out: Option<u64>, winner: Option<u64>) -> Round {
    Round { votes: votes.to_vec(), exhausted, eliminated: out, winner }
}

fn outcome() -> Outcome {
    let standings = Standings {
        counts: vec![4, 2, 5],
        ballots: 13,
        blank: 1,
        overvotes: 1,
        ..Standings::default()
    };
    Outcome {
        title: "Small".to_owned(),
        ballots: 13,
        accepted: 12,
        duplicates: 1,
        expected: standings.clone(),
        standings,
        rounds: Rounds {
            options: vec!["Zoe".to_owned(), "Bo \"B\"".to_owned(), "Cy".to_owned()],
            rounds: vec![round(&[4, 2, 5], 2, Some(1), None), round(&[6, 0, 5], 2, None, Some(0))],
            ballots: 13,
        },
        watchers: 3,
        disagreement: None,
        latency: Some(SummaryMs { p50: 0.5, p95: 1.0, p99: 2.0, max: 3.0 }),
        latency_pairs: 39,
        latency_last: None,
        elapsed: Duration::from_millis(1500),
        sent_again: 0,
        longest_pause: Duration::ZERO,
        watchers_pause: Duration::ZERO,
        nodes: None,
    }
}

#[test]
fn the_object_names_only_continuing_options_in_a_round() {
    let outcome = outcome();
    let report = serde_json::to_value(outcome.report()).unwrap();
    assert_eq!(
        report["rounds"],
        serde_json::json!([
            {"votes": {"Zoe": 4, "Bo \"B\"": 2, "Cy": 5}, "exhausted": 2,
             "eliminated": "Bo \"B\""},
            {"votes": {"Zoe": 6, "Cy": 5}, "exhausted": 2, "eliminated": null},
        ])
    );
    assert_eq!(report["winner"], "Zoe");
    assert_eq!(report["first_preferences"]["Cy"], 5);
    assert_eq!(report["watchers_agree"], true);
    assert_eq!(report["votes_per_s"], 8.7);
    assert_eq!(report["faults"], serde_json::json!([]));
}

#[test]
fn names_keep_their_declared_order_in_the_object() {
    let outcome = outcome();
    let report = serde_json::to_string(&outcome.report()).unwrap();
    assert!(report.contains(r#""first_preferences":{"Zoe":4,"Bo \"B\"":2,"Cy":5}"#), "{report}");
}

#[test]
fn a_lost_ballot_is_a_fault() {
    let mut outcome = outcome();
    outcome.accepted -= 1;
    assert_eq!(outcome.faults(), ["12 of 13 ballots were answered"]);
}

#[test]
fn a_vote_for_another_is_a_fault_for_both() {
    let mut outcome = outcome();
    outcome.standings.counts = vec![5, 1, 5];
    assert_eq!(
        outcome.faults(),
        ["'Zoe' was sent 4 votes and has 5", "'Bo \"B\"' was sent 2 votes and has 1"]
    );
}

#[test]
fn a_watcher_that_disagrees_is_a_fault() {
    let mut outcome = outcome();
    outcome.disagreement = Some("1 of 3 watchers disagree".to_owned());
    assert_eq!(outcome.faults(), ["1 of 3 watchers disagree"]);
    assert!(!outcome.report().watchers_agree);
    assert!(outcome.summary().contains("WRONG      1 of 3"));
}

#[test]
fn the_summary_ranks_by_how_long_each_lasted() {
    let summary = outcome().summary();
    let at = |text: &str| summary.find(text).unwrap_or_else(|| panic!("{text}: {summary}"));
    assert!(at("Zoe              4           6\n") < at("Cy               5           5\n"));
    assert!(at("Cy  ") < at("Bo \"B\"           2           2  out in 1\n"));
    assert!(summary.contains("Zoe wins in round 2."), "{summary}");
}
