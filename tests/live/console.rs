//! The console's side of the admin listener: its page, its WebSocket, lists of names, and the stream of what happens.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use tidewire_client::{Name, Pattern, Start, SubscribeOptions};

use crate::daemon::{Daemon, PATIENCE, Via};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: tidewire.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks the admin listener; the stream stands behind the head of the answer.
fn ask(daemon: &Daemon, path: &str, headers: &str) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(&daemon.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", daemon.admin);
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut answer).unwrap() > 0, "{answer}");
    }
    (answer, reader)
}

fn run(daemon: &Daemon, args: &[&str]) {
    let output = daemon.run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn names(daemon: &Daemon, query: &str) -> Value {
    let answer = daemon.get(&format!("/v1/names?{query}"));
    serde_json::from_str(answer.split("\r\n\r\n").last().unwrap()).unwrap()
}

fn listed(page: &Value, field: &str) -> Vec<String> {
    let names = page["names"].as_array().unwrap().iter();
    names.map(|name| name[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_page_is_there_and_what_is_not_is_said() {
    let daemon = Daemon::start("");
    let (page, _) = ask(&daemon, "/", "");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");
    let (script, _) = ask(&daemon, "/console/client.js", "");
    assert!(script.starts_with("HTTP/1.1 200") && script.contains("text/javascript"), "{script}");
    let (nothing, _) = ask(&daemon, "/console/nothing.js", "");
    assert!(nothing.starts_with("HTTP/1.1 404"), "{nothing}");
}

#[test]
fn the_socket_is_for_the_consoles_own_page() {
    let daemon = Daemon::start("");
    let own = format!("{UPGRADE}Origin: http://{}\r\n", daemon.admin);
    let (switched, mut stream) = ask(&daemon, "/v1/ws", &own);
    assert!(switched.starts_with("HTTP/1.1 101"), "{switched}");
    assert!(switched.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{switched}");
    // HELLO of version 1, masked with zeros; WELCOME is an array that begins with 2.
    stream.get_mut().write_all(&[0x82, 0x82 + 1, 0, 0, 0, 0, 0x92, 1, 1]).unwrap();
    let mut welcome = [0; 6];
    stream.read_exact(&mut welcome).unwrap();
    // A binary message with a length of two bytes.
    assert_eq!((welcome[0], welcome[1], welcome[4] & 0xf0, welcome[5]), (0x82, 126, 0x90, 2));
    assert!(daemon.get("/v1/connections").contains("\"transport\":\"console\""));

    let foreign = format!("{UPGRADE}Origin: http://evil.example\r\n");
    let (refused, _) = ask(&daemon, "/v1/ws", &foreign);
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let (plain, _) = ask(&daemon, "/v1/ws", "");
    assert!(plain.starts_with("HTTP/1.1 400"), "{plain}");
}

#[tokio::test]
async fn names_are_listed_page_by_page_with_what_they_hold() {
    let daemon = Daemon::start(
        "[[policy]]\nnames = 'kept.>'\ndurability = 'disk'\n\
         [[policy]]\nnames = 'spread.>'\npartitions = 4\n\
         [[policy]]\nnames = 'near.>'\nconsistency = 'eventual'\n",
    );
    for number in 0..7 {
        run(&daemon, &["pub", &format!("room.{number}"), "hello"]);
    }
    run(&daemon, &["pub", "kept.orders", "a record"]);
    for number in 0..20 {
        run(&daemon, &["pub", "spread.orders", "--key", &format!("k{number}"), "x"]);
    }
    run(&daemon, &["counter", "incr", "likes", "5"]);
    run(&daemon, &["counter", "incr", "near.likes", "3"]);
    run(
        &daemon,
        &["tally", "create", "lunch", "--kind", "single", "--option", "pizza", "--option", "salad"],
    );
    run(&daemon, &["tally", "vote", "lunch", "--voter", "ann", "salad"]);
    run(&daemon, &["group", "create", "kept.orders", "workers"]);

    let first = names(&daemon, "kind=topic&pattern=room.*&limit=4");
    assert_eq!(listed(&first, "name"), ["room.0", "room.1", "room.2", "room.3"]);
    assert_eq!((&first["matching"], &first["next"]), (&7.into(), &"room.3".into()));
    let rest = names(&daemon, "kind=topic&pattern=room.*&limit=4&after=room.3");
    assert_eq!(listed(&rest, "name"), ["room.4", "room.5", "room.6"]);
    assert_eq!(rest["next"], Value::Null);

    let topics = names(&daemon, "kind=topic&pattern=*.orders");
    let of = |name: &str| {
        topics["names"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
    };
    assert_eq!(
        (&of("kept.orders")["is_on_disk"], &of("kept.orders")["records"]),
        (&true.into(), &1.into())
    );
    assert_eq!(of("spread.orders")["records"], 20);
    assert!(of("spread.orders")["partitions"].as_u64().unwrap() > 1);
    assert_eq!(topics["matching"], 2);

    let counters = names(&daemon, "kind=counter");
    assert_eq!(listed(&counters, "name"), ["likes", "near.likes"]);
    assert_eq!(counters["names"][0]["value"], 5);
    assert_eq!(
        (&counters["names"][1]["value"], &counters["names"][1]["is_eventual"]),
        (&3.into(), &true.into())
    );
    let tallies = names(&daemon, "kind=tally");
    assert_eq!(tallies["names"][0]["leading"][0], serde_json::json!(["salad", 1]));
    let groups = names(&daemon, "kind=group");
    assert_eq!(
        (&groups["names"][0]["group"], &groups["names"][0]["lag"]),
        (&"workers".into(), &1.into())
    );

    let client = daemon.connect(Via::Ws).await;
    client.presence_join(&Name::parse("room").unwrap(), "ann", None).await.unwrap();
    assert_eq!(names(&daemon, "kind=presence")["names"][0]["members"], 1);
    assert!(daemon.get("/v1/names?kind=nothing").contains("say kind=topic"));
    assert!(daemon.get("/v1/names?kind=topic&pattern=a..b").starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn who_looks_on_is_told_figures_and_refusals_as_they_come() {
    let daemon = Daemon::start("");
    let (head, mut events) = ask(&daemon, "/v1/live", "");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let mut next = |wanted: &str| loop {
        let mut line = String::new();
        assert!(events.read_line(&mut line).unwrap() > 0, "the stream has ended");
        if line.trim_end() == format!("event: {wanted}") {
            let mut data = String::new();
            events.read_line(&mut data).unwrap();
            break serde_json::from_str::<Value>(data.strip_prefix("data: ").unwrap()).unwrap();
        }
    };
    let before = next("figures");
    let client = daemon.connect(Via::Quic).await;
    let tally = Name::parse("no.poll").unwrap();
    client.standings(&tally).await.unwrap_err();
    let refused = next("refusals");
    assert_eq!(refused["refusals"][0]["code"], "not_found");
    assert!(refused["refusals"][0]["message"].as_str().unwrap().contains("'no.poll'"));
    assert!(refused["refusals"][0]["session"].is_string());
    let after = next("figures");
    let requests = |figures: &Value| figures["counts"]["requests"].as_u64().unwrap();
    assert!(requests(&after) > requests(&before));
    assert_eq!(after["counts"]["refusals"], 1);
}

/// A subscriber that does not read is found by how far it is behind.
#[tokio::test]
async fn the_connection_that_is_behind_comes_first() {
    let daemon = Daemon::start("");
    let (_reading, slow) = (daemon.connect(Via::Ws).await, daemon.connect(Via::Ws).await);
    let options = SubscribeOptions { credit: Some(1), ..SubscribeOptions::default() };
    let pattern = Pattern::parse("news").unwrap();
    let _held = slow.subscribe(&pattern, Start::Latest, options).await.unwrap();
    for number in 0..50 {
        run(&daemon, &["pub", "news", &format!("record {number}")]);
    }
    let answer = daemon.get("/v1/connections?slowest=1");
    let listed: Value = serde_json::from_str(answer.split("\r\n\r\n").last().unwrap()).unwrap();
    let all = listed["connections"].as_array().unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0]["behind_records"].as_u64().unwrap() > 0, "{all:?}");
    assert_eq!(all[0]["subscriptions"], 1);
}
