//! Counters and tallies over HTTP.

use super::{Reply, ask, get, post};
use crate::daemon::Daemon;

const ON_DISK: &str = "[[policy]]\nnames = \">\"\ndurability = \"disk\"\n";

fn increment(daemon: &Daemon, key: &str, body: &str) -> Reply {
    let key = format!("Idempotency-Key: \"{key}\"");
    let headers = ["Content-Type: application/json", &key];
    ask(daemon, "POST /v1/counters/likes/incr", &headers, body)
}

#[test]
fn an_increment_counts_once_also_after_a_restart() {
    let daemon = Daemon::start(ON_DISK);
    assert_eq!(increment(&daemon, "a", r#"{"by": 5}"#).done()["value"], 5);
    let daemon = Daemon::start_in(daemon.kill(), ON_DISK);
    let again = increment(&daemon, "a", r#"{"by": 5}"#).done();
    assert_eq!((&again["value"], &again["duplicate"]), (&5.into(), &true.into()));
    assert_eq!(increment(&daemon, "a", r#"{"by": 6}"#).refused(422), "invalid_argument");
    assert_eq!(increment(&daemon, "b", "").done()["value"], 6);
    assert_eq!(get(&daemon, "/v1/counters/likes").done()["value"], 6);
    assert_eq!(get(&daemon, "/v1/counters/none").refused(404), "not_found");
}

#[test]
fn a_bound_is_kept_or_refused() {
    let daemon = Daemon::start("");
    let path = "/v1/counters/seats/incr";
    let done = post(&daemon, path, r#"{"by": 7, "max": 5}"#).done();
    assert_eq!((&done["value"], &done["applied"]), (&5.into(), &5.into()));
    let refused = post(&daemon, path, r#"{"by": 1, "max": 5, "strict": true}"#);
    assert_eq!(refused.refused(422), "out_of_range");
}

#[test]
fn a_voter_counts_once_also_after_a_restart() {
    let daemon = Daemon::start(ON_DISK);
    let rules = r#"{"kind": "single", "options": ["tea", "coffee"]}"#;
    let create = |daemon: &Daemon| ask(daemon, "PUT /v1/tallies/drinks", &[], rules);
    assert_eq!(create(&daemon).done()["created"], true);
    assert_eq!(create(&daemon).done()["created"], false);
    let vote = |daemon: &Daemon, voter: &str, choice: &str| {
        let ballot = format!("{{\"voter\":\"{voter}\",\"choices\":[\"{choice}\"]}}");
        post(daemon, "/v1/tallies/drinks/votes", &ballot)
    };
    assert_eq!(vote(&daemon, "ann", "tea").done()["status"], "accepted");
    let daemon = Daemon::start_in(daemon.kill(), ON_DISK);
    assert_eq!(vote(&daemon, "ann", "tea").done()["status"], "duplicate");
    assert_eq!(vote(&daemon, "bob", "coffee").done()["status"], "accepted");
    assert_eq!(vote(&daemon, "ann", "coffee").done()["status"], "changed");
    assert_eq!(vote(&daemon, "ann", "milk").refused(422), "unknown_option");
    let standings = get(&daemon, "/v1/tallies/drinks").done();
    assert_eq!(standings["counts"], serde_json::json!([0, 2]));
    assert_eq!(standings["options"], serde_json::json!(["tea", "coffee"]));
    assert_eq!(get(&daemon, "/v1/tallies/none").refused(404), "not_found");
}
