//! What a cluster refuses to decide, and what it says of itself.

use std::process::Output;

use super::shards::{ONE, control};
use super::{Cluster, Node, wait};
use crate::daemon::Daemon;

fn refusal(node: &Node, what: &str) -> String {
    let output: Output = control(node, what);
    assert!(!output.status.success(), "{what} is not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_something_is_refused_with_what_to_do() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start_keeping(1, &[]);
    let ready = first.daemon.get("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("tidewire admin cluster init"), "{ready}");
    assert!(control(&first, "init").status.success());
    assert!(first.daemon.get("/readyz").starts_with("HTTP/1.1 200"));
    let second = cluster.start_keeping(2, &[first.port]);
    second.sees(1, "alive");
    for (node, what, says) in [
        (&second, "init", "node 1 belongs to a cluster that is founded already"),
        (&first, "init", "is a member already"),
        (&first, "remove 1", "node 1 is the last active one"),
        (&first, "drain 1", "node 1 is the last active one"),
        (&first, "remove 7", "node 7 does not belong to the cluster"),
        (&first, "copies 2", "2 is no number of copies: it is odd"),
        (&first, "feature-level 9", "node 1 knows feature level 1"),
        (&first, "feature-level 0", "feature level 0 is below that of the cluster"),
        (&first, "upgrade-check", "check again before a node is stopped"),
        (&second, "drain 2", "does not belong to the cluster"),
    ] {
        let said = refusal(node, what);
        assert!(said.contains(says), "{what}: {said}");
    }
    assert!(control(&second, "join").status.success());
    // Two copies are worse than one.
    let status = second.status();
    assert_eq!(status["decided"]["members"][1]["copies_wanted"], 0, "{status}");
    wait("a node without a copy to be ready", || {
        second.daemon.get("/readyz").starts_with("HTTP/1.1 200").then_some(())
    });
    assert!(control(&second, "copies 1").status.success());
    wait("the decision to be known", || (first.status()["decided"]["copies"] == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_policies_is_not_taken_in() {
    let _one = ONE.lock().await;
    let cluster = Cluster::new();
    let first = cluster.start_keeping(1, &[]);
    assert!(control(&first, "init").status.success());
    let port = super::free_port();
    let config = cluster.keeping(2, port, &[first.port]);
    let config =
        config.replace("names = \"count.>\"", "names = \"count.>\"\nretention_records = 7");
    let daemon = Daemon::start(&config);
    let second = Node { daemon, id: 2, port };
    second.sees(1, "alive");
    let said = refusal(&second, "join");
    assert!(said.contains("policy[1].retention_records (of \"count.>\") is 7"), "{said}");
    assert_eq!(first.status()["decided"]["members"].as_array().unwrap().len(), 1);
}
