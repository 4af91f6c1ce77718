//! `tidewire bench` as people and programs use it: each workload, small.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, Via, tidewire};

const SHORT: [&str; 4] = ["--seconds", "1", "--warmup-seconds", "0"];

fn bench(args: &str, more: &[&str]) -> Output {
    let words = args.split_whitespace();
    tidewire().arg("bench").args(words).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a run that is to succeed reports; beside it nothing is to be said, for lack of a terminal.
fn measured(args: &str, more: &[&str]) -> Value {
    let output = bench(args, &[more, &["--json"]].concat());
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""), "{args}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["faults"], Value::Array(Vec::new()), "{args}");
    object
}

fn refused(args: &str, more: &[&str]) -> String {
    let output = bench(args, more);
    assert_eq!(output.status.code(), Some(2), "{args}: {}", said(&output));
    said(&output)
}

#[test]
fn fanout_delivers_everything_over_each_transport() {
    for transport in ["ws", "wss", "quic"] {
        let args = format!("fanout --subscribers 6 --connections 4 --transport {transport}");
        let object = measured(&args, &SHORT);
        assert_eq!(object["workload"]["transport"], transport);
        assert!(object["deliveries"].as_u64().unwrap() > 100, "{object}");
        assert_eq!(object["missing"], 0);
        assert!(object["server_cpu_s"].as_f64().unwrap() > 0.0, "{object}");
        assert!(object["limit"].is_string(), "{object}");
    }
}

#[test]
fn publish_counts_what_is_acknowledged() {
    let args = "publish --publishers 3 --topics 3 --window 16 --batch 8 --payload 1000";
    let object = measured(args, &SHORT);
    assert!(object["acknowledged"].as_u64().unwrap() > 100, "{object}");
    assert!(object["p999_us"].as_u64().unwrap() <= object["max_us"].as_u64().unwrap());
    let output = bench("publish --ack quorum", &SHORT);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("quorum"), "{}", said(&output));
}

#[test]
fn tally_counts_votes_and_the_time_to_the_last_watcher() {
    let object = measured("tally --writers 2 --watchers 5 --connections 2", &SHORT);
    assert!(object["votes"].as_u64().unwrap() > 50, "{object}");
    assert!(object["each_watcher"]["p50_us"].as_u64() <= object["p50_us"].as_u64(), "{object}");
}

#[test]
fn latency_has_a_part_for_each_number_of_subscribers() {
    let object = measured("latency --subscribers 1,5 --rate 400 --rounds 2", &SHORT);
    let cases = object["cases"].as_array().unwrap();
    let names: Vec<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["1 subscriber", "5 subscribers"]);
    assert!(cases.iter().all(|case| case["rounds"].as_array().unwrap().len() == 2), "{object}");
}

/// Over QUIC clients hear of a server that was started again because it recognises their connections: otherwise
/// they wait for their idle timeout, far longer than this.
#[test]
fn a_storm_is_over_when_all_clients_have_caught_up() {
    for (args, back_ms_max) in [
        ("storm --clients 12 --cut restart --transport wss", 60_000.0),
        ("storm --clients 12 --cut connections --transport ws", 60_000.0),
        ("storm --clients 12 --cut restart --transport quic", 30_000.0),
    ] {
        let object = measured(args, &[]);
        assert_eq!(object["clients_caught_up"], 12, "{object}");
        assert!(object["attempts"].as_u64().unwrap() >= 12, "{object}");
        assert!(object["records"].as_u64().unwrap() > 0, "{object}");
        assert!(object["back_ms"]["max"].as_f64().unwrap() < back_ms_max, "{object}");
    }
}

#[test]
fn idle_holds_connections_in_several_processes() {
    for transport in ["ws", "wss", "quic"] {
        let args = "idle --connections 25 --connections-per-process 10 --seconds 1";
        let object = measured(args, &["--transport", transport]);
        assert_eq!(object["connections_open"], 25, "{object}");
        assert_eq!(object["connections_failed"], 0);
        assert!(object["kib_per_connection"].as_f64().unwrap() > 0.0, "{object}");
        assert!(object["reach_all_us"].as_u64().unwrap() > 0, "{object}");
    }
}

#[test]
fn idle_says_what_topics_cost() {
    let args = "idle --connections 1 --topics 20000 --seconds 1";
    let object = measured(args, &[]);
    let kib = object["kib_per_1000_topics"].as_f64().unwrap();
    assert!((100.0..5_000.0).contains(&kib), "{object}");
}

#[test]
fn idle_connections_answer_pings_and_stay_longer_than_silent_ones_would() {
    // After 300 ms without an answer a connection would be given up.
    let daemon = Daemon::start("heartbeat_ms = 100");
    let args = "idle --connections 12 --connections-per-process 7 --seconds 2";
    let object = measured(args, &["--url", &daemon.url(Via::Ws), "--admin", &daemon.admin]);
    assert_eq!(object["connections_open"], 12);
    assert!(object["pings_answered"].as_u64().unwrap() >= 12, "{object}");
    assert!(object["server_rss_bytes"].as_u64().unwrap() > 1_000_000, "{object}");
}

#[test]
fn connections_that_cannot_be_opened_are_counted_and_fail_the_run() {
    // The connection that publishes is the one.
    let daemon = Daemon::start("[limits]\nconnections_max = 1");
    let args = "idle --connections 30 --connections-per-process 15 --seconds 1 --json";
    let output = bench(args, &["--url", &daemon.url(Via::Ws)]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&object["connections_open"], &object["connections_failed"]),
        (&0.into(), &30.into())
    );
    assert!(
        said(&output).contains("30 of 30 connections could not be opened"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_saved_run_is_a_baseline_for_the_same_options_only() {
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before.json");
    let before = before.to_str().unwrap();
    measured("fanout --subscribers 3", &[&SHORT[..], &["--save", before]].concat());
    let compared =
        measured("fanout --subscribers 3", &[&SHORT[..], &["--baseline", before]].concat());
    let ratio = compared["baseline"]["ratios"]["deliveries_per_s"].as_f64().unwrap();
    assert!(ratio > 0.0, "{compared}");
    let table = bench("fanout --subscribers 3", &[&SHORT[..], &["--baseline", before]].concat());
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("before.json") && table.contains('×'), "{table}");

    // Measuring would take longer than a test may.
    let started = Instant::now();
    let refusal = refused("fanout --subscribers 4 --seconds 60", &["--baseline", before]);
    assert!(refusal.contains("subscribers is 3 there and 4 here"), "{refusal}");
    assert!(started.elapsed() < PATIENCE, "it is refused before it is measured");
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    measured(
        "fanout --subscribers 3",
        &[&SHORT[..], &["--report", file.to_str().unwrap()]].concat(),
    );
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Latency by percentile"));
    assert!(!page.contains("http") && !page.contains("<script"));
}

#[test]
fn options_that_do_not_go_together_are_refused_at_once() {
    assert!(refused("fanout --subscribers 2 --connections 3", &[]).contains("--connections 3"));
    assert!(refused("fanout --save /no/such/folder/x.json", &[]).contains("--save"));
    assert!(refused("idle --connections 1000000", &[]).contains("ulimit"));
    let config = Path::new("/no/such/config");
    let refusal = refused("publish", &["--config", config.to_str().unwrap()]);
    assert!(refusal.contains("--config /no/such/config cannot be read"), "{refusal}");
}

#[test]
fn a_server_that_is_not_there_is_said_in_one_line() {
    for args in ["fanout", "publish", "tally", "idle"] {
        let output = bench(args, &["--url", "ws://127.0.0.1:9"]);
        assert_eq!(output.status.code(), Some(3), "{args}: {}", said(&output));
        assert_eq!(said(&output).trim_end().lines().count(), 1, "{}", said(&output));
        assert!(said(&output).contains("refused"), "{args}: {}", said(&output));
    }
}

#[test]
fn the_journal_is_measured_beside_a_plain_file_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let place = ["--seconds", "1", "--directory", directory.path().to_str().unwrap(), "--json"];
    let output = bench("journal", &place);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    for figure in ["journal_records_per_s", "file_records_per_s", "ratio", "bytes_per_commit"] {
        assert!(object[figure].as_f64().unwrap() > 0.0, "{figure}: {object}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let missing = refused("journal", &["--directory", "/proc/none"]);
    assert!(missing.contains("/proc/none"), "{missing}");
}

/// The processes that a process has started and that still run.
fn children(pid: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_bench_that_is_interrupted_leaves_no_process_behind() {
    let args = ["bench", "idle", "--connections", "20", "--connections-per-process", "10"];
    let mut bench = tidewire().args(args).args(["--seconds", "60"]).spawn().unwrap();
    let started = Instant::now();
    let mut started_by_it = Vec::new();
    // The server and two that hold connections.
    while started_by_it.len() < 3 {
        assert!(started.elapsed() < PATIENCE, "only {started_by_it:?}");
        started_by_it = children(bench.id());
        std::thread::yield_now();
    }
    let pid = bench.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(bench.wait().unwrap().code(), Some(4));
    for pid in started_by_it {
        while Path::new(&format!("/proc/{pid}")).exists() {
            assert!(started.elapsed() < PATIENCE, "process {pid} is still there");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_said_with_what_to_do() {
    let daemon = Daemon::start("");
    let url = daemon.url(Via::Wss);
    let pinned = bench("publish", &["--url", &url, "--fingerprint", &"ab".repeat(32)]);
    assert_eq!(pinned.status.code(), Some(3));
    assert!(
        said(&pinned).contains(&url) && said(&pinned).contains("not the pinned"),
        "{}",
        said(&pinned)
    );
    let unknown = bench("publish", &["--url", &url]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(said(&unknown).contains("--fingerprint"), "{}", said(&unknown));
}
