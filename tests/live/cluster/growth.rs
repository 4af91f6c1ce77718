//! Clusters that grow and shrink, and what becomes of the copies then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tidewire_client::{Client, Name};

use super::shards::{ONE, Producer, control, name, publish, records, subscribe};
use super::{Cluster, Node, wait};
use crate::daemon::{Daemon, Via};

/// Topics in so many different shards that every node leads some of them.
fn topics(kind: &str) -> Vec<Name> {
    (0..12).map(|number| name(&format!("{kind}.{number}"))).collect()
}

fn groups(node: &Node) -> Vec<Value> {
    node.status()["groups"].as_array().unwrap().clone()
}

fn ids(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Waits until the copies of all groups are where they are wanted, none of them on these nodes.
pub(super) fn settles(node: &Node, without: &[u64]) {
    wait("copies to be where they are wanted", || {
        let groups = groups(node);
        let is_settled = |group: &Value| {
            let voters = ids(&group["voters"]);
            group["leader"].is_u64()
                && voters == ids(&group["wanted"])
                && ids(&group["learners"]).is_empty()
                && !voters.iter().any(|voter| without.contains(voter))
        };
        groups.iter().all(is_settled).then_some(())
    });
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn does(node: &Node, what: &str) -> String {
    let output = control(node, what);
    assert!(output.status.success(), "{what}: {}", said(&output));
    said(&output)
}

impl Cluster {
    /// Four nodes, each shard on three of them.
    async fn of_four(&self) -> [Node; 4] {
        self.of_four_with("").await
    }

    /// The same, with this at the end of their configuration of storage.
    pub(super) async fn of_four_with(&self, more: &str) -> [Node; 4] {
        let ([first, second, third], _) = self.of_three_keeping_with(more).await;
        let fourth = self.start_keeping_with(4, &[first.port], more);
        does(&fourth, "join");
        // Where they are to be is decided after the node was taken in.
        wait("each node to have three of four copies", || {
            let copies = groups(&first).iter().filter(|of| ids(&of["voters"]).contains(&4)).count();
            (copies == 12).then_some(())
        });
        settles(&first, &[]);
        [first, second, third, fourth]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_shards_that_it_has_no_copy_of() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let nodes = cluster.of_four().await;
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(node.daemon.connect(Via::Ws).await);
    }
    for topic in topics("log").into_iter().chain(topics("mem")) {
        let mut told = Vec::new();
        for client in &clients {
            told.push(subscribe(client, &topic).await);
        }
        let mut wanted = BTreeMap::new();
        for (node, client) in clients.iter().enumerate() {
            let payload = format!("of {node}");
            wanted.insert(publish(client, &topic, &payload).await, payload);
        }
        for subscription in &mut told {
            assert_eq!(records(subscription, 4).await, wanted, "{topic}");
        }
    }
}

/// Publishes to all topics in turn until it is told to stop; returns what was acknowledged.
async fn load(
    client: Client,
    topics: Vec<Name>,
    stop: Arc<AtomicBool>,
) -> Vec<BTreeMap<u64, String>> {
    let mut producer = Producer::new(&client).await;
    let mut acknowledged = vec![BTreeMap::new(); topics.len()];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let index = number % topics.len();
        let payload = number.to_string();
        let offset = producer.publish(&client, &topics[index], &payload).await;
        acknowledged[index].insert(offset, payload);
        number += 1;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_stopped_under_load_and_nothing_is_lost() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let [first, second, third, fourth] = cluster.of_four().await;
    let (topics, stop) = (topics("log"), Arc::new(AtomicBool::new(false)));
    let client = third.daemon.connect(Via::Ws).await;
    let loading = tokio::spawn(load(client, topics.clone(), Arc::clone(&stop)));
    let drained = tokio::task::spawn_blocking(move || {
        let said = does(&first, "drain 2");
        assert!(said.contains("node 2 leads nothing"), "{said}");
        settles(&first, &[2]);
        let members = first.status()["decided"]["members"].clone();
        assert_eq!(members[1]["state"], "draining");
        assert_eq!((&members[1]["leads"], &members[1]["copies"]), (&0.into(), &0.into()));
        let Node { mut daemon, .. } = second;
        assert!(daemon.terminate().success());
        let said = does(&first, "remove 2");
        assert!(said.contains("never comes back"), "{said}");
        first
    });
    let first = drained.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let acknowledged = loading.await.unwrap();
    let reader = fourth.daemon.connect(Via::Ws).await;
    for (topic, wanted) in topics.iter().zip(acknowledged) {
        assert!(!wanted.is_empty());
        let found = records(&mut subscribe(&reader, topic).await, wanted.len()).await;
        assert_eq!(found, wanted, "{topic}");
    }
    drop((first, third, fourth));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copies_of_a_dead_node_are_placed_elsewhere_when_it_is_removed() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let [first, second, third, fourth] = cluster.of_four().await;
    let topics = topics("log");
    let client = third.daemon.connect(Via::Ws).await;
    for topic in &topics {
        publish(&client, topic, "before").await;
    }
    let (port, files) = (second.port, second.daemon.kill());
    first.sees(2, "down");
    let check = control(&first, "upgrade-check");
    assert_eq!(check.status.code(), Some(1));
    assert!(said(&check).contains("node 2 (node-2) is not reached"), "{}", said(&check));
    // Nobody but an operator takes a copy from anybody.
    assert!(groups(&first).iter().any(|group| ids(&group["voters"]).contains(&2)));
    does(&first, "remove 2");
    settles(&first, &[2]);
    for topic in &topics {
        assert_eq!(publish(&client, topic, "after").await, 1, "{topic}");
    }
    let again = Daemon::start_in(files, &cluster.keeping(2, port, &[first.port]));
    let again = Node { daemon: again, id: 2, port };
    let refused = control(&again, "join");
    assert!(!refused.status.success());
    assert!(said(&refused).contains("never comes back under its id"), "{}", said(&refused));
    drop((third, fourth));
}
