//! Server-sent events of a topic that another node leads.

use super::Cluster;
use super::shards::ONE;
use crate::http::{Stream, post};

const TOPIC: &str = "/v1/topics/log.news";

#[tokio::test]
async fn every_node_streams_the_events_of_every_topic_and_goes_on_at_another_one() {
    let _alone = ONE.lock().await;
    let cluster = Cluster::new();
    // Only one of them leads the topic.
    let (nodes, _clients) = cluster.of_three_keeping().await;
    let path = format!("{TOPIC}/events?start=earliest");
    let mut streams: Vec<Stream> =
        nodes.iter().map(|node| Stream::open(&node.daemon, &path, &[])).collect();
    for (number, node) in nodes.iter().enumerate() {
        post(&node.daemon, TOPIC, &format!("{{\"json\":{number}}}")).done();
    }
    for stream in &mut streams {
        for number in 0..3 {
            let event = stream.next().unwrap();
            assert_eq!((event.name.as_str(), &event.data["json"]), ("", &number.into()));
        }
    }
    // Who goes to another node goes on there.
    let last = streams.iter().map(|stream| format!("Last-Event-ID: {}", stream.last_id));
    let last: Vec<String> = last.collect();
    drop(streams);
    post(&nodes[0].daemon, TOPIC, "{\"json\":3}").done();
    for (index, last) in last.iter().enumerate() {
        let elsewhere = &nodes[(index + 1) % nodes.len()].daemon;
        let mut stream = Stream::open(elsewhere, &format!("{TOPIC}/events"), &[last]);
        assert_eq!(stream.next().unwrap().data["json"], 3);
    }
}
