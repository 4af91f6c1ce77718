//! Connections go to other nodes when theirs is drained or has too many, and nothing of what they do or follow
//! is noticed to have changed hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidewire_client::{Client, ConnectionState, SubscriptionEvent};
use tokio::task::JoinHandle;

use super::shards::{ONE, control, name, subscribe, wait_for_three};
use super::{Cluster, Node, text, wait};
use crate::daemon::{Daemon, PATIENCE, Via};

/// Clients of the node that is drained.
const CLIENTS: usize = 60;

impl Cluster {
    /// Three nodes that tell clients of each other, with this in their configuration of the cluster.
    pub(super) fn of_three_told(&self, more: &str) -> [Node; 3] {
        let first = self.start_told(1, &[], more);
        let seeds = [first.port];
        let nodes = [first, self.start_told(2, &seeds, more), self.start_told(3, &seeds, more)];
        for (node, what) in nodes.iter().zip(["init", "join", "join"]) {
            does(node, what);
        }
        wait_for_three(&nodes[2]);
        // Everybody knows where the others are reached.
        for node in &nodes {
            for other in [1, 2, 3] {
                node.sees_that(other, "active", |info| info["activity"] == "active");
            }
        }
        nodes
    }

    fn start_told(&self, id: u64, seeds: &[u16], more: &str) -> Node {
        let (port, listen) = (super::free_port(), free_address());
        let config = self.told(id, port, seeds, &listen, more);
        let files = Arc::new(tempfile::tempdir().unwrap());
        Node { daemon: Daemon::start_at(files, &listen, &config), id, port }
    }

    /// What such a node is configured with.
    pub(super) fn told(
        &self,
        id: u64,
        port: u16,
        seeds: &[u16],
        listen: &str,
        more: &str,
    ) -> String {
        let config = self.keeping(id, port, seeds);
        let unknown = format!("client_url = \"ws://node-{id}.example:7171\"");
        assert!(config.contains(&unknown));
        let config = config.replace(&unknown, &format!("client_url = \"ws://{listen}\"\n{more}"));
        // So that several cores have a part in asking connections to go.
        config.replace("cores = 1\n", "cores = 2\n")
    }
}

/// An address that was free a moment ago, for TCP and UDP.
fn free_address() -> String {
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if std::net::UdpSocket::bind(address).is_ok() {
            return address.to_string();
        }
    }
}

pub(super) fn does(node: &Node, what: &str) {
    let output = control(node, what);
    assert!(output.status.success(), "{what}: {}", text(&output.stderr));
}

fn connections(node: &Node) -> u64 {
    let reply = node.daemon.get("/v1/status");
    let status: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    status["connections"].as_u64().unwrap()
}

fn asked(node: &Node, reason: &str) -> u64 {
    let metrics = node.daemon.get("/metrics");
    let head = format!("tidewire_cluster_moves_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&head));
    line.unwrap_or_else(|| panic!("{head}: {metrics}")).parse().unwrap()
}

async fn clients_of(node: &Node, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let builder = node.daemon.builder(Via::Ws).repeat_for_ms(15_000);
        clients.push(builder.connect().await.unwrap());
    }
    clients
}

/// Ends when the client is seen to be without a connection.
fn breaks(client: &Client) -> JoinHandle<()> {
    let mut states = client.states();
    tokio::spawn(async move {
        let is_lost = |state: &ConnectionState| match state {
            ConnectionState::Disconnected { .. }
            | ConnectionState::Failed { .. }
            | ConnectionState::Closed => true,
            ConnectionState::Connecting | ConnectionState::Connected { .. } => false,
        };
        drop(states.wait_for(is_lost).await);
    })
}

/// Publishes until it is told to stop, each when the one before is acknowledged; returns how many.
fn publishes(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            client.publish("log.moving", count.to_string()).await.unwrap();
            count += 1;
        }
        count
    })
}

/// Follows until there are so many records; each continues the one before.
async fn follow(client: &Client, until: tokio::sync::watch::Receiver<u64>) -> JoinHandle<u64> {
    let mut subscription = subscribe(client, &name("log.moving")).await;
    let mut until = until;
    tokio::spawn(async move {
        let mut next = 0;
        loop {
            let all = *until.borrow_and_update();
            if next >= all {
                return next;
            }
            let event = tokio::select! {
                event = subscription.next() => event.unwrap(),
                _ = until.changed() => continue,
                () = tokio::time::sleep(PATIENCE) => panic!("nothing comes behind {next} of {all}"),
            };
            match event {
                SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_) => {}
                SubscriptionEvent::Delivery(delivery) => {
                    for (offset, _) in delivery.records() {
                        assert_eq!(offset, next);
                        next += 1;
                    }
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_a_node_that_is_drained_go_to_the_others_and_notice_nothing() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let nodes = cluster.of_three_told("moves_per_second = 20\n");
    let clients = clients_of(&nodes[0], CLIENTS).await;
    // It wants no other connection, and keeps the one that it has.
    let stays = nodes[0].daemon.connect_once(Via::Ws).await;
    let broken: Vec<_> = clients.iter().map(breaks).collect();
    let (all, until) = tokio::sync::watch::channel(u64::MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let mut followers = Vec::new();
    for client in &clients[..20] {
        followers.push(follow(client, until.clone()).await);
    }
    let publishers: Vec<_> =
        clients[20..25].iter().map(|client| publishes(client.clone(), Arc::clone(&stop))).collect();
    let began = Instant::now();
    let nodes = tokio::task::spawn_blocking(move || {
        does(&nodes[0], "drain 1");
        wait("the clients to be elsewhere", || (connections(&nodes[0]) == 1).then_some(()));
        nodes
    });
    let nodes = nodes.await.unwrap();
    println!("{CLIENTS} clients have gone within {:?}", began.elapsed());
    let there = [connections(&nodes[1]), connections(&nodes[2])];
    assert_eq!(there.iter().sum::<u64>(), CLIENTS as u64);
    assert!(there.iter().all(|there| (20..=40).contains(there)), "{there:?}");
    wait("all to be asked, once", || {
        (asked(&nodes[0], "drained") == CLIENTS as u64 + 1).then_some(())
    });
    assert_eq!(asked(&nodes[0], "overfull"), 0);
    stop.store(true, Ordering::Relaxed);
    let mut published = 0;
    for publisher in publishers {
        published += publisher.await.unwrap();
    }
    assert!(published > 0);
    all.send_replace(published);
    for follower in followers {
        assert_eq!(follower.await.unwrap(), published);
    }
    for broken in broken {
        broken.abort();
        assert!(broken.await.unwrap_err().is_cancelled(), "a client was without a connection");
    }
    stays.publish("log.moving", "stays").await.unwrap();
    let ready = nodes[0].daemon.get("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("drain 1 --undo"), "{ready}");
    // Who comes all the same is served, and left alone for a while.
    let client = nodes[0].daemon.connect(Via::Ws).await;
    assert_eq!(client.publish("log.moving", "late").await.unwrap().offset, Some(published + 1));
    assert_eq!(client.server_info().nodes.len(), 2);
    does(&nodes[0], "drain 1 --undo");
    wait("the node to be ready", || {
        nodes[0].daemon.get("/readyz").starts_with("HTTP/1.1 200").then_some(())
    });
    nodes[1].sees_that(1, "active", |info| info["activity"] == "active");
    assert_eq!(connections(&nodes[0]), 2);
    drop(clients);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_too_many_connections_gives_some_away_and_keeps_the_rest() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let rules = "balance_connections_min = 9\nbalance_percent = 20\nmoves_per_second = 20\n\
                 move_rest_ms = 500\n";
    let nodes = cluster.of_three_told(rules);
    let clients = clients_of(&nodes[0], 90).await;
    let counts = |nodes: &[Node; 3]| nodes.each_ref().map(connections);
    // What the others say of themselves is roughly so.
    let nodes = tokio::task::spawn_blocking(move || {
        let is_even = |counts: &[u64; 3]| counts.iter().all(|count| (18..=42).contains(count));
        wait("connections to be even", || Some(counts(&nodes)).filter(is_even));
        let mut settled = (counts(&nodes), Instant::now());
        wait("nobody to move for some seconds", || {
            let now = counts(&nodes);
            if now != settled.0 {
                settled = (now, Instant::now());
            }
            (settled.1.elapsed() > Duration::from_secs(4)).then_some(())
        });
        let counts = counts(&nodes);
        println!("settled at {counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), 90);
        assert!(is_even(&counts), "{counts:?}");
        nodes
    });
    let nodes = nodes.await.unwrap();
    let moved = nodes.each_ref().map(|node| asked(node, "overfull"));
    assert!(moved[0] >= 45 && moved[0] <= 72, "{moved:?}");
    assert_eq!(moved[1..], [0, 0], "nobody passes on what it was given");
    for client in &clients {
        client.publish("log.moving", "there").await.unwrap();
    }
}
