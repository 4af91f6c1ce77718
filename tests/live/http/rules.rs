//! Who may do what over HTTP, and how refusals look.

use super::{Reply, Stream, ask, get, post};
use crate::accounts::Accounts;
use crate::daemon::{Daemon, tidewire};

fn ask_as(accounts: &Accounts, token: &str, request: &str, body: &str) -> Reply {
    let bearer = format!("Authorization: Bearer {token}");
    ask(&accounts.daemon, request, &["Content-Type: application/json", &bearer], body)
}

#[test]
fn permissions_are_those_of_every_other_connection() {
    let accounts = Accounts::start("");
    let nobody = get(&accounts.daemon, "/v1/counters/likes");
    assert_eq!(nobody.refused(401), "unauthenticated");
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    let (viewer, backend) = (accounts.viewer(), accounts.backend());
    ask_as(&accounts, &backend, "POST /v1/counters/likes/incr", "").done();
    assert_eq!(ask_as(&accounts, &viewer, "GET /v1/counters/likes", "").done()["value"], 1);
    let refused = ask_as(&accounts, &viewer, "POST /v1/counters/likes/incr", "");
    assert_eq!(refused.refused(403), "forbidden");
    let record = r#"{"json": 1}"#;
    ask_as(&accounts, &backend, "POST /v1/topics/secret.a", record).done();
    for path in ["/v1/topics/secret.a/records", "/v1/topics/secret.a/events"] {
        let refused = ask_as(&accounts, &viewer, &format!("GET {path}"), "");
        assert_eq!(refused.refused(403), "forbidden");
    }
    let batch = r#"[{"publish": {"topic": "user.ann.a", "records": [{"json": 1}]}},
        {"publish": {"topic": "news", "records": [{"json": 1}]}}]"#;
    let outcomes = ask_as(&accounts, &viewer, "POST /v1/batch", batch).done();
    assert_eq!((&outcomes[0]["status"], &outcomes[1]["status"]), (&200.into(), &403.into()));
    let forged = ask_as(&accounts, "x.y.z", "GET /v1/counters/likes", "");
    assert_eq!(forged.refused(401), "unauthenticated");
}

#[test]
fn a_person_votes_as_who_the_token_names() {
    let accounts = Accounts::start("");
    let rules = r#"{"kind": "single", "options": ["a", "b"]}"#;
    ask_as(&accounts, &accounts.backend(), "PUT /v1/tallies/poll", rules).done();
    let viewer = accounts.viewer();
    let vote = |ballot| ask_as(&accounts, &viewer, "POST /v1/tallies/poll/votes", ballot);
    assert_eq!(vote(r#"{"choices": ["a"]}"#).done()["status"], "accepted");
    assert_eq!(vote(r#"{"choices": ["a"]}"#).done()["status"], "duplicate");
    assert_eq!(vote(r#"{"voter": "bob", "choices": ["a"]}"#).refused(403), "forbidden");
}

#[test]
fn pages_of_other_origins_may_not_ask() {
    let daemon = Daemon::start("[http]\nallowed_origins = [\"https://app.example\"]\n");
    let from = |origin: &str, request: &str, more: &[&str]| {
        let origin = format!("Origin: {origin}");
        ask(&daemon, request, &[&[origin.as_str()], more].concat(), "")
    };
    let asks = ["Access-Control-Request-Method: POST"];
    let preflight = from("https://app.example", "OPTIONS /v1/topics/a", &asks);
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("idempotency-key"));
    let done = from("https://app.example", "POST /v1/counters/c/incr", &[]);
    assert_eq!((done.status, done.header("vary")), (200, Some("Origin")));
    assert_eq!(done.header("access-control-allow-origin"), Some("https://app.example"));
    for request in ["OPTIONS /v1/topics/a", "POST /v1/counters/c/incr", "GET /v1/counters/c"] {
        let refused = from("https://evil.example", request, &asks);
        assert_eq!(refused.refused(403), "forbidden");
        assert_eq!(refused.header("access-control-allow-origin"), None);
    }
    assert_eq!(get(&daemon, "/v1/counters/c").done()["value"], 1);
}

#[test]
fn a_request_that_is_none_is_refused_with_what_to_do() {
    let daemon = Daemon::start("[limits]\nmax_frame_bytes = 4096\n");
    assert_eq!(get(&daemon, "/v1/nothing").refused(404), "not_found");
    let method = ask(&daemon, "DELETE /v1/tallies/t", &[], "");
    assert_eq!(method.refused(405), "method_not_allowed");
    assert_eq!(method.header("allow"), Some("GET, PUT"));
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let refused = ask(&daemon, "POST /v1/topics/a", &form, "a=b");
    assert_eq!(refused.refused(415), "unsupported_media_type");
    assert_eq!(post(&daemon, "/v1/topics/a", &"x".repeat(4097)).refused(413), "frame_too_large");
    assert_eq!(post(&daemon, "/v1/topics/a..b", "{}").refused(400), "invalid_name");
    assert_eq!(post(&daemon, "/v1/topics/a", "{").refused(422), "invalid_argument");
    assert_eq!(
        post(&daemon, "/v1/topics/a?ack=none", r#"{"json":1}"#).refused(422),
        "invalid_argument"
    );
    assert_eq!(
        post(&daemon, "/v1/topics/a?colour=red", r#"{"json":1}"#).refused(422),
        "invalid_argument"
    );
    assert_eq!(post(&daemon, "/v1/topics/$a", r#"{"json":1}"#).refused(403), "forbidden");
    assert_eq!(
        post(&daemon, "/v1/topics/a?ack=disk", r#"{"json":1}"#).refused(422),
        "ack_unsupported"
    );
    assert_eq!(get(&daemon, "/v1/topics/a/records").refused(404), "not_found", "nothing was done");
}

#[test]
fn who_asks_too_much_is_told_when_to_come_again() {
    let daemon = Daemon::start("[limits]\naddress_requests_per_s = 2\n");
    let reply = (0..50)
        .map(|_| post(&daemon, "/v1/counters/c/incr", ""))
        .find(|reply| reply.status != 200)
        .expect("there is a limit");
    assert_eq!(reply.refused(429), "rate_limited");
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(reply.json()["retry_after_ms"].as_u64().is_some());
}

#[test]
fn an_administrator_sees_and_ends_sessions_of_http() {
    let daemon = Daemon::start("");
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    let list = daemon.get("/v1/connections");
    assert!(list.contains("\"transport\":\"http\""), "{list}");
    let kill = ["admin", "--admin", &daemon.admin, "connection", "kill", "--address", "127.0.0.1"];
    let killed = tidewire().args(kill).output().unwrap();
    assert!(killed.status.success(), "{killed:?}");
    let end = stream.next().unwrap();
    assert_eq!((end.name.as_str(), &end.data["code"]), ("end", &"forbidden".into()));
    assert_eq!(stream.next(), None);
}
