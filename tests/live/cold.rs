//! Topics on disk that are larger than what may be in memory.

use std::process::Output;
use std::sync::Arc;

use tidewire_client::{AckLevel, BodyBuilder, Name, PublishOptions};

use crate::daemon::{Daemon, Via, tidewire};

const RECORDS: usize = 6_000;
const RECORDS_PER_PUBLISH: usize = 10;
const PAYLOAD_BYTES: usize = 2_000;

/// All topics together have a mebibyte in memory: each shard has 32 KiB.
const CONFIG: &str = "
[limits]
topic_bytes_max = 1048576

[storage]
checkpoint_bytes = 1048576

[[policy]]
names = \">\"
durability = \"disk\"
";

fn payload(number: usize) -> String {
    format!("{number}:{}", "x".repeat(PAYLOAD_BYTES))
}

async fn filled() -> Daemon {
    let daemon = Daemon::start(CONFIG);
    let client = daemon.connect(Via::Ws).await;
    let topic = Name::parse("orders").unwrap();
    let mut under_way = Vec::new();
    for first in (0..RECORDS).step_by(RECORDS_PER_PUBLISH) {
        let mut body = BodyBuilder::new();
        for number in first..first + RECORDS_PER_PUBLISH {
            body.push(Some("key"), &[], Some(payload(number).as_bytes()));
        }
        let (body, options) = (body.finish(), PublishOptions::default());
        let pending = client.start_publish(&topic, body, AckLevel::Disk, options).await.unwrap();
        under_way.push(pending);
    }
    for pending in under_way {
        assert_eq!(pending.await.unwrap().level, AckLevel::Disk);
    }
    daemon
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a metric says.
fn metric(daemon: &Daemon, name: &str) -> u64 {
    let metrics = daemon.get("/metrics");
    let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name}")).split(' ').nth(1).unwrap().parse().unwrap()
}

/// The number of a payload, which has to be whole.
fn number(found: &str) -> usize {
    let number = found.split_once(':').unwrap().0.parse().unwrap();
    assert_eq!(found, payload(number));
    number
}

fn export(daemon: &Daemon, args: &[&str]) -> Vec<usize> {
    let exported = out(&daemon.run(&[&["topic", "export", "orders"][..], args].concat()));
    let record = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        number(record["payload"].as_str().unwrap())
    };
    exported.lines().map(record).collect()
}

fn all() -> Vec<usize> {
    (0..RECORDS).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_though_little_is_in_memory() {
    let daemon = filled().await;
    let kept = metric(&daemon, "tidewire_topic_bytes");
    let in_memory = metric(&daemon, "tidewire_topic_memory_bytes");
    assert!(kept > 12_000_000, "{kept}");
    // What is not in a closed part of the journal yet stays in memory as well.
    assert!(in_memory < 2_000_000, "{in_memory}");
    assert_eq!(export(&daemon, &[]), all());
    assert!(metric(&daemon, "tidewire_recalls_total") > 0);

    let daemon = Daemon::start_in(daemon.kill(), CONFIG);
    assert_eq!(export(&daemon, &[]), all(), "after a crash as well");
    assert_eq!(export(&daemon, &["--from", "offset:4000"]), all()[4_000..]);
    assert_eq!(export(&daemon, &["--from", "last:1500"]), all()[RECORDS - 1_500..]);
    let mut daemon = daemon;
    let by_pattern = daemon.run(&["sub", "*", "--from", "earliest", "--count", "6000"]);
    assert_eq!(out(&by_pattern).matches(":xxxx").count(), RECORDS);

    assert!(
        daemon
            .run(&["group", "create", "orders", "workers", "--start", "earliest"])
            .status
            .success()
    );
    let consumed = daemon.run(&["group", "consume", "orders", "workers", "--count", "2000"]);
    let consumed = out(&consumed);
    let numbers: Vec<usize> = consumed.lines().map(number).collect();
    assert_eq!(numbers, all()[..2_000]);
    assert!(daemon.terminate().success());
}

/// Bytes that the files of the journal take.
fn journal_bytes(daemon: &Daemon) -> u64 {
    let db = daemon.data_dir().join("journal").join("db");
    db.metadata().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_value_of_each_key_outlives_its_records() {
    let config = format!("{CONFIG}map_keys_max = 100\nretention_records = 500\n");
    let mut daemon = Daemon::start(&config);
    let client = daemon.connect(Via::Ws).await;
    let topic = Name::parse("prices").unwrap();
    let publish = async |key: &str, value: Option<&str>| {
        let mut body = BodyBuilder::new();
        body.push(Some(key), &[], value.map(str::as_bytes));
        let options = PublishOptions::default();
        client.publish_body(&topic, body.finish(), AckLevel::Disk, options).await.unwrap();
    };
    for key in 0..50 {
        publish(&format!("rare {key}"), Some("old")).await;
    }
    publish("rare 7", Some("newer")).await;
    publish("rare 8", None).await;
    let mut sizes = Vec::new();
    for round in 0..8 {
        let mut under_way = Vec::new();
        for number in 0..200 {
            let mut body = BodyBuilder::new();
            for _ in 0..RECORDS_PER_PUBLISH {
                body.push(Some("often"), &[], Some(payload(round * 1_000 + number).as_bytes()));
            }
            let (body, options) = (body.finish(), PublishOptions::default());
            under_way
                .push(client.start_publish(&topic, body, AckLevel::Disk, options).await.unwrap());
        }
        for pending in under_way {
            pending.await.unwrap();
        }
        sizes.push(journal_bytes(&daemon));
    }
    // A megabyte is kept. The file grows in steps of 16 MiB, one or two of which fall into the last rounds
    // or not; if nothing were used again, each round would add 20 MB.
    assert!(sizes[7] < sizes[3] + 40_000_000, "what has gone is used again: {sizes:?}");
    drop(client);
    daemon = Daemon::start_in(daemon.kill(), &config);
    let first = out(&daemon.run(&["topic", "info", "prices", "--json"]));
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert!(first["first"].as_u64().unwrap() > 10_000, "the records of the keys are gone: {first}");
    let entries = out(&daemon.run(&["map", "get", "prices", "--json"]));
    let entries: serde_json::Value = serde_json::from_str(&entries).unwrap();
    let keys = entries["entries"].as_array().unwrap().len();
    assert_eq!(keys, 50, "49 rare ones and the one that is written often");
    let get = |key: &str| daemon.run(&["map", "get", "prices", key]);
    assert_eq!(out(&get("rare 3")).trim(), "old");
    assert_eq!(out(&get("rare 7")).trim(), "newer");
    assert!(!get("rare 8").status.success(), "it was deleted");
    assert_eq!(out(&get("often")).trim(), payload(7_199));
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_what_is_on_disk_only() {
    let mut daemon = filled().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("backup"), folder.path().join("restored"));
    let (path, restored) = (file.to_str().unwrap(), data.to_str().unwrap());
    let run = |args: &[&str]| out(&tidewire().args(args).output().unwrap());
    assert!(run(&["admin", "backup", path, "--admin", &daemon.admin]).contains("whole"));
    assert!(run(&["admin", "verify", path]).contains("whole"));
    let mut key = daemon.data_dir().as_os_str().to_owned();
    key.push(".master-key");
    let mut beside = data.as_os_str().to_owned();
    beside.push(".master-key");
    std::fs::copy(&key, &beside).unwrap();
    assert!(daemon.terminate().success());
    run(&["admin", "restore", path, "--data-dir", restored]);
    assert!(run(&["admin", "verify", restored]).contains("whole"));
    let files = Arc::new(tempfile::tempdir().unwrap());
    let mut again = Daemon::start_over(Arc::clone(&files), data.clone(), CONFIG);
    assert_eq!(export(&again, &[]), all());
    // More, so that what was in the saved state comes into the journal's parts as well.
    let lines: String = (RECORDS..RECORDS + 1_000).map(|number| payload(number) + "\n").collect();
    std::fs::write(files.path().join("lines"), &lines).unwrap();
    let stdin = std::fs::File::open(files.path().join("lines")).unwrap();
    let url = again.url(Via::Ws);
    let args = ["pub", "orders", "--stdin", "--url", &url];
    assert!(tidewire().args(args).stdin(stdin).status().unwrap().success());
    let both: Vec<usize> = (0..RECORDS + 1_000).collect();
    assert_eq!(export(&again, &[]), both);
    assert!(again.terminate().success());
    let mut again = Daemon::start_over(files, data, CONFIG);
    assert_eq!(export(&again, &[]), both);
    assert!(again.terminate().success());
}
