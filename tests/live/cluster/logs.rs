//! Logs that do not grow for ever: who lacks more than they have gets the state of a shard.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewire_client::{
    Choice, Client, Name, Subscription, SubscriptionEvent, TallyKind, TallyRules,
};

use super::shards::{ONE, Producer, control, count, name, subscribe};
use super::{Cluster, Node, wait};
use crate::daemon::{Daemon, PATIENCE, Via};

/// Checkpoints as often as there may be.
const OFTEN: &str = "checkpoint_bytes = 65536\n";
/// Bytes of a record: beyond some hundred of them a shard has saved its state many times.
const PAYLOAD_BYTES: usize = 8 * 1024;

/// What was acknowledged of each topic.
type Acknowledged = BTreeMap<Name, BTreeMap<u64, String>>;

fn topics() -> [Name; 3] {
    ["log.one", "log.two", "log.three"].map(name)
}

/// Publishes so many records to each of the topics, by as many producers.
async fn write(client: &Client, records: usize, acknowledged: &mut Acknowledged) {
    let mut lanes = tokio::task::JoinSet::new();
    for topic in topics() {
        let client = client.clone();
        lanes.spawn(async move {
            let (mut producer, mut written) = (Producer::new(&client).await, BTreeMap::new());
            for record in 0..records {
                let payload = format!("{record} of {topic} {}", "x".repeat(PAYLOAD_BYTES));
                written.insert(producer.publish(&client, &topic, &payload).await, payload);
            }
            (topic, written)
        });
    }
    while let Some(lane) = lanes.join_next().await {
        let (topic, written) = lane.unwrap();
        acknowledged.entry(topic).or_default().extend(written);
    }
}

/// The records of a topic, up to the last of these. Nothing else comes, and nothing is missing.
async fn has_all(subscription: &mut Subscription, wanted: &BTreeMap<u64, String>) {
    let mut wanted = wanted.iter();
    while let Some((awaited, payload)) = wanted.clone().next() {
        let payload = payload.get(..30);
        let Ok(event) = tokio::time::timeout(PATIENCE, subscription.next()).await else {
            panic!("offset {awaited} does not come: {payload:?}")
        };
        let delivery = match event.unwrap() {
            SubscriptionEvent::Delivery(delivery) => delivery,
            SubscriptionEvent::Gap(gap) => panic!("{gap:?} before {awaited}: {payload:?}"),
            // It may have had to connect again.
            _ => continue,
        };
        for (offset, record) in delivery.records() {
            let (expected, payload) = wanted.next().unwrap();
            assert_eq!(offset, *expected);
            assert_eq!(record.payload.unwrap(), payload.as_bytes(), "offset {offset}");
        }
    }
}

async fn node_has_all(client: &Client, acknowledged: &Acknowledged) {
    for (topic, wanted) in acknowledged {
        has_all(&mut subscribe(client, topic).await, wanted).await;
    }
}

impl Node {
    /// A figure of it.
    fn figure(&self, name: &str) -> u64 {
        let metrics = self.daemon.get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
    }

    fn states_taken(&self) -> u64 {
        self.figure("tidewire_cluster_states_taken_total")
    }
}

/// Starts a node over what it had.
fn back(cluster: &Cluster, node: (u64, u16), seeds: &[u16], files: &Files) -> Node {
    let (id, port) = node;
    let config = cluster.keeping_with(id, port, seeds, OFTEN);
    Node { daemon: Daemon::start_in(Files::clone(files), &config), id, port }
}

type Files = std::sync::Arc<tempfile::TempDir>;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lacks_more_than_the_logs_have_comes_back_and_has_everything() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let ([first, second, third], [_, client, _]) = cluster.of_three_keeping_with(OFTEN).await;
    let mut acknowledged = Acknowledged::new();
    write(&client, 5, &mut acknowledged).await;
    let (address, files) = ((third.id, third.port), third.daemon.kill());
    write(&client, 150, &mut acknowledged).await;
    let third = back(&cluster, address, &[first.port], &files);
    let on_third = third.daemon.connect(Via::Ws).await;
    node_has_all(&on_third, &acknowledged).await;
    assert!(third.states_taken() > 0, "it got states");
    // A start goes on from such a state, and whoever has it may lead.
    let files = third.daemon.kill();
    let third = back(&cluster, address, &[first.port], &files);
    drop(first.daemon.kill());
    write(&client, 20, &mut acknowledged).await;
    node_has_all(&third.daemon.connect(Via::Ws).await, &acknowledged).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_a_node_that_stood_still_go_on() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let ([first, second, third], [_, client, on_third]) =
        cluster.of_three_keeping_with(OFTEN).await;
    let mut acknowledged = Acknowledged::new();
    let mut told = Vec::new();
    for topic in topics() {
        told.push((topic.clone(), subscribe(&on_third, &topic).await));
    }
    write(&client, 5, &mut acknowledged).await;
    third.daemon.signal("-STOP");
    write(&client, 150, &mut acknowledged).await;
    third.daemon.signal("-CONT");
    write(&client, 5, &mut acknowledged).await;
    for (topic, subscription) in &mut told {
        has_all(subscription, &acknowledged[topic]).await;
    }
    assert!(third.states_taken() > 0, "it got states");
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_while_states_are_saved_and_taken_lose_nothing() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let ([first, second, third], [client, _, _]) = cluster.of_three_keeping_with(OFTEN).await;
    let mut acknowledged = Acknowledged::new();
    let (address, mut files) = ((third.id, third.port), third.daemon.kill());
    write(&client, 100, &mut acknowledged).await;
    // It is killed at each stage of taking what it lacks, while there is always more of that.
    for stage in 0..6 {
        let third = back(&cluster, address, &[first.port], &files);
        tokio::time::sleep(Duration::from_millis(150 * stage)).await;
        files = third.daemon.kill();
        write(&client, 20, &mut acknowledged).await;
    }
    let third = back(&cluster, address, &[first.port], &files);
    node_has_all(&third.daemon.connect(Via::Ws).await, &acknowledged).await;
    // Another one is killed while all save their states again and again.
    let (address, mut second) = ((second.id, second.port), second);
    for _ in 0..4 {
        let writer = client.clone();
        let writing = tokio::spawn(async move {
            let mut written = Acknowledged::new();
            write(&writer, 40, &mut written).await;
            written
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let files = second.daemon.kill();
        for (topic, written) in writing.await.unwrap() {
            acknowledged.entry(topic).or_default().extend(written);
        }
        second = back(&cluster, address, &[first.port], &files);
    }
    for node in [&first, &second, &third] {
        node_has_all(&node.daemon.connect(Via::Ws).await, &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_late_gets_states() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let (nodes, [client, _, _]) = cluster.of_three_keeping_with(OFTEN).await;
    let mut acknowledged = Acknowledged::new();
    write(&client, 100, &mut acknowledged).await;
    let fourth = cluster.start_keeping_with(4, &[nodes[0].port], OFTEN);
    let joined = control(&fourth, "join");
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    wait("states to be taken", || (fourth.states_taken() > 0).then_some(()));
    node_has_all(&fourth.daemon.connect(Via::Ws).await, &acknowledged).await;
    write(&client, 5, &mut acknowledged).await;
    node_has_all(&fourth.daemon.connect(Via::Ws).await, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_drops_leaves_the_disks_of_all_nodes() {
    const RECORDS: usize = 200;
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let kept = "[[policy]]\nnames = \"log.>\"\ndurability = \"disk\"\nretention_records = 20\n";
    let (nodes, [client, _, _]) = cluster.of_three_keeping_with(&format!("{OFTEN}{kept}")).await;
    write(&client, RECORDS, &mut Acknowledged::new()).await;
    let written = (3 * RECORDS * PAYLOAD_BYTES) as u64;
    for node in nodes {
        let data = node.daemon.data_dir().to_owned();
        let _files = node.daemon.kill();
        let data = data.to_str().unwrap();
        let said = crate::daemon::tidewire().args(["admin", "verify", "--json", data]).output();
        let said = super::text(&said.unwrap().stdout);
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let bytes = report["bytes"].as_u64().unwrap();
        assert!(bytes < written / 2, "{bytes} bytes of {written} are there: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_alone_becomes_the_first_node_and_keeps_what_it_has() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let port = super::free_port();
    let config = cluster.keeping_with(1, port, &[], OFTEN);
    let (before, rest) = config.split_once("[cluster]").unwrap();
    let (_, rest) = rest.split_once("[storage]").unwrap();
    let alone = Daemon::start(&format!("{before}[storage]{rest}"));
    let client = alone.connect(Via::Ws).await;
    let (counter, poll) = (name("count.before"), name("poll.before"));
    let mut acknowledged = Acknowledged::new();
    for topic in topics() {
        let mut written = BTreeMap::new();
        for record in 0..30 {
            let payload = format!("{record} {}", "y".repeat(PAYLOAD_BYTES));
            let mut body = tidewire_client::BodyBuilder::new();
            body.push(None, &[], Some(payload.as_bytes()));
            let level = tidewire_client::AckLevel::Policy;
            let published = client.publish_body(&topic, body.finish(), level, Default::default());
            written.insert(published.await.unwrap().offset.unwrap(), payload);
        }
        acknowledged.insert(topic, written);
    }
    count(&client, &counter, 1).await;
    let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
    client.create_tally(&poll, rules).await.unwrap();
    client.vote(&poll, "somebody", [Choice::Index(0)].into(), None).await.unwrap();
    drop(client);
    let files = alone.kill();

    let first = Node { daemon: Daemon::start_in(files, &config), id: 1, port };
    let refused = control(&first, "join");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("cluster init"), "{said}");
    let seeds = [first.port];
    let second = cluster.start_keeping_with(2, &seeds, OFTEN);
    let third = cluster.start_keeping_with(3, &seeds, OFTEN);
    for (node, what) in [(&first, "init"), (&second, "join"), (&third, "join")] {
        let output = control(node, what);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    super::shards::wait_for_three(&third);
    let client = third.daemon.connect(Via::Ws).await;
    node_has_all(&client, &acknowledged).await;
    assert!(third.states_taken() > 0, "it got states");
    // Its history goes on, also without it.
    drop(first.daemon.kill());
    write(&client, 5, &mut acknowledged).await;
    count(&client, &counter, 2).await;
    client.vote(&poll, "somebody", [Choice::Index(0)].into(), None).await.unwrap();
    let client = second.daemon.connect(Via::Ws).await;
    node_has_all(&client, &acknowledged).await;
    assert_eq!(client.get_counter(&counter).await.unwrap(), Some(2));
    let (_, standings) = client.standings(&poll).await.unwrap();
    assert_eq!((standings.ballots, &standings.counts[..]), (1, &[1, 0][..]));
}
