//! Server-sent events: nothing is missed, and what is missing is said.

use std::time::{Duration, Instant};

use super::{Stream, ask, get, post};
use crate::daemon::{Daemon, PATIENCE};

/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(20);

const ON_DISK: &str = "[[policy]]\nnames = \">\"\ndurability = \"disk\"\n";

fn publish(daemon: &Daemon, numbers: std::ops::Range<u64>) {
    for number in numbers {
        post(daemon, "/v1/topics/news", &format!("{{\"json\":{number}}}")).done();
    }
}

fn numbers(stream: &mut Stream, count: usize) -> Vec<u64> {
    (0..count).map(|_| stream.next().unwrap().data["json"].as_u64().unwrap()).collect()
}

#[test]
fn who_comes_back_misses_nothing_also_after_a_restart() {
    let daemon = Daemon::start(ON_DISK);
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    publish(&daemon, 0..3);
    assert_eq!(numbers(&mut stream, 3), [0, 1, 2]);
    let last = format!("Last-Event-ID: {}", stream.last_id);
    drop(stream);
    publish(&daemon, 3..5);
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[&last]);
    assert_eq!(numbers(&mut stream, 2), [3, 4]);
    let last = stream.last_id.clone();
    let daemon = Daemon::start_in(daemon.kill(), ON_DISK);
    publish(&daemon, 5..6);
    let path = format!("/v1/topics/news/events?last_event_id={last}");
    let mut stream = Stream::open(&daemon, &path, &[]);
    assert_eq!(numbers(&mut stream, 1), [5]);
}

#[test]
fn what_was_in_memory_is_another_history_after_a_restart() {
    let daemon = Daemon::start("");
    publish(&daemon, 0..2);
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events?start=earliest", &[]);
    numbers(&mut stream, 2);
    let last = format!("Last-Event-ID: {}", stream.last_id);
    let daemon = Daemon::start_in(daemon.kill(), "");
    publish(&daemon, 7..8);
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[&last]);
    let gap = stream.next().unwrap();
    assert_eq!((gap.name.as_str(), &gap.data["reason"]), ("gap", &"history_changed".into()));
    assert_eq!(numbers(&mut stream, 1), [7]);
}

#[test]
fn what_is_not_kept_any_more_is_a_gap() {
    let daemon = Daemon::start("[[policy]]\nnames = \"news\"\nretention_records = 5\n");
    publish(&daemon, 0..1);
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events?start=earliest", &[]);
    assert_eq!(numbers(&mut stream, 1), [0]);
    let last = format!("Last-Event-ID: {}", stream.last_id);
    publish(&daemon, 1..20);
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[&last]);
    let gap = stream.next().unwrap();
    assert_eq!(gap.name, "gap");
    assert_eq!((&gap.data["from"], &gap.data["next"]), (&1.into(), &15.into()), "{gap:?}");
    assert_eq!(numbers(&mut stream, 5), [15, 16, 17, 18, 19]);
}

#[test]
fn who_reads_slowly_is_told_what_it_missed_and_fills_no_memory() {
    let daemon = Daemon::start("[[policy]]\nnames = \"news\"\nretention_records = 5\n");
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    let before = daemon.resident_bytes();
    let payload = "x".repeat(100_000);
    for number in 0..400 {
        let record = format!("{{\"key\":\"{number}\",\"text\":\"{payload}\"}}");
        post(&daemon, "/v1/topics/news", &record).done();
    }
    let more = daemon.resident_bytes().saturating_sub(before);
    assert!(more < 20_000_000, "{more} bytes of 40,000,000");
    let (mut next, mut missed) = (0, 0);
    while next < 400 {
        let event = stream.next().unwrap();
        if event.name == "gap" {
            assert_eq!(event.data["from"], next, "{:?}", event.data);
            missed += event.data["next"].as_u64().unwrap() - next;
            next = event.data["next"].as_u64().unwrap();
        } else {
            assert_eq!(event.data["offset"], next);
            next += 1;
        }
    }
    assert!(missed > 0, "nothing was missed");
}

#[test]
fn who_takes_nothing_is_reset_and_nothing_waits_for_it_any_more() {
    let daemon = Daemon::start("heartbeat_ms = 200\n");
    let stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    let payload = "x".repeat(100_000);
    // More than both systems and the server keep for it.
    for _ in 0..200 {
        post(&daemon, "/v1/topics/news", &format!("{{\"text\":\"{payload}\"}}")).done();
    }
    let (socket, started) = (stream.lines.get_ref(), Instant::now());
    let error = loop {
        // What has come is not read: it would make room.
        if let Some(error) = socket.take_error().unwrap() {
            break error;
        }
        assert!(started.elapsed() < PATIENCE, "the connection is still there");
        std::thread::sleep(LOOK);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn a_quiet_stream_says_that_it_is_alive() {
    let daemon = Daemon::start(
        "heartbeat_ms = 100\n[http]\nevent_heartbeat_ms = 100\nidle_timeout_ms = 200\n",
    );
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    let started = Instant::now();
    while stream.heartbeats < 5 {
        let line = stream.text().unwrap();
        stream.heartbeats += usize::from(line == ": heartbeat");
        assert!(started.elapsed() < PATIENCE, "there are no heartbeats");
    }
    publish(&daemon, 0..1);
    assert_eq!(numbers(&mut stream, 1), [0]);
}

#[test]
fn watchers_see_the_newest_value() {
    let daemon = Daemon::start("");
    let rules = r#"{"kind": "single", "options": ["yes", "no"]}"#;
    ask(&daemon, "PUT /v1/tallies/poll", &[], rules).done();
    let mut stream = Stream::open(&daemon, "/v1/tallies/poll/events", &[]);
    let info = stream.next().unwrap();
    assert_eq!((info.name.as_str(), &info.data["options"][1]), ("info", &"no".into()));
    assert_eq!(stream.next().unwrap().data["ballots"], 0);
    post(&daemon, "/v1/tallies/poll/votes", r#"{"voter": "v", "choices": [1]}"#).done();
    let update = stream.next().unwrap();
    assert_eq!(update.data["counts"], serde_json::json!([0, 1]));
    let mut likes = Stream::open(&daemon, "/v1/counters/likes/events?max_hz=10", &[]);
    for _ in 0..50 {
        post(&daemon, "/v1/counters/likes/incr", "").done();
    }
    let (mut value, mut updates) = (0, 0);
    while value < 50 {
        value = likes.next().unwrap().data["value"].as_i64().unwrap();
        updates += 1;
    }
    assert!(updates < 50, "{updates} updates");
    // Who holds the newest value is not sent it again.
    let last = format!("Last-Event-ID: {}", likes.last_id);
    let mut likes = Stream::open(&daemon, "/v1/counters/likes/events", &[&last]);
    post(&daemon, "/v1/counters/likes/incr", "").done();
    assert_eq!(likes.next().unwrap().data["value"], 51);
    let none = get(&daemon, "/v1/tallies/none/events");
    assert_eq!(none.refused(404), "not_found");
}

#[test]
fn a_server_that_stops_says_so() {
    let mut daemon = Daemon::start("");
    let mut stream = Stream::open(&daemon, "/v1/topics/news/events", &[]);
    daemon.signal("-TERM");
    let end = stream.next().unwrap();
    assert_eq!((end.name.as_str(), &end.data["code"]), ("end", &"shutting_down".into()));
    assert_eq!(stream.next(), None);
    assert!(daemon.wait().success());
}
