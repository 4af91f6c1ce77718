//! Clients that know several nodes go on when one of them is killed: what they ask for is done once, and
//! what they follow comes without a gap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tidewire_client::{
    Choice, Client, ConsumeOptions, CounterOp, CounterOptions, GroupOptions, Name, Pattern, Start,
    SubscribeOptions, Subscription, SubscriptionEvent, TallyKind, TallyRules,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::shards::{ONE, leader_of, name};
use super::{Cluster, Node, text, wait};
use crate::daemon::{PATIENCE, Via, tidewire};

/// What each client publishes, counts and votes for, one after the other.
const STEPS: usize = 80;

/// A client of this node that knows the others.
async fn client_of(nodes: &[Node; 3], at: usize, via: Via) -> Client {
    let mut builder = nodes[at].daemon.builder(via).repeat_for_ms(15_000);
    for node in nodes {
        builder = builder.also(&node.daemon.url(via)).unwrap();
    }
    builder.connect().await.unwrap()
}

/// Everything a client does, each step when the one before is acknowledged. Returns what it published, by
/// offset.
async fn work(client: Client, at: usize, done: Arc<AtomicUsize>) -> Vec<(u64, String)> {
    let (topic, jobs) = ("log.c", "log.jobs");
    let (counter, poll) = (name("count.c"), name("poll.c"));
    let mut published = Vec::new();
    for step in 0..STEPS {
        let payload = format!("{step} of {at}");
        let offset = client.publish(topic, &payload).await.unwrap().offset.unwrap();
        published.push((offset, payload.clone()));
        client.publish(jobs, &payload).await.unwrap();
        let id = Some(payload);
        let options = CounterOptions { id, ..CounterOptions::default() };
        client.count(&counter, CounterOp::Add, 1, options).await.unwrap();
        // The same voters on all nodes.
        let choices = vec![Choice::Index(step as u64 % 2)];
        client.vote(&poll, &format!("voter {step}"), choices, None).await.unwrap();
        done.fetch_add(1, Ordering::SeqCst);
    }
    published
}

/// Takes records until there are so many; each continues the one before.
fn follow(mut subscription: Subscription, count: usize) -> JoinHandle<BTreeMap<u64, String>> {
    tokio::spawn(async move {
        let mut found = BTreeMap::new();
        while found.len() < count {
            match timeout(PATIENCE, subscription.next()).await.unwrap().unwrap() {
                SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_) => {}
                SubscriptionEvent::Delivery(delivery) => {
                    for (offset, record) in delivery.records() {
                        assert_eq!(offset, found.len() as u64);
                        let payload = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
                        found.insert(offset, payload);
                    }
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        found
    })
}

async fn subscribe(client: &Client, pattern: &str) -> Subscription {
    let pattern = Pattern::parse(pattern).unwrap();
    client.subscribe(&pattern, Start::Earliest, SubscribeOptions::default()).await.unwrap()
}

/// Acknowledges what comes until nothing is left; returns which records came.
fn consume(client: Client, group: Name) -> JoinHandle<BTreeMap<u64, String>> {
    tokio::spawn(async move {
        let jobs = name("log.jobs");
        let mut consumer = client.consume(&jobs, &group, ConsumeOptions::default()).await.unwrap();
        let mut done = BTreeMap::new();
        while done.len() < 3 * STEPS {
            let job = timeout(PATIENCE, consumer.next()).await.unwrap();
            let job = job.unwrap_or_else(|| panic!("the consumer has ended: {:?}", consumer.end()));
            let payload = job.record().unwrap().payload.unwrap().to_vec();
            done.insert(job.offset(), String::from_utf8(payload).unwrap());
            // Whether or not it counts: if it does not, the record comes again.
            job.ack().await.unwrap();
        }
        done
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_all_nodes_go_on_when_the_leader_is_killed() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let (nodes, others) = cluster.of_three_keeping().await;
    let mut clients = Vec::new();
    for (at, via) in [Via::Ws, Via::Ws, Via::Ws].into_iter().enumerate() {
        clients.push(client_of(&nodes, at, via).await);
    }
    let rules = TallyRules::new(TallyKind::Single, ["A", "B"].map(str::to_owned).to_vec());
    clients[0].create_tally(&name("poll.c"), rules).await.unwrap();
    let group = name("workers");
    clients[0].create_group(&name("log.jobs"), &group, GroupOptions::default()).await.unwrap();
    let mut followers = Vec::new();
    for client in &clients {
        followers.push(follow(subscribe(client, "log.c").await, 3 * STEPS));
    }
    let consumer = consume(clients[0].clone(), group.clone());
    let done = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(at, client)| tokio::spawn(work(client.clone(), at, Arc::clone(&done))))
        .collect();
    while done.load(Ordering::SeqCst) < STEPS {
        tokio::task::yield_now().await;
    }
    let leader = leader_of(&nodes[0], &name("log.c"));
    let (killed, living): (Vec<_>, Vec<_>) =
        nodes.into_iter().zip(others).partition(|(node, _)| node.id == leader);
    killed.into_iter().for_each(|(node, _)| drop(node.daemon.kill()));
    let mut wanted = BTreeMap::new();
    for worker in workers {
        let published = timeout(PATIENCE, worker).await.unwrap().unwrap();
        assert!(published.is_sorted_by(|one, next| one.0 < next.0), "{published:?}");
        wanted.extend(published);
    }
    assert_eq!(wanted.len(), 3 * STEPS, "each has an offset of its own");
    for follower in followers {
        assert_eq!(timeout(PATIENCE, follower).await.unwrap().unwrap(), wanted);
    }
    let consumed = timeout(PATIENCE, consumer).await.unwrap().unwrap();
    assert_eq!(consumed.len(), 3 * STEPS);
    for (_, client) in &living {
        assert_eq!(client.get_counter(&name("count.c")).await.unwrap(), Some(3 * STEPS as i64));
        let (_, standings) = client.standings(&name("poll.c")).await.unwrap();
        assert_eq!((standings.ballots, standings.counts.as_slice()), (80, &[40, 40][..]));
    }
    let repeated: u64 = clients.iter().map(Client::repeated).sum();
    assert!(repeated > 0, "the kill has gone unnoticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_its_clients_of_the_others() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let nodes = cluster.of_three();
    let told = wait("the URLs of the others", || {
        let client = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(nodes[0].daemon.connect(Via::Ws))
        });
        let told = client.server_info().nodes;
        (told.len() == 2).then_some(told)
    });
    assert_eq!(told, ["ws://node-2.example:7171", "ws://node-3.example:7171"]);
}

#[test]
fn the_demonstration_of_a_cluster_ends_with_exact_counts() {
    let _one = ONE.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let ballots = folder.path().join("ballots.csv");
    std::fs::write(&ballots, "first,second,count\nAda,Bo,2500\nBo,Ada,2000\nCy,Bo,1500\n").unwrap();
    let args = ["--cluster", "3", "--headless", "--json", "--count-column", "count"];
    let output = tidewire()
        .arg("demo")
        .args(args)
        .args(["--watchers", "30", "--connections", "6", "--listen", "127.0.0.1:0", "--ballots"])
        .arg(&ballots)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let answered = object["accepted"].as_u64().unwrap() + object["duplicates"].as_u64().unwrap();
    assert_eq!((answered, &object["winner"]), (6_000, &Value::from("Bo")), "{object}");
    assert_eq!(object["faults"], Value::Array(Vec::new()), "{object}");
    assert_eq!(object["watchers_agree"], true);
    assert!(object["sent_again"].as_u64().unwrap() > 0, "{object}");
    assert!(object["cluster"]["counted_before"].as_u64().unwrap() >= 3_000, "{object}");
}
