//! A recording of the real server under load, replayed without it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Instant;

use serde_json::Value;
use tidewire_client::{
    AckLevel, BodyBuilder, Choice, Client, CounterOp, CounterOptions, Name, Pattern,
    PublishOptions, Start, SubscribeOptions, TallyKind, TallyRules,
};

use crate::daemon::{Daemon, PATIENCE, Via, tidewire};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn record(daemon: &Daemon, args: &[&str]) -> Output {
    let all = [&["admin", "--admin", &daemon.admin, "record", "--json"], args].concat();
    daemon.run(&all)
}

/// What a command of `admin record` answers; it must succeed.
fn recorded(daemon: &Daemon, args: &[&str]) -> Value {
    let output = record(daemon, args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn start(daemon: &Daemon, args: &[&str]) -> PathBuf {
    let status = recorded(daemon, &[&["start"], args].concat());
    assert_eq!(status["state"], "recording");
    status["file"].as_str().unwrap().into()
}

/// Replays a file; the exit code and what was printed as JSON.
fn replay(file: &PathBuf, args: &[&str]) -> (Option<i32>, Value, String) {
    let output = tidewire().args(["replay", "--json"]).arg(file).args(args).output().unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), printed, text(&output.stderr))
}

/// Does something of everything, `rounds` times, over one connection.
async fn load(client: &Client, who: &str, rounds: u64) {
    let options = ["soup", "pie"].map(str::to_owned).to_vec();
    let rules = TallyRules::new(TallyKind::Single, options);
    client.create_tally(&name("lunch"), rules).await.unwrap();
    for round in 0..rounds {
        let payload = format!("{who} {round}");
        client.publish(&format!("news.{}", round % 20), &payload).await.unwrap();
        let mut body = BodyBuilder::new();
        body.push(Some(&format!("key {}", round % 30)), &[], Some(payload.as_bytes()));
        let (map, memory) = (name("map.users"), AckLevel::Memory);
        let brief = PublishOptions { ttl_ms: Some(20), ..PublishOptions::default() };
        client.publish_body(&map, body.finish(), memory, brief).await.unwrap();
        let counter = CounterOptions {
            id: Some(format!("{who} {round}")),
            ttl_ms: Some(30),
            ..CounterOptions::default()
        };
        client.count(&name("brief"), CounterOp::Add, 1, counter).await.unwrap();
        client.incr(&name(&format!("hits.{}", round % 9)), 3).await.unwrap();
        let choices = vec![Choice::Index(round % 2)];
        let voter = format!("voter {}", round % 50);
        client.vote(&name("lunch"), &voter, choices, None).await.unwrap();
        let member = format!("{who} {}", round % 5);
        client.presence_join(&name("room"), &member, None).await.unwrap();
        client.presence_leave(&name("room"), &member).await.unwrap();
    }
}

#[test]
fn a_server_with_eventual_counters_is_recorded_only_by_who_knows_that_they_are_not() {
    let daemon = Daemon::start("[[policy]]\nnames = \"likes.>\"\nconsistency = \"eventual\"\n");
    let refused = record(&daemon, &["start"]);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("are in no shard") && said.contains("--without-eventual"), "{said}");
    assert_eq!(recorded(&daemon, &["status"])["state"], "idle");
    start(&daemon, &["--without-eventual"]);
    assert_eq!(recorded(&daemon, &["stop"])["state"], "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_under_load_replays_to_the_state_of_the_server() {
    let daemon = Daemon::start("");
    let (one, two) = (daemon.connect(Via::Ws).await, daemon.connect(Via::Quic).await);
    let pattern = Pattern::parse("news.>").unwrap();
    let options = SubscribeOptions::default();
    let _follower = one.subscribe(&pattern, Start::Latest, options).await.unwrap();
    load(&one, "before", 40).await;
    let under_load = async {
        tokio::join!(load(&one, "one", 150), load(&two, "two", 150));
    };
    let recording = async {
        let file = tokio::task::block_in_place(|| start(&daemon, &["--out", "load.twr"]));
        let third = daemon.connect(Via::Wss).await;
        load(&third, "three", 60).await;
        drop(third);
        file
    };
    let (file, ()) = tokio::join!(recording, under_load);
    let stopped = recorded(&daemon, &["stop"]);
    assert_eq!((&stopped["state"], &stopped["shards"]), (&"finished".into(), &16.into()));
    assert_eq!(stopped["stop_code"], "requested");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // What happens after the end is no part of it.
    load(&two, "after", 5).await;

    let (code, outcome, message) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{message}");
    assert_eq!((&outcome["equal"], &outcome["end"]["code"]), (&true.into(), &"requested".into()));
    assert_eq!(outcome["inputs"], stopped["inputs"]);
    assert!(outcome["inputs"].as_u64().unwrap() > 400, "{outcome}");
    let shards = outcome["shards"].as_array().unwrap();
    assert!(shards.len() == 16 && shards.iter().all(|shard| shard["equal"] == true), "{outcome}");

    // The state at the end is the one that clients were told.
    let (code, outcome, _) = replay(&file, &["--until", &stopped["inputs"].to_string()]);
    assert_eq!(code, Some(0));
    let all = |kind: &str| -> Vec<Value> {
        let shards = outcome["shards"].as_array().unwrap();
        shards.iter().flat_map(|s| s["state"][kind].as_array().unwrap().clone()).collect()
    };
    let hits: i64 = all("counters").iter().filter_map(|counter| counter["value"].as_i64()).sum();
    assert!(hits > 0 && all("topics").len() == 21, "{outcome}");
    assert_eq!(all("tallies")[0]["ballots"], 50);
}

#[tokio::test]
async fn a_recording_of_a_server_that_is_killed_replays_up_to_its_tail() {
    let mut daemon = Daemon::start("");
    let client = daemon.connect(Via::Ws).await;
    load(&client, "before", 5).await;
    let file = start(&daemon, &["--file", "killed"]);
    load(&client, "recorded", 100).await;
    let begun = Instant::now();
    // What a client was told is in the file before long, without anybody asking for it.
    loop {
        let status = recorded(&daemon, &["status"]);
        let written = std::fs::metadata(&file).unwrap().len();
        if status["inputs"].as_u64().unwrap() >= 700 && Some(written) == status["bytes"].as_u64() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
    }
    daemon.signal("-KILL");
    daemon.wait();
    let (code, outcome, message) = replay(&file, &[]);
    assert_eq!(code, Some(0), "{message}");
    assert_eq!((&outcome["equal"], &outcome["end"]), (&true.into(), &Value::Null));
    assert!(outcome["inputs"].as_u64().unwrap() >= 700, "{outcome}");

    // The same with a frame that is not whole.
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 7]).unwrap();
    let (code, outcome, _) = replay(&file, &[]);
    assert_eq!(code, Some(0));
    assert!(outcome["torn"]["bytes"].as_u64().unwrap() > 0, "{outcome}");
    let said = tidewire().arg("replay").arg(&file).output().unwrap();
    assert!(text(&said.stdout).contains("in the middle of a frame"), "{}", text(&said.stdout));

    // And with a byte that is not the one that was written.
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    let (code, outcome, message) = replay(&file, &[]);
    assert_eq!((code, &outcome["ended"]), (Some(2), &"unreadable".into()), "{message}");
    assert!(message.contains("damaged at byte") && message.contains("killed"), "{message}");
}

#[tokio::test]
async fn a_bound_ends_a_recording_and_everybody_is_told() {
    let daemon = Daemon::start("");
    let client = daemon.connect(Via::Ws).await;
    let file = start(&daemon, &["--out", "bounded", "--max-bytes", "65536"]);
    let begun = Instant::now();
    let status = loop {
        load(&client, "load", 20).await;
        let status = recorded(&daemon, &["status"]);
        if status["state"] == "finished" {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
    };
    assert_eq!(status["stop_code"], "max_bytes");
    assert!(status["stop_reason"].as_str().unwrap().contains("65536"));
    assert!(std::fs::metadata(&file).unwrap().len() <= 65_536);
    let (code, outcome, message) = replay(&file, &[]);
    assert_eq!((code, &outcome["end"]["code"]), (Some(0), &"max_bytes".into()), "{message}");
    let again = record(&daemon, &["stop"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("bound of 65536 bytes"), "{}", text(&again.stderr));

    let file = start(&daemon, &["--out", "brief", "--max-seconds", "1"]);
    while recorded(&daemon, &["status"])["state"] != "finished" {
        assert!(begun.elapsed() < PATIENCE);
        load(&client, "load", 5).await;
    }
    assert_eq!(replay(&file, &[]).1["end"]["code"], "max_seconds");
}

#[tokio::test]
async fn a_server_that_stops_completes_its_recording() {
    let mut daemon = Daemon::start("drain_ms = 100");
    let client = daemon.connect(Via::Ws).await;
    let file = start(&daemon, &["--out", "stopped"]);
    load(&client, "load", 10).await;
    daemon.signal("-TERM");
    assert!(daemon.wait().success());
    let (code, outcome, message) = replay(&file, &[]);
    assert_eq!((code, &outcome["equal"]), (Some(0), &true.into()), "{message}");
    assert_eq!(outcome["end"]["code"], "server_stopping");
    assert!(outcome["shards"].as_array().unwrap().iter().all(|shard| shard["equal"] == true));
}

#[tokio::test]
async fn a_person_goes_through_a_recording_input_by_input() {
    let daemon = Daemon::start("");
    let said = tidewire()
        .args(["admin", "record", "start", "--out", "steps", "--admin", &daemon.admin])
        .output()
        .unwrap();
    assert!(text(&said.stdout).starts_with("recording to "), "{}", text(&said.stdout));
    assert!(text(&said.stderr).contains("payloads"), "{}", text(&said.stderr));
    let begun = Instant::now();
    while recorded(&daemon, &["status"])["shards"] != 16 {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(daemon.run(&["counter", "incr", "hits", "5"]).status.success());
    assert!(daemon.run(&["pub", "news", "hello"]).status.success());
    assert!(daemon.run(&["counter", "incr", "hits", "2"]).status.success());
    let file: PathBuf = recorded(&daemon, &["stop"])["file"].as_str().unwrap().into();

    let steps = |args: &[&str], typed: &str| -> String {
        let mut command = tidewire();
        command.arg("replay").arg(&file).arg("--step").args(args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let all = steps(&[], &"\n".repeat(50));
    for expected in [
        "counter hits: add 5",
        "counted to 5 (by 5)",
        "publish news: 1 records, ack policy, number 1 of producer ",
        ": \"hello\"",
        "published at 0",
        "counted to 7 (by 2)",
        "equal: ",
    ] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
    let one = steps(&[], "\nq\n");
    assert!(one.contains("#1 ") && !one.contains("#2 "), "{one}");
    assert!(one.contains("stopped after 1 inputs"), "{one}");
    let later = steps(&["--until", "1"], "\nq\n");
    assert!(!later.contains("#1 ") && later.contains("#2 ") && !later.contains("#3 "), "{later}");

    let (_, state, _) = replay(&file, &["--until", "1"]);
    let counters = state["shards"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|shard| shard["state"]["counters"].as_array().unwrap().clone());
    assert_eq!(counters.map(|counter| counter["value"].clone()).collect::<Vec<_>>(), [5]);
    let (_, early, _) = replay(&file, &["--until", "2001-01-01T00:00:00Z"]);
    assert_eq!((&early["inputs"], &early["ended"]), (&0.into(), &"stopped".into()));
}

/// Writes other bytes over some in the frames of a recording, with the right checksums.
fn forge(file: &PathBuf, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    let mut at = 20;
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let content = &mut bytes[at + 8..at + 8 + len];
        if let Some(place) = content.windows(from.len()).position(|window| window == from) {
            content[place..place + to.len()].copy_from_slice(to);
        }
        let checksum = crc32fast::hash(content);
        bytes[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        at += 8 + len;
    }
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_replay_that_ends_elsewhere_says_where_it_left_the_recording() {
    let daemon = Daemon::start("");
    let file = start(&daemon, &["--out", "forged"]);
    let begun = Instant::now();
    while recorded(&daemon, &["status"])["shards"] != 16 {
        assert!(begun.elapsed() < PATIENCE);
    }
    let client = daemon.connect(Via::Ws).await;
    client.publish("news", "what was said").await.unwrap();
    recorded(&daemon, &["stop"]);
    forge(&file, b"what was said", b"what was not ");
    let (code, outcome, message) = replay(&file, &[]);
    assert_eq!((code, &outcome["equal"]), (Some(1), &false.into()), "{message}");
    assert_eq!(outcome["divergence"]["shard_input"], 1);
    assert!(message.contains("leaves the recording at input 1, input 1 of shard"), "{message}");
}

#[test]
fn what_cannot_be_recorded_or_replayed_is_said_in_one_line() {
    let daemon = Daemon::start("");
    for (args, expected) in [
        (&["start", "--out", "../evil"][..], "../evil"),
        (&["start", "--out", "a", "--max-bytes", "1"], "max_bytes"),
        (&["stop"], "nothing is being recorded"),
    ] {
        let output = record(&daemon, args);
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.contains(expected) && message.trim_end().lines().count() == 1, "{message}");
    }
    assert!(!daemon.data_dir().join("recordings").exists());
    start(&daemon, &["--out", "one"]);
    let second = record(&daemon, &["start", "--out", "two"]);
    assert!(text(&second.stderr).contains("'one' is under way"), "{}", text(&second.stderr));
    recorded(&daemon, &["stop"]);
    let again = record(&daemon, &["start", "--out", "one"]);
    assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));

    let nobody = tidewire().args(["admin", "--admin", "127.0.0.1:9", "record", "stop"]).output();
    assert_eq!(nobody.unwrap().status.code(), Some(3));
    let config = daemon.files().join("tidewire.toml");
    std::fs::write(&config, "heartbeat_ms = 25000\nnode = \"not-a-recording-at-all\"\n").unwrap();
    for (file, expected) in [(config, "no recording"), ("/nowhere".into(), "/nowhere")] {
        let (code, _, message) = replay(&file, &[]);
        assert_eq!(code, Some(2));
        assert!(message.contains(expected) && message.trim_end().lines().count() == 1, "{message}");
    }
}
