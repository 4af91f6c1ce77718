//! Cells that each node changes by itself: counted on all nodes at once, by one that is alone, and who is
//! present on which node; and what a node that is alone still reads.

use std::time::{Duration, Instant};

use tidewire_client::{
    CellKind, Client, CounterOptions, ErrorCode, GetOptions, Increments, Name, Numbering, Value,
    WatchOptions, WatchValue,
};

use super::shards::{ONE, control, count, name};
use super::{Cluster, Node};
use crate::daemon::{PATIENCE, Via};

/// How soon all nodes have to have the same, on a machine that does much else.
const CONVERGED: Duration = Duration::from_secs(2);

async fn read(client: &Client, kind: CellKind, name: &Name) -> Option<Value> {
    client.get(kind, name, None).await.unwrap()
}

async fn likes(client: &Client) -> i64 {
    let value = read(client, CellKind::Counter, &name("likes.a")).await;
    value.map_or(0, |value| value.counter().unwrap())
}

/// Waits until a client reads this, and returns how long that took.
async fn until(client: &Client, wanted: i64) -> Duration {
    let began = Instant::now();
    while likes(client).await != wanted {
        assert!(began.elapsed() < PATIENCE, "{} is not {wanted}", likes(client).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

async fn members(client: &Client) -> Vec<String> {
    let value = read(client, CellKind::Presence, &name("room")).await;
    value.map_or_else(Vec::new, |value| value.entries().unwrap().into_keys().collect())
}

async fn until_present(client: &Client, wanted: &[&str]) {
    let began = Instant::now();
    while members(client).await != wanted {
        assert!(began.elapsed() < PATIENCE, "{:?} are present", members(client).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn until_all_are_heard(node: &Node) {
    super::wait("all nodes to be heard", || {
        node.daemon.get("/metrics").contains("tidewire_commons_stale 0").then_some(())
    });
}

async fn add(increments: &Increments, times: i64) {
    for _ in 0..times {
        increments.add(&name("likes.a"), 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_count_at_once_and_show_who_is_where_and_go_on_alone() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let ([first, second, third], [a, b, c]) = cluster.of_three_keeping().await;
    assert_eq!(a.server_info().actor, Some((1, 1)));
    [&first, &second, &third].into_iter().for_each(until_all_are_heard);

    // All at once.
    let numberings = [
        a.increments().await.unwrap(),
        b.increments().await.unwrap(),
        c.increments().await.unwrap(),
    ];
    tokio::join!(add(&numberings[0], 200), add(&numberings[1], 200), add(&numberings[2], 200));
    for client in [&a, &b, &c] {
        let took = until(client, 600).await;
        assert!(took < CONVERGED, "it took {took:?}");
    }
    let watched = watch_next(&b, 600).await;
    assert_eq!(watched, None, "nothing is stale");
    let counted = numberings[0].add(&name("likes.a"), 1).await.unwrap();
    let options =
        || GetOptions { at_least: counted.as_of.into_iter().collect(), linearizable: None };
    let began = Instant::now();
    loop {
        match b.get_with(CellKind::Counter, &name("likes.a"), None, options()).await {
            Ok(value) => break assert_eq!(value.unwrap().counter().unwrap(), 601),
            Err(error) => assert!(error.is_retryable() && began.elapsed() < PATIENCE, "{error}"),
        }
    }
    let with_id = CounterOptions { id: Some("x".to_owned()), ..CounterOptions::default() };
    let op = tidewire_client::CounterOp::Add;
    let refused = a.count(&name("likes.a"), op, 1, with_id).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, ErrorCode::Unsupported);

    // Who is where.
    a.presence_join(&name("room"), "ann", None).await.unwrap();
    b.presence_join(&name("room"), "bob", None).await.unwrap();
    c.presence_join(&name("room"), "cat", None).await.unwrap();
    for client in [&a, &b, &c] {
        until_present(client, &["ann", "bob", "cat"]).await;
    }
    b.presence_leave(&name("room"), "bob").await.unwrap();
    until_present(&c, &["ann", "cat"]).await;

    // What a majority keeps is read from a copy when there is none.
    assert_eq!(count(&a, &name("count.x"), 1).await, 1);
    let kept = read(&c, CellKind::Counter, &name("count.x")).await.unwrap();
    assert_eq!((kept.counter().unwrap(), kept.as_of), (1, None));

    // Alone.
    until(&c, 601).await;
    drop((first.daemon.kill(), second.daemon.kill()));
    add(&numberings[2], 10).await;
    assert_eq!(likes(&c).await, 611);
    until_present(&c, &["cat"]).await;
    let value = read(&c, CellKind::Counter, &name("count.x")).await.unwrap();
    assert_eq!(value.counter().unwrap(), 1);
    assert!(value.as_of.unwrap().is_stale);
    let strictly = GetOptions { at_least: Vec::new(), linearizable: Some(true) };
    let refused = c.get_with(CellKind::Counter, &name("count.x"), None, strictly).await;
    assert_eq!(refused.unwrap_err().refusal().unwrap().code, ErrorCode::Unavailable);
    assert!(read(&c, CellKind::Counter, &name("likes.a")).await.unwrap().as_of.unwrap().is_stale);
    assert!(watch_next(&c, 611).await.is_some(), "a watch says that it is stale");
    let shown = third.daemon.run(&["counter", "get", "count.x", "--json"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("\"stale\":true"), "{shown}");
    drop(third);
}

/// The next value that is watched, which has to be this one: how stale it is.
async fn watch_next(client: &Client, wanted: i64) -> Option<u64> {
    let options = WatchOptions::default();
    let mut watch = client.watch(CellKind::Counter, &name("likes.a"), options).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(event.value, WatchValue::Counter(wanted));
    event.behind_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_gets_back_what_others_have_heard() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let ([first, second, third], [a, b, c]) = cluster.of_three_keeping().await;
    let ports = [first.port, second.port];
    let numbering = c.increments().await.unwrap();
    add(&numbering, 50).await;
    for client in [&a, &b] {
        until(client, 50).await;
    }
    c.presence_join(&name("room"), "cat", None).await.unwrap();
    until_present(&a, &["cat"]).await;
    drop(c);
    let Node { daemon, id, port } = third;
    let files = daemon.kill();
    let seeds = [ports[0]];
    let config = cluster.keeping(id, port, &seeds);
    let daemon = crate::daemon::Daemon::start_in(files, &config);
    let third = Node { daemon, id, port };
    let c = third.daemon.connect(Via::Ws).await;
    assert!(c.server_info().actor > Some((3, 1)), "it is another life");
    add(&c.increments().await.unwrap(), 5).await;
    for client in [&a, &b, &c] {
        until(client, 55).await;
        until_present(client, &[]).await;
    }
    super::wait("the earlier life to be taken over", || {
        let metrics = third.daemon.get("/metrics");
        metrics.contains("tidewire_commons_taken_over_total 1").then_some(())
    });
    assert_eq!(likes(&a).await, 55);
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_its_own_counts_so_too() {
    let config = "[[policy]]\nnames = \"likes.>\"\nconsistency = \"eventual\"\n";
    let daemon = crate::daemon::Daemon::start(config);
    let client = daemon.connect(Via::Ws).await;
    let numbering = client.increments().await.unwrap();
    add(&numbering, 3).await;
    let value = read(&client, CellKind::Counter, &name("likes.a")).await.unwrap();
    assert_eq!((value.counter().unwrap(), value.as_of), (3, None));
    assert_eq!(watch_next(&client, 3).await, None);
    let strong = client.incr(&name("other"), 2).await.unwrap();
    assert_eq!((strong.value, strong.as_of), (2, None));
}

/// An increment in the numbering of somebody who may have tried it on the third node.
async fn numbered(client: &Client, sequence: u64) -> tidewire_client::Counted {
    let numbering = Numbering { producer: Some(77), sequence: Some(sequence), tried: vec![(3, 1)] };
    let options = CounterOptions { numbering: Some(numbering.into()), ..CounterOptions::default() };
    let op = tidewire_client::CounterOp::Add;
    client.count(&name("likes.a"), op, 1, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_ends_and_what_it_has_counted_stays() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let ([first, second, third], [a, b, c]) = cluster.of_three_keeping().await;
    add(&a.increments().await.unwrap(), 5).await;
    add(&c.increments().await.unwrap(), 30).await;
    assert!(!numbered(&c, 1).await.duplicate);
    a.presence_join(&name("room"), "ann", None).await.unwrap();
    c.presence_join(&name("room"), "cat", None).await.unwrap();
    for client in [&a, &b] {
        until(client, 36).await;
        until_present(client, &["ann", "cat"]).await;
    }
    drop(third.daemon.kill());
    let removed = control(&first, "remove 3");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    for client in [&a, &b] {
        until_present(client, &["ann"]).await;
    }
    for node in [&first, &second] {
        super::wait("it to be decided what there is of the removed node", || {
            let metrics = node.daemon.get("/metrics");
            metrics.contains("tidewire_commons_removed_apart 0").then_some(())
        });
    }
    [&first, &second].into_iter().for_each(until_all_are_heard);
    for client in [&a, &b] {
        let value = read(client, CellKind::Counter, &name("likes.a")).await.unwrap();
        assert_eq!(value.counter().unwrap(), 36);
        assert!(!value.as_of.unwrap().is_stale);
    }
    let again = numbered(&b, 1).await;
    assert!(again.duplicate, "it was counted on the node that is gone");
    assert_eq!(again.as_of.map(|(node, life, _)| (node, life)), Some((3, 1)));
    assert!(!numbered(&a, 2).await.duplicate, "and this one for certain not");
    until(&b, 37).await;

    // Who starts again, without a memory, gets it from the others.
    drop(b);
    let Node { daemon, id, port } = second;
    let config = cluster.keeping(id, port, &[first.port]);
    let second = Node { daemon: crate::daemon::Daemon::start_in(daemon.kill(), &config), id, port };
    let b = second.daemon.connect(Via::Ws).await;
    until(&b, 37).await;
    assert!(numbered(&b, 1).await.duplicate);
    assert_eq!(likes(&a).await, 37);
}
