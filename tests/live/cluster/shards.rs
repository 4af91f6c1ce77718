//! Names that the nodes of a cluster keep together: what is told on one node, and survives another.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tidewire_client::protocol::options::ProducerInfo;
use tidewire_client::protocol::wire;
use tidewire_client::{
    AckLevel, BodyBuilder, Choice, Client, ClientFrame, CounterOp, CounterOptions, GapReason, Name,
    Pattern, PublishOptions, ServerFrame, Start, SubscribeOptions, Subscription, SubscriptionEvent,
    TallyKind, TallyRules,
};

use super::{Cluster, Node, wait};
use crate::daemon::{PATIENCE, Via};

/// Clusters are tested one at a time: each is three servers that must hear each other in time.
pub(super) static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A publish or a reading, again and again until it is done.
const TRIES: usize = 200;

impl Cluster {
    /// A node whose names under `log`, `count` and `poll` are kept by the cluster.
    pub(super) fn start_keeping(&self, id: u64, seeds: &[u16]) -> Node {
        self.start_keeping_with(id, seeds, "")
    }

    /// The same, with this at the end of its configuration of storage.
    pub(super) fn start_keeping_with(&self, id: u64, seeds: &[u16], more: &str) -> Node {
        let port = super::free_port();
        let config = self.keeping_with(id, port, seeds, more);
        Node { daemon: crate::daemon::Daemon::start(&config), id, port }
    }

    pub(super) fn keeping(&self, id: u64, port: u16, seeds: &[u16]) -> String {
        self.keeping_with(id, port, seeds, "")
    }

    pub(super) fn keeping_with(&self, id: u64, port: u16, seeds: &[u16], more: &str) -> String {
        let mut config = self.config(id, port, seeds);
        config.push_str(&format!(
            "[storage]\nmaster_key_file = {:?}\n{more}",
            self.path("cluster-master.key")
        ));
        for names in ["log.>", "count.>", "poll.>"] {
            config.push_str(&format!("[[policy]]\nnames = {names:?}\ndurability = \"disk\"\n"));
        }
        config.push_str("[[policy]]\nnames = \"likes.>\"\nconsistency = \"eventual\"\n");
        config
    }

    /// Three nodes that keep names together, and a client of each.
    pub(super) async fn of_three_keeping(&self) -> ([Node; 3], [Client; 3]) {
        self.of_three_keeping_with("").await
    }

    pub(super) async fn of_three_keeping_with(&self, more: &str) -> ([Node; 3], [Client; 3]) {
        let first = self.start_keeping_with(1, &[], more);
        let seeds = [first.port];
        let start = |id| self.start_keeping_with(id, &seeds, more);
        let nodes = [first, start(2), start(3)];
        let said = |node: &Node, what: &str| {
            let output = control(node, what);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        said(&nodes[0], "init");
        said(&nodes[1], "join");
        said(&nodes[2], "join");
        wait_for_three(&nodes[2]);
        let [a, b, c] = &nodes;
        let clients = [
            a.daemon.connect(Via::Ws).await,
            b.daemon.connect(Via::Ws).await,
            c.daemon.connect(Via::Ws).await,
        ];
        (nodes, clients)
    }

    /// The same; the first of them leads the topic's shard.
    async fn of_three_led(&self, topic: &Name) -> ([Node; 3], [Client; 3]) {
        let (mut nodes, mut clients) = self.of_three_keeping().await;
        let leader = leader_of(&nodes[0], topic);
        let first = nodes.iter().position(|node| node.id == leader).unwrap();
        nodes.rotate_left(first);
        clients.rotate_left(first);
        (nodes, clients)
    }
}

/// Waits until three nodes have copies of everything, and lead what they are to lead.
pub(super) fn wait_for_three(node: &Node) {
    wait("three voters", || {
        let groups = node.status()["groups"].as_array()?.clone();
        let is_settled = |group: &Value| {
            let voters = group["voters"].as_array().map(Vec::len);
            voters == Some(3) && group["leader"] == group["wanted_leader"]
        };
        groups.iter().all(is_settled).then_some(())
    });
}

/// Who leads the shard of a topic, as a node sees it.
pub(super) fn leader_of(node: &Node, topic: &Name) -> u64 {
    let reply = node.daemon.get(&format!("/v1/policy?name={topic}"));
    let policy: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    let group = policy["shard"].as_u64().unwrap() % 16;
    wait("a leader", || node.status()["groups"][usize::try_from(group).unwrap()]["leader"].as_u64())
}

pub(super) fn control(node: &Node, what: &str) -> Output {
    let mut args = vec!["admin", "--admin", &node.daemon.admin, "cluster"];
    args.extend(what.split(' '));
    node.daemon.run(&args)
}

pub(super) fn body_of(payload: &str) -> Bytes {
    let mut body = BodyBuilder::new();
    body.push(None, &[], Some(payload.as_bytes()));
    body.finish()
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Somebody who publishes, each time until it is acknowledged, as one step of one producer.
pub(super) struct Producer {
    id: u64,
    sequence: u64,
}

impl Producer {
    pub(super) async fn new(client: &Client) -> Self {
        let asked = client.request(|req| ClientFrame::Producer { req }).await.unwrap();
        let ServerFrame::Ok { result: Some(result), .. } = asked.await.unwrap() else { panic!() };
        let info: ProducerInfo = wire::from_slice(&result).unwrap();
        Self { id: info.producer, sequence: 0 }
    }

    pub(super) async fn publish(&mut self, client: &Client, topic: &Name, payload: &str) -> u64 {
        self.sequence += 1;
        for _ in 0..TRIES {
            let (producer, sequence) = (Some(self.id), Some(self.sequence));
            let options = PublishOptions { producer, sequence, ..PublishOptions::default() };
            let body = body_of(payload);
            match client.publish_body(topic, body, AckLevel::Policy, options).await {
                Ok(published) => {
                    let is_kept = topic.as_str().starts_with("log.");
                    let level = if is_kept { AckLevel::Quorum } else { AckLevel::Memory };
                    assert_eq!(published.level, level);
                    return published.offset.unwrap();
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("'{payload}' is never acknowledged");
    }
}

/// Publishes something as somebody new.
pub(super) async fn publish(client: &Client, topic: &Name, payload: &str) -> u64 {
    Producer::new(client).await.publish(client, topic, payload).await
}

pub(super) async fn count(client: &Client, counter: &Name, id: u64) -> i64 {
    for _ in 0..TRIES {
        let options = CounterOptions { id: Some(id.to_string()), ..CounterOptions::default() };
        match client.count(counter, CounterOp::Add, 1, options).await {
            Ok(counted) => return counted.value,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{id} is never counted");
}

pub(super) async fn subscribe(client: &Client, topic: &Name) -> Subscription {
    let pattern = Pattern::parse(topic.as_str()).unwrap();
    client.subscribe(&pattern, Start::Earliest, SubscribeOptions::default()).await.unwrap()
}

/// The next records, by offset, until there are so many.
pub(super) async fn records(
    subscription: &mut Subscription,
    count: usize,
) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let mut next = None;
    while found.len() < count {
        let event = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
        let delivery = match event {
            SubscriptionEvent::Started(_) => continue,
            SubscriptionEvent::Delivery(delivery) => delivery,
            other => panic!("unexpected: {other:?}"),
        };
        for (offset, record) in delivery.records() {
            assert!(next.is_none_or(|next| next == offset), "offset {offset} after {next:?}");
            next = Some(offset + 1);
            found.insert(offset, String::from_utf8(record.payload.unwrap().to_vec()).unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_on_one_node_is_delivered_on_all() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let (_nodes, clients) = cluster.of_three_keeping().await;
    for topic in [name("log.a"), name("mem.a")] {
        let mut told = Vec::new();
        for client in &clients {
            told.push(subscribe(client, &topic).await);
        }
        let mut wanted = BTreeMap::new();
        for round in 0..10 {
            for (node, client) in clients.iter().enumerate() {
                let payload = format!("{round} of {node}");
                wanted.insert(publish(client, &topic, &payload).await, payload);
            }
        }
        assert_eq!(wanted.keys().copied().collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
        for subscription in &mut told {
            assert_eq!(records(subscription, 30).await, wanted, "{topic}");
        }
        // Who comes later on any node gets all of it, too.
        for client in &clients {
            assert_eq!(records(&mut subscribe(client, &topic).await, 30).await, wanted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_leader_is_killed() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let (topic, counter) = (name("log.b"), name("count.b"));
    let (nodes, clients) = cluster.of_three_led(&topic).await;
    let [first, second, third] = nodes;
    let mut told = subscribe(&clients[2], &topic).await;
    let mut wanted = BTreeMap::new();
    let mut killed = Some(first);
    let mut producer = Producer::new(&clients[1]).await;
    for step in 0..60 {
        let payload = step.to_string();
        wanted.insert(producer.publish(&clients[1], &topic, &payload).await, payload);
        count(&clients[1 + step % 2], &counter, step as u64).await;
        if step == 30 {
            drop(killed.take().unwrap().daemon.kill());
        }
    }
    assert_eq!(records(&mut told, 60).await, wanted);
    assert_eq!(clients[1].get_counter(&counter).await.unwrap(), Some(60));
    let leader = leader_of(&third, &topic);
    assert!(leader == second.id || leader == third.id, "{leader}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_has_one_vote_whichever_nodes_it_is_cast_on() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let (nodes, clients) = cluster.of_three_keeping().await;
    let poll = name("poll.mayor");
    let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
    clients[1].create_tally(&poll, rules).await.unwrap();
    for (node, client) in clients.iter().enumerate() {
        for voter in 0..20 {
            let choices = [Choice::Index(node as u64 % 2)];
            client.vote(&poll, &format!("voter {voter}"), choices.into(), None).await.unwrap();
        }
    }
    for client in &clients {
        let (_, standings) = client.standings(&poll).await.unwrap();
        assert_eq!((standings.ballots, &standings.counts[..]), (20, &[20, 0][..]));
    }
    drop(nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_of_a_topic_in_memory_is_told_that_its_history_has_ended() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let topic = name("mem.b");
    let (nodes, clients) = cluster.of_three_led(&topic).await;
    let mut told = subscribe(&clients[2], &topic).await;
    publish(&clients[1], &topic, "before").await;
    assert_eq!(records(&mut told, 1).await.len(), 1);
    let [first, second, third] = nodes;
    drop(first.daemon.kill());
    let event = tokio::time::timeout(PATIENCE, told.next()).await.unwrap().unwrap();
    let SubscriptionEvent::Gap(gap) = event else { panic!("unexpected: {event:?}") };
    assert_eq!(gap.reason, GapReason::NewEpoch, "{gap:?}");
    let offset = publish(&clients[1], &topic, "after").await;
    assert_eq!(offset, 0);
    let found = records(&mut told, 1).await;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(0, "after".to_owned())]);
    drop((second, third));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_refuses_and_goes_on_when_the_others_are_back() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let (nodes, clients) = cluster.of_three_keeping().await;
    let topic = name("log.c");
    publish(&clients[0], &topic, "all").await;
    let [first, second, third] = nodes;
    let (ports, seeds) = ([second.port, third.port], [first.port]);
    let files = [second.daemon.kill(), third.daemon.kill()];
    let refused = clients[0]
        .publish_body(&topic, body_of("alone"), AckLevel::Policy, PublishOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "unavailable", "{refused}");
    // What was committed is told all the same.
    let found = records(&mut subscribe(&clients[0], &topic).await, 1).await;
    assert_eq!(found.into_values().collect::<Vec<_>>(), ["all"]);
    let mut back = Vec::new();
    for (index, files) in files.into_iter().enumerate() {
        let id = index as u64 + 2;
        let config = cluster.keeping(id, ports[index], &seeds);
        back.push(crate::daemon::Daemon::start_in(files, &config));
    }
    // What was refused may have been carried out all the same, as was said.
    let offset = publish(&clients[0], &topic, "together").await;
    let client = back[1].connect(Via::Ws).await;
    let count = usize::try_from(offset).unwrap() + 1;
    let found = records(&mut subscribe(&client, &topic).await, count).await;
    assert_eq!(found.last_key_value(), Some((&offset, &"together".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_another_master_key_is_not_taken_in() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start_keeping(1, &[]);
    assert!(control(&first, "init").status.success());
    let again = control(&first, "init");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("is a member already"), "{said}");
    // Without the cluster's key, each node has made its own.
    let second = cluster.start(2, &[first.port]);
    second.sees(1, "alive");
    let refused = control(&second, "join");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("storage.master_key_file"), "{said}");
}
