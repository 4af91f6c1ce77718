//! The disk of one node of three does not answer. What that node leads is led by another one, and goes on.

use std::time::{Duration, Instant};

use tidewire_client::{AckLevel, BodyBuilder, Client, Name};
use tokio::task::JoinSet;

use crate::daemon::PATIENCE;
use crate::nodes::Nodes;
use crate::volume::volume_or_say;

const NODES: usize = 3;
const VOLUME_MIB: u64 = 512;
/// Enough for all groups to have some.
const TOPICS: usize = 96;
/// A second until the leader falls silent, less than two until another one leads, and a disk that all share.
const RESUMED: Duration = Duration::from_secs(10);

/// A record in each topic, on the disks of a majority; returns how long that took.
async fn publish_to_all(client: &Client, payload: &'static [u8]) -> Duration {
    let began = Instant::now();
    let mut publishing = JoinSet::new();
    for topic in 0..TOPICS {
        let client = client.clone();
        publishing.spawn(async move {
            let topic = Name::parse(&format!("log.stalled-{topic}")).unwrap();
            let mut body = BodyBuilder::new();
            body.push(None, &[], Some(payload));
            let body = body.finish();
            let until = Instant::now() + RESUMED;
            loop {
                let ack = AckLevel::Quorum;
                match client.publish_body(&topic, body.clone(), ack, Default::default()).await {
                    Ok(_) => return,
                    Err(error) => assert!(Instant::now() < until, "{topic}: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    while let Some(published) = publishing.join_next().await {
        published.unwrap();
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_leads_goes_on_when_its_disk_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = volume_or_say(folder.path(), VOLUME_MIB) else { return };
    let mut nodes = Nodes::start(NODES, Some(volume), 7).await;
    let led = nodes.spread_to(NODES - 1, PATIENCE);
    let url = nodes.urls.lock().unwrap()[0].clone().unwrap();
    let client = Client::builder(&url).unwrap().connect().await.unwrap();
    publish_to_all(&client, b"before").await;

    let frozen = nodes.volume().unwrap().freeze();
    let took = publish_to_all(&client, b"meanwhile").await;
    eprintln!("{led} groups of a node whose disk stood still went on after {took:?}");
    assert!(took < RESUMED, "{took:?}");
    drop(frozen);
    nodes.settle(Duration::from_secs(60));
    publish_to_all(&client, b"after").await;
}
