//! Records over HTTP: what is published is read again, and everybody gets it.

use tidewire_client::{Pattern, Start, SubscribeOptions, SubscriptionEvent};

use super::{ask, get, post};
use crate::daemon::{Daemon, Via};

const PARTITIONS: &str = "[[policy]]\nnames = \"wide.>\"\npartitions = 3\n";

#[tokio::test]
async fn what_is_published_over_http_reaches_subscribers() {
    let daemon = Daemon::start("");
    let client = daemon.connect(Via::Ws).await;
    let pattern = Pattern::parse("news").unwrap();
    let options = SubscribeOptions::default();
    let mut subscription = client.subscribe(&pattern, Start::Latest, options).await.unwrap();
    let published = post(&daemon, "/v1/topics/news", r#"{"key":"k","json":{"a": 1}}"#).done();
    assert_eq!((&published["offset"], &published["level"]), (&0.into(), &"memory".into()));
    let delivery = loop {
        match subscription.next().await.unwrap() {
            SubscriptionEvent::Delivery(delivery) => break delivery,
            SubscriptionEvent::Started(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let (_, record) = delivery.records().next().unwrap();
    assert_eq!((record.key, record.payload), (Some("k"), Some(&br#"{"a": 1}"#[..])));
    assert_eq!(record.header("content-type"), Some("application/json"));
}

#[test]
fn a_topic_is_read_page_by_page() {
    let daemon = Daemon::start(PARTITIONS);
    for topic in ["plain", "wide.a"] {
        let lines: Vec<String> =
            (0..25).map(|n| format!("{{\"key\":\"{n}\",\"json\":{n}}}")).collect();
        let path = format!("POST /v1/topics/{topic}");
        let ndjson = ["Content-Type: application/x-ndjson"];
        ask(&daemon, &path, &ndjson, &lines.join("\n")).done();
        let (mut path, mut seen) = (format!("/v1/topics/{topic}/records?limit=10"), Vec::new());
        let pages = loop {
            let reply = get(&daemon, &path);
            let page = reply.done();
            let records = page["records"].as_array().unwrap();
            assert!(records.len() <= 10);
            seen.extend(records.iter().map(|record| record["json"].as_u64().unwrap()));
            path = page["next"].as_str().unwrap().to_owned();
            if page["at_end"] == true {
                assert_eq!(reply.header("link"), None);
                break seen.len();
            }
            assert_eq!(reply.header("link"), Some(format!("<{path}>; rel=\"next\"").as_str()));
        };
        seen.sort_unstable();
        assert_eq!(seen, (0..25).collect::<Vec<u64>>(), "{topic}, {pages}");
        // What comes later is on the page that was next.
        post(&daemon, &format!("/v1/topics/{topic}"), r#"{"key":"x","text":"later"}"#).done();
        let page = get(&daemon, &path).done();
        assert_eq!(page["records"].as_array().unwrap().len(), 1, "{page}");
        assert_eq!(page["records"][0]["text"], "later");
    }
}

#[test]
fn what_retention_has_removed_is_a_gap() {
    let daemon = Daemon::start("[[policy]]\nnames = \"short\"\nretention_records = 5\n");
    for n in 0..20 {
        post(&daemon, "/v1/topics/short", &format!("{{\"json\":{n}}}")).done();
    }
    let epoch = get(&daemon, "/v1/topics/short/records").done()["records"][0]["epoch"].to_string();
    let page = get(&daemon, &format!("/v1/topics/short/records?start={epoch}:2")).done();
    assert_eq!((&page["gaps"][0]["from"], &page["gaps"][0]["next"]), (&2.into(), &15.into()));
    assert_eq!(page["records"].as_array().unwrap().len(), 5, "{page}");
}

#[test]
fn a_publish_is_appended_once_also_after_a_restart() {
    let config = "[[policy]]\nnames = \"kept\"\ndurability = \"disk\"\n";
    let daemon = Daemon::start(config);
    let producer = ask(&daemon, "POST /v1/producers", &[], "").done()["producer"].to_string();
    let key = |sequence: u64| format!("Idempotency-Key: \"{producer}-{sequence}\"");
    let publish = |daemon: &Daemon, sequence| {
        let headers = ["Content-Type: text/plain", &key(sequence)];
        ask(daemon, "POST /v1/topics/kept?ack=disk", &headers, "once").done()
    };
    let first = publish(&daemon, 1);
    assert_eq!((&first["level"], &first["duplicate"]), (&"disk".into(), &false.into()));
    assert_eq!(publish(&daemon, 1)["duplicate"], true);
    let daemon = Daemon::start_in(daemon.kill(), config);
    let again = publish(&daemon, 1);
    assert_eq!((&again["duplicate"], &again["offset"]), (&true.into(), &first["offset"]));
    assert_eq!(publish(&daemon, 2)["duplicate"], false);
    let records = get(&daemon, "/v1/topics/kept/records").done();
    assert_eq!(records["records"].as_array().unwrap().len(), 2);
    // A key that nobody could know again is refused, rather than forgotten.
    let headers = ["Content-Type: text/plain", "Idempotency-Key: \"8e03978e-40d5\""];
    let refused = ask(&daemon, "POST /v1/topics/kept", &headers, "once");
    assert_eq!(refused.refused(422), "invalid_argument");
}

#[test]
fn the_operations_of_a_batch_are_answered_one_by_one() {
    let daemon = Daemon::start("");
    let batch = r#"[
        {"publish": {"topic": "a", "records": [{"json": 1}, {"text": "x"}]}},
        {"incr": {"counter": "c", "increment": {"by": 4}}},
        {"incr": {"counter": "c..d"}},
        {"vote": {"tally": "none", "ballot": {"voter": "v", "choices": [0]}}},
        {"get": {"counter": "c"}}
    ]"#;
    let outcomes = post(&daemon, "/v1/batch", batch).done();
    let statuses: Vec<u64> =
        outcomes.as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 400, 404, 200]);
    assert_eq!(outcomes[1]["body"]["value"], 4);
    assert_eq!(outcomes[2]["body"]["code"], "invalid_name");
    assert_eq!(outcomes[4]["body"]["value"], 4);
    let many = format!("[{}]", vec![r#"{"get":{"counter":"c"}}"#; 101].join(","));
    assert_eq!(post(&daemon, "/v1/batch", &many).refused(422), "invalid_argument");
}
