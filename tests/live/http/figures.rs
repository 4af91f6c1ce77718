//! What the metrics say of HTTP.

use std::time::{Duration, Instant};

use super::{Stream, get, post};
use crate::daemon::{Daemon, PATIENCE};

/// How often it is looked whether a figure has become another.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the metrics have this line.
#[track_caller]
fn comes(daemon: &Daemon, line: &str) {
    let started = Instant::now();
    loop {
        let metrics = daemon.get("/metrics");
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "there is no '{line}' in {metrics}");
        std::thread::sleep(LOOK);
    }
}

#[test]
fn requests_are_counted_by_route_and_what_was_answered() {
    let daemon = Daemon::start("");
    for number in 0..3 {
        post(&daemon, "/v1/topics/a.name", &format!("{{\"json\":{number}}}")).done();
    }
    get(&daemon, "/v1/topics/none/records").refused(404);
    get(&daemon, "/v1/nothing/here").refused(404);
    let requests = "tidewire_http_requests_total";
    comes(&daemon, &format!("{requests}{{route=\"/v1/topics/{{name}}\",status=\"2xx\"}} 3"));
    comes(
        &daemon,
        &format!("{requests}{{route=\"/v1/topics/{{name}}/records\",status=\"4xx\"}} 1"),
    );
    comes(&daemon, &format!("{requests}{{route=\"unknown\",status=\"4xx\"}} 1"));
    let duration = "tidewire_http_request_duration_seconds";
    comes(&daemon, &format!("{duration}_count{{route=\"/v1/topics/{{name}}\"}} 3"));
    comes(&daemon, &format!("{duration}_bucket{{route=\"/v1/topics/{{name}}\",le=\"+Inf\"}} 3"));
    assert!(!daemon.get("/metrics").contains("a.name"), "names are nobody's labels");
}

#[test]
fn streams_and_what_waits_for_them_are_counted_while_they_are_there() {
    let daemon = Daemon::start("");
    let stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    comes(&daemon, "tidewire_http_event_streams 1");
    comes(&daemon, "tidewire_http_queued_bytes 0");
    let payload = "x".repeat(100_000);
    let mut published = 0;
    // Until both systems have taken what they keep for a reader that does not read.
    while daemon.get("/metrics").contains("\ntidewire_http_queued_bytes 0\n") {
        post(&daemon, "/v1/topics/news", &format!("{{\"text\":\"{payload}\"}}")).done();
        published += 1;
        assert!(published < 1_000, "nothing waits");
    }
    drop(stream);
    comes(&daemon, "tidewire_http_event_streams 0");
    comes(&daemon, "tidewire_http_queued_bytes 0");
}
