//! Tenants: several customers on one daemon, who neither see nor hinder each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{
    CellKind, Client, Error, ErrorCode, Name, Pattern, Start, SubscribeOptions, Subscription,
    SubscriptionEvent, WatchOptions,
};
use tokio::time::timeout;

use crate::daemon::{ALL, Daemon, PATIENCE, Via, tidewire};

const ROLES: &str = r#"
[[auth.role]]
name = "all"
acts_for_others = true
rules = [{ names = ">", allow = ["publish", "subscribe", "history", "incr", "vote", "presence", "group", "admin"] }]
"#;

/// A daemon with a key for each of two tenants, and one of the operator's.
struct Tenants {
    daemon: Daemon,
    files: Arc<tempfile::TempDir>,
}

impl Tenants {
    fn start(limits: &str) -> Self {
        let files = Arc::new(tempfile::tempdir().unwrap());
        for key in ["acme", "globex", "operator"] {
            let secret = format!("the secret of {key}, which is longer than 32 bytes");
            std::fs::write(files.path().join(key), secret).unwrap();
        }
        let daemon = Daemon::start_in(Arc::clone(&files), &Self::config(&files, limits));
        Self { daemon, files }
    }

    /// `limits`: of tenant acme; the other one has none.
    fn config(files: &tempfile::TempDir, limits: &str) -> String {
        let key = |id: &str, tenant: &str| {
            let file = files.path().join(id);
            format!(
                "[[auth.token_key]]\nid = \"{id}\"\nalgorithm = \"HS256\"\nfile = {file:?}\n{tenant}\n"
            )
        };
        let keys = [
            key("acme", "tenant = \"acme\""),
            key("globex", "tenant = \"globex\""),
            key("operator", ""),
        ];
        format!(
            "{ROLES}\n{}\n[[tenant]]\nprefix = \"acme\"\n{limits}\n[[tenant]]\nprefix = \"globex\"\n\
             [[policy]]\nnames = \"*.kept.>\"\ndurability = \"disk\"\nallow_delete = true\n\
             [[policy]]\nnames = \">\"\nallow_delete = true\n",
            keys.concat()
        )
    }

    fn token(&self, key: &str) -> String {
        let file = self.files.path().join(key);
        // All tokens claim as much as they can, and are of one subject.
        let args = ["auth", "token", "--algorithm", "HS256", "--subject", "ann", "--role", "all"];
        let by = ["--key-id", key, "--key-file"];
        let signed = tidewire().args(args).args(by).arg(file).output().unwrap();
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
        String::from_utf8(signed.stdout).unwrap().trim().to_owned()
    }

    async fn connect(&self, via: Via, key: &str) -> Client {
        self.daemon.connect_as(via, Some(&self.token(key))).await.unwrap()
    }

    /// A tenant, as an operator sees it.
    fn info(&self, prefix: &str) -> serde_json::Value {
        let reply = self.daemon.get("/v1/tenants");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        let all: serde_json::Value = serde_json::from_str(body).unwrap();
        let tenants = all["tenants"].as_array().unwrap();
        tenants.iter().find(|tenant| tenant["prefix"] == prefix).unwrap().clone()
    }

    /// Waits until a figure of a tenant is as expected.
    async fn wait_for(&self, prefix: &str, figure: &str, expected: u64) {
        let began = Instant::now();
        while self.info(prefix)[figure] != expected {
            assert!(began.elapsed() < PATIENCE, "{figure}: {}", self.info(prefix));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn reload(&self, limits: &str) {
        let file = self.files.path().join("tidewire.toml");
        std::fs::write(file, Self::config(&self.files, limits)).unwrap();
        self.daemon.signal("-HUP");
    }
}

fn code(error: &Error) -> Option<ErrorCode> {
    error.refusal().map(|refusal| refusal.code)
}

fn refused<T>(outcome: Result<T, Error>, expected: ErrorCode, saying: &str) {
    let error = outcome.err().unwrap();
    assert_eq!(code(&error), Some(expected), "{error}");
    assert!(error.to_string().contains(saying), "{error}");
}

async fn follow(client: &Client, pattern: &str) -> Result<Subscription, Error> {
    let pattern = Pattern::parse(pattern).unwrap();
    client.subscribe(&pattern, Start::Earliest, SubscribeOptions::default()).await
}

/// The topics of what comes until this record.
async fn topics(subscription: &mut Subscription, last: &str) -> Vec<String> {
    let mut topics = Vec::new();
    loop {
        let event = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
        let SubscriptionEvent::Delivery(delivery) = event else { continue };
        topics.push(delivery.topic.to_string());
        if delivery.records().any(|(_, record)| record.payload == Some(last.as_bytes())) {
            return topics;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_other_by_name_or_by_pattern() {
    let tenants = Tenants::start("");
    for via in ALL {
        let acme = tenants.connect(via, "acme").await;
        let globex = tenants.connect(via, "globex").await;
        let only = "tenant 'globex' has only names of 'globex.>'";
        for topic in ["acme.orders", "acme.kept.orders"] {
            acme.publish(topic, "x").await.unwrap();
            refused(globex.publish(topic, "x").await, ErrorCode::Forbidden, only);
            refused(follow(&globex, topic).await, ErrorCode::Forbidden, only);
            let name = Name::parse(topic).unwrap();
            refused(globex.incr(&name, 1).await, ErrorCode::Forbidden, only);
            let watched = globex.watch(CellKind::Counter, &name, WatchOptions::default()).await;
            refused(watched, ErrorCode::Forbidden, only);
        }
        for beside in ["globex", "other.orders", "globexes.orders", "$sys.audit"] {
            refused(globex.publish(beside, "x").await, ErrorCode::Forbidden, "globex");
        }
        refused(follow(&globex, "acme.>").await, ErrorCode::Forbidden, only);
        for pattern in [">", "*.>", "*.orders", "globex.>"] {
            let mut subscription = follow(&globex, pattern).await.unwrap();
            let last = format!("{via:?} {pattern}");
            acme.publish("acme.orders", "not for them").await.unwrap();
            globex.publish("globex.orders", &last).await.unwrap();
            let seen = topics(&mut subscription, &last).await;
            assert!(seen.iter().all(|topic| topic.starts_with("globex.")), "{seen:?}");
        }
        // AUTH is no way from one to the other, though it is the same subject of the same issuer.
        let other = globex.authenticate(&tenants.token("acme")).await;
        assert_eq!(code(&other.err().unwrap()), Some(ErrorCode::Forbidden));
        globex.authenticate(&tenants.token("globex")).await.unwrap();
        // The operator's key is confined to nothing.
        let operator = tenants.connect(via, "operator").await;
        let (mut all, last) = (follow(&operator, "*.orders").await.unwrap(), format!("{via:?}"));
        globex.publish("globex.orders", &last).await.unwrap();
        let seen = topics(&mut all, &last).await;
        assert!(seen.iter().any(|topic| topic == "acme.orders"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_of_names_hinders_nobody_else() {
    let tenants = Tenants::start("names_max = 10\n");
    let acme = tenants.connect(Via::Ws, "acme").await;
    let globex = tenants.connect(Via::Quic, "globex").await;
    // Exactly as many as it may have, wherever they are: 32 shards share them.
    let (mut made, mut refusals) = (Vec::new(), 0);
    for number in 0..40 {
        let topic = format!("acme.{}{number}", if number % 2 == 0 { "kept." } else { "t" });
        match acme.publish(&topic, "x").await {
            Ok(_) => made.push(topic),
            Err(error) => {
                let said = "tenant 'acme' has all of its 10 names";
                refused(Err::<(), _>(error), ErrorCode::LimitExceeded, said);
                refusals += 1;
            }
        }
        globex.publish(&format!("globex.{number}"), "x").await.unwrap();
    }
    assert_eq!((made.len(), refusals), (10, 30));
    let counter = Name::parse("acme.counter").unwrap();
    refused(acme.incr(&counter, 1).await, ErrorCode::LimitExceeded, "names_max");
    refused(follow(&acme, "acme.new").await, ErrorCode::LimitExceeded, "names_max");
    let info = tenants.info("acme");
    assert_eq!((&info["names"], &info["limits"]["names_max"]), (&10.into(), &10.into()));
    assert!(info["refused"]["names"].as_u64().unwrap() >= 32, "{info}");
    assert_eq!(tenants.info("globex")["names"], 40);
    for topic in &made {
        acme.publish(topic.as_str(), "what is there goes on").await.unwrap();
    }
    let metrics = tenants.daemon.get("/metrics");
    let line = "tidewire_tenant_names{tenant=\"acme\"} 10";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    let listed = tidewire()
        .args(["admin", "tenant", "list", "--admin", &tenants.daemon.admin])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("acme: 1 connections, ") && listed.contains("10 names of 10"),
        "{listed}"
    );

    // What goes makes room, wherever it was.
    let url = tenants.daemon.url(Via::Ws);
    let deleted = tidewire()
        .args(["topic", "delete", &made[0]])
        .env("TIDEWIRE_URL", url)
        .env("TIDEWIRE_TOKEN", tenants.token("acme"))
        .output()
        .unwrap();
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    tenants.wait_for("acme", "names", 9).await;
    acme.incr(&counter, 1).await.unwrap();
    refused(acme.publish("acme.more", "x").await, ErrorCode::LimitExceeded, "names_max");

    // Another limit applies without a restart, and those on disk are there after one.
    tenants.reload("names_max = 12\n").await;
    let began = Instant::now();
    while let Err(error) = acme.publish("acme.more", "x").await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let kept = made.iter().skip(1).filter(|topic| topic.contains("kept")).count() as u64;
    drop((acme, globex));
    let files = tenants.daemon.kill();
    let config = Tenants::config(&files, "names_max = 3\n");
    let daemon = Daemon::start_in(Arc::clone(&files), &config);
    let tenants = Tenants { daemon, files };
    assert_eq!(tenants.info("acme")["names"], kept);
    assert!(kept > 3);
    let acme = tenants.connect(Via::Ws, "acme").await;
    refused(acme.publish("acme.kept.new", "x").await, ErrorCode::LimitExceeded, "3 names");
    let old = made.iter().skip(1).find(|topic| topic.contains("kept")).unwrap();
    acme.publish(old.as_str(), "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_subscriptions_and_requests_of_a_tenant_are_counted_together() {
    let limits = "connections_max = 3\nsubscriptions_max = 4\n";
    let tenants = Tenants::start(limits);
    let mut clients = Vec::new();
    for via in ALL {
        clients.push(tenants.connect(via, "acme").await);
    }
    for via in ALL {
        let more = tenants.daemon.connect_as(via, Some(&tenants.token("acme"))).await;
        refused(more, ErrorCode::LimitExceeded, "tenant 'acme' may have 3 connections");
        drop(tenants.connect(via, "globex").await);
    }
    let globex = tenants.connect(Via::Ws, "globex").await;
    let mut subscriptions = Vec::new();
    for (client, pattern) in clients.iter().cycle().zip(["acme.a", "acme.>", ">", "acme.b"]) {
        subscriptions.push(follow(client, pattern).await.unwrap());
    }
    for client in &clients {
        let said = "subscriptions_max of the tenant";
        refused(follow(client, "acme.c").await, ErrorCode::LimitExceeded, said);
        // What is refused anyway takes no place.
        assert!(follow(&globex, "acme.c").await.is_err());
    }
    for number in 0..8 {
        subscriptions.push(follow(&globex, &format!("globex.{number}")).await.unwrap());
    }
    assert_eq!(tenants.info("acme")["subscriptions"], 4);
    assert_eq!(tenants.info("globex")["subscriptions"], 8);
    clients.pop().unwrap().close().await;
    tenants.wait_for("acme", "connections", 2).await;
    tenants.wait_for("acme", "subscriptions", 3).await;
    clients.push(tenants.connect(Via::Wss, "acme").await);
    follow(&clients[2], "acme.c").await.unwrap();

    // One bucket for all of them.
    tenants.reload("requests_per_s = 20\n").await;
    let began = Instant::now();
    let limited = 'limited: loop {
        assert!(began.elapsed() < PATIENCE, "nothing is refused");
        for client in &clients {
            if let Err(error) = client.publish("acme.a", "x").await {
                break 'limited error;
            }
        }
    };
    refused(Err::<(), _>(limited), ErrorCode::RateLimited, "all connections of tenant 'acme'");
    for _ in 0..60 {
        globex.publish("globex.a", "x").await.unwrap();
    }
    let info = tenants.info("acme");
    assert_eq!(info["limits"]["connections_max"], 0);
    assert!(info["refused"]["requests"].as_u64().unwrap() > 0, "{info}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fills_its_share_of_memory_loses_its_own_records_only() {
    // A 32nd of it is in the shard of a topic.
    let tenants = Tenants::start("topic_bytes_max = 3200000\n");
    let acme = tenants.connect(Via::Ws, "acme").await;
    let globex = tenants.connect(Via::Ws, "globex").await;
    for topic in ["acme.big", "acme.kept.big"] {
        let other = topic.replace("acme", "globex");
        globex.publish(other.as_str(), "first").await.unwrap();
        let payload = vec![b'x'; 10_000];
        for _ in 0..40 {
            acme.publish(topic, payload.clone()).await.unwrap();
        }
        acme.publish(topic, "last").await.unwrap();
        let mut kept = follow(&acme, topic).await.unwrap();
        let kept = topics(&mut kept, "last").await.len();
        assert!((2..=11).contains(&kept), "{kept} of 41 batches are kept of '{topic}'");
        globex.publish(other.as_str(), "last").await.unwrap();
        let mut all = follow(&globex, &other).await.unwrap();
        assert_eq!(topics(&mut all, "last").await.len(), 2);
    }
    let info = tenants.info("acme");
    assert!(info["evicted_bytes"].as_u64().unwrap() >= 500_000, "{info}");
    assert!(info["topic_bytes"].as_u64().unwrap() <= 200_000, "{info}");
    assert_eq!(tenants.info("globex")["evicted_bytes"], 0);
}
