//! Data directories as earlier servers have left them: each is opened, and holds what it held.
//!
//! `tests/live/data/format-1.tar.gz` was left by a server with [`CONFIG`] that was stopped after
//! 1,500 records ("0:xxx…", of 1,000 characters) to `orders`, `counter incr hits 7`, a ranked poll with the ballots
//! ann A, bob B and cid B, the keys one and two of `map.board`, and a group of `orders` that began at offset 10 and
//! consumed five records. A format that replaces it is to open it as well.

use std::process::{Command, Output};
use std::sync::Arc;

use crate::daemon::{Daemon, tidewire};

const CONFIG: &str = "
[limits]
topic_bytes_max = 1048576

[storage]
checkpoint_bytes = 65536

[[policy]]
names = \"map.>\"
durability = \"disk\"
map_keys_max = 100

[[policy]]
names = \">\"
durability = \"disk\"
";

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_data_directory_of_format_1_is_opened_with_all_that_it_holds() {
    let files = Arc::new(tempfile::tempdir().unwrap());
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/data/format-1.tar.gz");
    let unpacked = Command::new("tar").args(["-xzf", archive, "-C"]).arg(files.path()).status();
    assert!(unpacked.unwrap().success());
    let data = files.path().join("data");
    let mut daemon = Daemon::start_over(Arc::clone(&files), data.clone(), CONFIG);

    let exported = out(&daemon.run(&["topic", "export", "orders"]));
    for (number, line) in exported.lines().enumerate() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let payload = format!("{number}:{}", "x".repeat(1_000));
        assert_eq!(record["payload"].as_str(), Some(payload.as_str()));
    }
    assert_eq!(exported.lines().count(), 1_500);
    assert_eq!(out(&daemon.run(&["counter", "get", "hits"])).trim(), "7");
    let vote = out(&daemon.run(&["tally", "vote", "poll", "--voter", "ann", "A"]));
    assert!(vote.contains("the same ballot"), "{vote}");
    assert!(out(&daemon.run(&["tally", "get", "poll", "--json"])).contains("\"ballots\":3"));
    for (key, value) in [("one", "3"), ("two", "2")] {
        assert_eq!(out(&daemon.run(&["map", "get", "map.board", key])).trim(), value);
    }
    let group = out(&daemon.run(&["group", "status", "orders", "workers", "--json"]));
    let group: serde_json::Value = serde_json::from_str(&group).unwrap();
    assert_eq!(group["position"], 15);
    let next = out(&daemon.run(&["pub", "orders", "more", "--json"]));
    let next: serde_json::Value = serde_json::from_str(&next).unwrap();
    assert_eq!(next["offset"], 1_500);
    assert!(daemon.terminate().success());
    let verified = tidewire().args(["admin", "verify"]).arg(&data).output().unwrap();
    assert!(out(&verified).contains("whole"));
}
