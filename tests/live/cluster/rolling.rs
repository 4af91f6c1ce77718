//! All nodes are updated, one after the other, under load: each is checked, stopped by a signal and started
//! again, as another release would be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use tidewire_client::{
    Choice, Client, CounterOp, CounterOptions, Subscription, SubscriptionEvent, TallyKind,
    TallyRules,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::moving::does;
use super::shards::{ONE, control, name, subscribe};
use super::{Cluster, Node, text, wait};
use crate::daemon::{Daemon, PATIENCE, Via};

/// What one client has done, all of it acknowledged.
struct Done {
    /// Payloads by offset.
    published: BTreeMap<u64, String>,
    counted: u64,
    voters: usize,
}

/// Publishes, counts and votes until it is told to stop, one after the other.
async fn work(client: Client, at: usize, stop: Arc<AtomicBool>, steps: Arc<AtomicUsize>) -> Done {
    let (counter, likes, poll) = (name("count.r"), name("likes.r"), name("poll.r"));
    let increments = client.increments().await.unwrap();
    let mut done = Done { published: BTreeMap::new(), counted: 0, voters: 0 };
    while !stop.load(Ordering::SeqCst) {
        let payload = format!("{} of {at}", done.voters);
        let offset = client.publish("log.r", &payload).await.unwrap().offset.unwrap();
        assert_eq!(done.published.insert(offset, payload.clone()), None);
        let options = CounterOptions { id: Some(payload.clone()), ..CounterOptions::default() };
        client.count(&counter, CounterOp::Add, 1, options).await.unwrap();
        increments.add(&likes, 1).await.unwrap();
        done.counted += 1;
        let choices = vec![Choice::Index(at as u64 % 2)];
        client.vote(&poll, &payload, choices, None).await.unwrap();
        done.voters += 1;
        steps.fetch_add(1, Ordering::SeqCst);
    }
    done
}

/// Takes records until it is known how many there are; each continues the one before.
fn follow(
    mut subscription: Subscription,
    all: tokio::sync::watch::Receiver<usize>,
) -> JoinHandle<BTreeMap<u64, String>> {
    tokio::spawn(async move {
        let mut all = all;
        let mut found = BTreeMap::new();
        while found.len() < *all.borrow_and_update() {
            let event = tokio::select! {
                event = timeout(PATIENCE, subscription.next()) => event.unwrap().unwrap(),
                _ = all.changed() => continue,
            };
            match event {
                SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_) => {}
                SubscriptionEvent::Delivery(delivery) => {
                    for (offset, record) in delivery.records() {
                        assert_eq!(offset, found.len() as u64);
                        let payload = record.payload.unwrap().to_vec();
                        found.insert(offset, String::from_utf8(payload).unwrap());
                    }
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        found
    })
}

/// Stops this node when that is safe, and starts it again, at the same addresses.
fn update(cluster: &Cluster, nodes: &mut [Node; 3], at: usize, seeds: &[u16]) {
    let asked = (at + 1) % nodes.len();
    wait("any one node to be dispensable", || {
        control(&nodes[asked], "upgrade-check").status.success().then_some(())
    });
    let Node { id, port, .. } = nodes[at];
    let listen = nodes[at].daemon.address().to_owned();
    let files = nodes[at].daemon.shared_files();
    assert!(nodes[at].daemon.terminate().success());
    let config = cluster.told(id, port, seeds, &listen, "");
    nodes[at].daemon = Daemon::start_at(files, &listen, &config);
    nodes[asked]
        .sees_that(id, "back", |info| info["state"] == "alive" && info["activity"] == "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_are_updated_under_load_and_no_request_fails() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let mut nodes = cluster.of_three_told("");
    let mut clients = Vec::new();
    for node in [0, 0, 1, 1, 2, 2] {
        let builder = nodes[node].daemon.builder(Via::Ws).repeat_for_ms(15_000);
        clients.push(builder.connect().await.unwrap());
    }
    let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
    clients[0].create_tally(&name("poll.r"), rules).await.unwrap();
    let (all, count) = tokio::sync::watch::channel(usize::MAX);
    let mut followers = Vec::new();
    for client in &clients {
        followers.push(follow(subscribe(client, &name("log.r")).await, count.clone()));
    }
    let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(at, client)| {
            tokio::spawn(work(client.clone(), at, Arc::clone(&stop), Arc::clone(&steps)))
        })
        .collect();
    let goes_on = Arc::clone(&steps);
    let nodes = tokio::task::spawn_blocking(move || {
        let seeds = nodes.each_ref().map(|node| node.port);
        for at in 0..nodes.len() {
            let before = goes_on.load(Ordering::SeqCst);
            wait("some work", || (goes_on.load(Ordering::SeqCst) > before + 30).then_some(()));
            update(&cluster, &mut nodes, at, &seeds);
        }
        refuses_a_level_that_nobody_knows(&nodes[0]);
        nodes
    });
    let nodes = nodes.await.unwrap();
    stop.store(true, Ordering::SeqCst);
    let (mut published, mut counted, mut voters) = (BTreeMap::new(), 0, 0);
    for worker in workers {
        let done = timeout(PATIENCE, worker).await.unwrap().unwrap();
        published.extend(done.published);
        (counted, voters) = (counted + done.counted, voters + done.voters as u64);
    }
    assert_eq!(published.len() as u64, counted, "each has an offset of its own");
    all.send_replace(published.len());
    for follower in followers {
        assert_eq!(timeout(PATIENCE, follower).await.unwrap().unwrap(), published);
    }
    for node in &nodes {
        let client = node.daemon.connect(Via::Ws).await;
        let value = client.get_counter(&name("count.r")).await.unwrap();
        assert_eq!(value, Some(i64::try_from(counted).unwrap()));
        let (_, standings) = client.standings(&name("poll.r")).await.unwrap();
        assert_eq!(standings.ballots, voters);
    }
    // What a node that has stopped had counted is with the others, and they with it when it is back.
    let client = nodes[0].daemon.connect(Via::Ws).await;
    let all = Some(i64::try_from(counted).unwrap());
    let likes = timeout(PATIENCE, async {
        while client.get_counter(&name("likes.r")).await.unwrap() != all {
            tokio::task::yield_now().await;
        }
    });
    assert!(likes.await.is_ok(), "{:?} of {all:?}", client.get_counter(&name("likes.r")).await);
    println!("{counted} steps, of which {} were sent again", repeated(&clients));
}

fn repeated(clients: &[Client]) -> u64 {
    clients.iter().map(Client::repeated).sum()
}

/// What the new release knows is not used before an operator says so, and not before all nodes know it.
fn refuses_a_level_that_nobody_knows(node: &Node) {
    let known = |field: &str| node.status()["decided"][field].as_u64().unwrap();
    let (level, most) = (known("feature_level"), known("feature_level_max"));
    let refused = control(node, &format!("feature-level {}", most + 1));
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("knows feature level"), "{said}");
    assert_eq!(known("feature_level"), level);
    does(node, &format!("feature-level {level}"));
    assert_eq!(node.status()["decided"]["feature_level"], Value::from(level));
}
