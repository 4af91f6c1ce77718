//! The command line as a person uses it, and what it says when something is wrong.

use std::process::Output;

use crate::daemon::{Daemon, tidewire};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn publish_and_subscribe_from_a_shell() {
    let daemon = Daemon::start("");
    assert!(daemon.run(&["pub", "news", "hello"]).status.success());
    assert!(daemon.run(&["pub", "news", "world", "--key", "k"]).status.success());
    let all = daemon.run(&["sub", "news", "--from", "earliest", "--count", "2"]);
    assert_eq!(out(&all), "hello\nworld\n");
    let json = daemon.run(&["sub", "news", "--from", "last:1", "--count", "1", "--json"]);
    let record: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!((&record["offset"], &record["key"]), (&1.into(), &"k".into()));
    let pattern = daemon.run(&["sub", "*", "--from", "earliest", "--count", "2"]);
    assert_eq!(out(&pattern), "hello\nworld\n");
}

#[test]
fn a_poll_from_a_shell_ends_with_the_right_winner() {
    let daemon = Daemon::start("");
    let create = [
        "tally", "create", "lunch", "--kind", "ranked", "--option", "soup", "--option", "pie",
        "--option", "rice",
    ];
    assert!(daemon.run(&create).status.success());
    for (voter, first, second) in
        [("a", "soup", "pie"), ("b", "pie", "soup"), ("c", "rice", "pie"), ("d", "pie", "rice")]
    {
        let vote = daemon.run(&["tally", "vote", "lunch", "--voter", voter, first, second]);
        assert!(vote.status.success(), "{}", err(&vote));
    }
    let rounds = daemon.run(&["tally", "rounds", "lunch", "--json"]);
    assert!(out(&rounds).contains("pie"), "{}", out(&rounds));
    let unknown = daemon.run(&["tally", "vote", "lunch", "--voter", "e", "stone"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        err(&unknown).contains("stone") && err(&unknown).contains("lunch"),
        "{}",
        err(&unknown)
    );
    let nothing = daemon.run(&["tally", "get", "dinner"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(err(&nothing).contains("dinner"), "{}", err(&nothing));
}

#[test]
fn a_topic_is_exported_and_imported_replayed_truncated_and_deleted() {
    let daemon = Daemon::start(
        "[[policy]]\nnames = \"orders.>\"\nallow_delete = true\n\n\
         [[policy]]\nnames = \"parted.>\"\npartitions = 4\n",
    );
    for (key, payload) in [("a", "one"), ("b", "two"), ("a", "three")] {
        let args = ["pub", "orders.all", payload, "--key", key, "--header", "h=v"];
        assert!(daemon.run(&args).status.success());
    }
    assert!(daemon.run(&["pub", "orders.all", "--key", "b", "--tombstone"]).status.success());
    let folder = tempfile::tempdir().unwrap();
    for raw in [false, true] {
        let flags: &[&str] = if raw { &["--raw"] } else { &[] };
        let export = daemon.run(&[&["topic", "export", "orders.all"][..], flags].concat());
        assert!(export.status.success(), "{}", err(&export));
        let file = folder.path().join("export");
        std::fs::write(&file, &export.stdout).unwrap();
        let path = file.to_str().unwrap();
        for into in [format!("copy.{raw}"), format!("parted.{raw}")] {
            let import = daemon.run(&[&["topic", "import", &into, path][..], flags].concat());
            assert!(err(&import).contains("4 records imported"), "{}", err(&import));
            let again = daemon.run(&[&["topic", "export", &into][..], flags].concat());
            if into.starts_with("copy") && raw {
                assert_eq!(again.stdout, export.stdout, "byte for byte");
            }
            assert!(err(&again).contains("4 records exported"), "{}", err(&again));
        }
    }
    let bad = folder.path().join("bad");
    std::fs::write(&bad, "{\"payload\": \"x\"}\n{\"pay\": 1}\n").unwrap();
    let refused = daemon.run(&["topic", "import", "copy.bad", bad.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("line 2") && err(&refused).contains("nothing was published"));
    let nothing = daemon.run(&["topic", "info", "copy.bad"]);
    assert!(err(&nothing).contains("there is no topic"), "{}", err(&nothing));

    let replay = daemon.run(&["topic", "replay", "orders.all", "--from", "offset:1"]);
    assert_eq!(out(&replay), "two\nthree\n\n");
    let replay = ["topic", "replay", "orders.all", "--into", "again", "--speed", "1000"];
    assert!(err(&daemon.run(&replay)).contains("4 records published"));
    let fast = daemon.run(&["topic", "replay", "again"]);
    assert_eq!(out(&fast), "one\ntwo\nthree\n\n");

    let truncate = ["topic", "truncate", "orders.all", "--before", "offset:2", "--json"];
    let info: serde_json::Value = serde_json::from_str(&out(&daemon.run(&truncate))).unwrap();
    assert_eq!((&info["first"], &info["next"]), (&2.into(), &4.into()));
    assert!(daemon.run(&["topic", "delete", "orders.all"]).status.success());
    let gone = daemon.run(&["topic", "info", "orders.all"]);
    assert!(err(&gone).contains("there is no topic"), "{}", err(&gone));
    let kept = daemon.run(&["topic", "delete", "again"]);
    assert_eq!(kept.status.code(), Some(1));
    assert!(err(&kept).contains("neither deleted nor truncated"), "{}", err(&kept));
}

#[test]
fn workers_of_a_group_from_a_shell() {
    let daemon = Daemon::start("");
    let rules = ["--deliveries-max", "2", "--dead-letter", "jobs.dead", "--backoff-ms", "1"];
    let create = [&["group", "create", "jobs", "mailers"][..], &rules].concat();
    assert!(daemon.run(&create).status.success());
    assert!(out(&daemon.run(&create)).contains("exists"));
    for job in ["one", "broken", "three"] {
        assert!(daemon.run(&["pub", "jobs", job]).status.success());
    }
    let command = "read job; echo \"$job $TIDEWIRE_OFFSET $TIDEWIRE_DELIVERIES\" >&2; \
                   [ \"$job\" != broken ] || exit 1";
    let consume = ["group", "consume", "jobs", "mailers", "--count", "4", "--exec", command];
    let worked = daemon.run(&consume);
    assert!(worked.status.success(), "{}", err(&worked));
    let mut lines: Vec<String> = err(&worked).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["broken 1 1", "broken 1 2", "one 0 1", "three 2 1"]);
    let dead = daemon.run(&["sub", "jobs.dead", "--from", "earliest", "--count", "1", "--json"]);
    let letter: serde_json::Value = serde_json::from_str(&out(&dead)).unwrap();
    assert_eq!(letter["payload"], "broken");
    assert_eq!(letter["headers"]["dead-reason"], "broken 1 2");
    assert_eq!(letter["headers"]["dead-offset"], "1");
    let reset = daemon.run(&["group", "reset", "jobs", "mailers", "--start", "offset:2"]);
    assert!(reset.status.success(), "{}", err(&reset));
    let printed = daemon.run(&["group", "consume", "jobs", "mailers", "--count", "1"]);
    assert_eq!(out(&printed), "three\n");
    let status = daemon.run(&["group", "status", "jobs", "mailers", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out(&status)).unwrap();
    assert_eq!((&status["lag"], &status["position"]), (&0.into(), &3.into()));
    let beyond = daemon.run(&["group", "reset", "jobs", "mailers", "--start", "offset:9"]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(err(&beyond).contains("goes from 0 to 3"), "{}", err(&beyond));
    assert!(daemon.run(&["group", "delete", "jobs", "mailers"]).status.success());
    let gone = daemon.run(&["group", "status", "jobs", "mailers"]);
    assert!(err(&gone).contains("create it first"), "{}", err(&gone));
}

#[test]
fn counters_from_a_shell() {
    let daemon = Daemon::start("");
    assert!(daemon.run(&["counter", "incr", "hits", "5"]).status.success());
    let value = daemon.run(&["counter", "get", "hits"]);
    assert!(out(&value).contains('5'), "{}", out(&value));
    let strict = daemon.run(&["counter", "incr", "hits", "9", "--max", "10", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(err(&strict).contains("hits"), "{}", err(&strict));
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let daemon = Daemon::start("");
    let second = tidewire()
        .args(["serve", "--listen", daemon.address(), "--admin-listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    let message = err(&second);
    assert!(
        message.contains(daemon.address()) && message.trim_end().lines().count() == 1,
        "{message}"
    );
}

#[test]
fn a_data_directory_that_is_a_file_and_a_missing_config_are_said_in_one_line() {
    let daemon = Daemon::start("");
    let file = daemon.files().join("tidewire.toml");
    let listen = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let bad = tidewire().args(listen).arg("--data-dir").arg(&file).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(err(&bad).contains("tidewire.toml"), "{}", err(&bad));
    let missing = tidewire().args(listen).args(["--config", "/nowhere.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(err(&missing).trim_end().lines().count(), 1, "{}", err(&missing));
}

#[test]
fn a_typo_in_the_configuration_is_shown_with_a_caret() {
    let daemon = Daemon::start("");
    let file = daemon.files().join("typo.toml");
    std::fs::write(&file, "heartbeat_ms = 1000\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let check = tidewire().args(["config", "check"]).arg(&file).output().unwrap();
    assert_eq!(check.status.code(), Some(2));
    let message = err(&check);
    assert!(
        message.contains("lissten")
            && message.contains('^')
            && message.contains("did you mean `listen`"),
        "{message}"
    );
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/tidewire.toml");
    assert!(tidewire().args(["config", "check", shipped]).status().unwrap().success());
}

#[test]
fn no_server_is_an_exit_code_of_its_own() {
    let output =
        tidewire().args(["counter", "get", "x", "--url", "ws://127.0.0.1:9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(err(&output).contains("127.0.0.1:9"), "{}", err(&output));
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let daemon = Daemon::start("");
    let get = |path: &str| daemon.get(path);
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").contains("tidewire_connections"));
    assert!(get("/v1/policy?name=map.x").contains("\"decided_by\":\"map.>\""));
}
