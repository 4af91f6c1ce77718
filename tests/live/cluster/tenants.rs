//! Tenants on the nodes of a cluster: which limits hold for all nodes together, and which for each.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidewire_client::{Client, CounterOp, CounterOptions, Error, ErrorCode};

use super::shards::{ONE, control, name, wait_for_three};
use super::{Cluster, Node};
use crate::daemon::{PATIENCE, Via, tidewire};

const NAMES_MAX: u64 = 10;
/// Each of 32 shards has its share of it.
const BYTES_MAX: u64 = 32 * 32 * 1024;

impl Cluster {
    /// What a node with a tenant is configured with.
    fn with_tenant(&self, id: u64, port: u16, seeds: &[u16]) -> String {
        let secret = self.path("acme.secret");
        std::fs::write(secret, "the secret of acme, which is longer than 32 bytes").unwrap();
        let rules = r#"rules = [{ names = ">", allow = ["publish", "subscribe", "history", "incr", "presence", "admin"] }]"#;
        format!(
            "{}[[policy]]\nnames = \"acme.log.>\"\ndurability = \"disk\"\n\
             [[policy]]\nnames = \"acme.count.>\"\ndurability = \"disk\"\n\
             [[policy]]\nnames = \"acme.likes.>\"\nconsistency = \"eventual\"\n\
             [[auth.role]]\nname = \"all\"\n{rules}\n\
             [[auth.token_key]]\nid = \"acme\"\nalgorithm = \"HS256\"\nfile = {secret:?}\ntenant = \"acme\"\n\
             [[tenant]]\nprefix = \"acme\"\nnames_max = {NAMES_MAX}\ntopic_bytes_max = {BYTES_MAX}\n\
             connections_max = 2\n",
            self.keeping(id, port, seeds)
        )
    }

    async fn of_three_with_tenant(&self) -> [Node; 3] {
        let start = |id, seeds: &[u16]| {
            let port = super::free_port();
            let daemon = crate::daemon::Daemon::start(&self.with_tenant(id, port, seeds));
            Node { daemon, id, port }
        };
        let first = start(1, &[]);
        let seeds = [first.port];
        let nodes = [first, start(2, &seeds), start(3, &seeds)];
        for (node, what) in nodes.iter().zip(["init", "join", "join"]) {
            let output = control(node, what);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        wait_for_three(&nodes[2]);
        nodes
    }

    fn token(&self) -> String {
        let args = ["auth", "token", "--algorithm", "HS256", "--subject", "ann", "--role", "all"];
        let by = ["--key-id", "acme", "--key-file", self.path("acme.secret")];
        let signed = tidewire().args(args).args(by).output().unwrap();
        assert!(signed.status.success(), "{}", super::text(&signed.stderr));
        super::text(&signed.stdout).trim().to_owned()
    }

    async fn connect(&self, node: &Node) -> Result<Client, Error> {
        node.daemon.connect_as(Via::Ws, Some(&self.token())).await
    }
}

fn info(node: &Node) -> Value {
    let reply = node.daemon.get("/v1/tenants");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let all: Value = serde_json::from_str(body).unwrap();
    all["tenants"][0].clone()
}

fn figure(node: &Node, of: &str) -> u64 {
    info(node)[of].as_u64().unwrap()
}

/// Waits until each of these nodes knows that the tenant has so many names on all of them.
fn knows(nodes: &[&Node], names: u64) {
    let began = Instant::now();
    let knows = |node: &&Node| figure(node, "names") + figure(node, "names_elsewhere") == names;
    while !nodes.iter().all(knows) {
        let infos: Vec<Value> = nodes.iter().map(|node| info(node)).collect();
        assert!(began.elapsed() < PATIENCE, "not {names} names: {infos:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_over(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code == ErrorCode::LimitExceeded)
}

async fn count(client: &Client, number: u64) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        match client.incr(&name(&format!("acme.count.{number}")), 1).await {
            Ok(_) => return Ok(()),
            Err(error)
                if error.is_retryable() && began.elapsed() < PATIENCE && !is_over(&error) =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_its_names_and_bytes_on_all_nodes_together_and_connections_on_each() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let nodes = cluster.of_three_with_tenant().await;
    let [first, second, third] = &nodes;
    let [a, b, c] = [
        cluster.connect(first).await.unwrap(),
        cluster.connect(second).await.unwrap(),
        cluster.connect(third).await.unwrap(),
    ];

    // Connections: two on each node.
    let other = cluster.connect(first).await.unwrap();
    assert!(is_over(&cluster.connect(first).await.err().unwrap()));
    drop(other);

    // Bytes: a shard keeps its share, on whichever node it is led, and copies are not counted.
    let topic = "acme.log.a";
    for _ in 0..100 {
        c.publish(topic, "x".repeat(1_024)).await.unwrap();
    }
    let sum = |of: &str| nodes.iter().map(|node| figure(node, of)).sum::<u64>();
    assert!((1..=BYTES_MAX / 32).contains(&sum("topic_bytes")), "{}", info(first));
    assert!(sum("evicted_bytes") > 50 * 1_024, "{}", info(first));

    // Names: ten on all nodes, whichever of them is asked and leads.
    knows(&[first, second, third], 1);
    for number in 1..NAMES_MAX {
        let client = [&a, &b, &c][usize::try_from(number).unwrap() % 3];
        count(client, number).await.unwrap();
        knows(&[first, second, third], number + 1);
    }
    assert!(nodes.iter().filter(|node| figure(node, "names") > 0).count() > 1, "several lead some");
    for client in [&a, &b, &c] {
        for number in 100..105 {
            assert!(is_over(&count(client, number).await.unwrap_err()));
        }
    }
    // Eventual counters and presence are none of them.
    let increments = b.increments().await.unwrap();
    increments.add(&name("acme.likes.x"), 1).await.unwrap();
    b.presence_join(&name("acme.room"), "ann", None).await.unwrap();
    knows(&[first, second, third], NAMES_MAX);

    // They are known when another node leads.
    let [first, second, third] = nodes;
    drop(third.daemon.kill());
    knows(&[&first, &second], NAMES_MAX);
    assert!(is_over(&count(&a, 106).await.unwrap_err()));
    let reset = CounterOptions::default();
    a.count(&name("acme.count.1"), CounterOp::Reset, 0, reset).await.unwrap();
    knows(&[&first, &second], NAMES_MAX - 1);
    count(&b, 107).await.unwrap();
    knows(&[&first, &second], NAMES_MAX);
    assert!(is_over(&count(&b, 108).await.unwrap_err()));
}
