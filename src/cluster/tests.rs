//! Whole nodes, several in one process: what those who build on the cluster see of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::config::ClusterConfig;

const PATIENCE: Duration = Duration::from_secs(20);

fn start(folder: &std::path::Path, number: u64, seeds: &[SocketAddr]) -> Cluster {
    let node = NodeId::new(number).unwrap();
    let made = ca::issue(folder, node, folder).unwrap();
    let config = Config {
        node: format!("node-{number}"),
        cluster: ClusterConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            seeds: seeds.iter().map(SocketAddr::to_string).collect(),
            ca: Some(folder.join(ca::CA_FILE)),
            certificate: Some(made.certificate),
            key: Some(made.key),
            ..ClusterConfig::default()
        },
        ..Config::default()
    };
    Cluster::start(&config).unwrap().unwrap()
}

/// Waits for changes of the roster until a node is so.
async fn sees(cluster: &Cluster, node: NodeId, is_so: impl Fn(&NodeInfo) -> bool) {
    let mut changes = cluster.roster.changes();
    let waiting = async {
        while !cluster.roster.node(node).is_some_and(|info| is_so(&info)) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_the_roster_hears_of_each_change() {
    let folder = tempfile::tempdir().unwrap();
    ca::init(folder.path()).unwrap();
    let one = start(folder.path(), 1, &[]);
    let two = start(folder.path(), 2, &[one.listen]);
    let is_alive = |info: &NodeInfo| info.state == NodeState::Alive;
    sees(&one, two.node, is_alive).await;
    sees(&two, one.node, is_alive).await;
    assert_eq!(one.roster.nodes().len(), 2);

    two.set_load(NodeLoad { connections: 1_000, ..NodeLoad::default() });
    sees(&one, two.node, |info| info.load.connections == 1_000).await;
    two.drain();
    sees(&one, two.node, |info| info.activity == Some(Activity::Draining)).await;
    // A load that comes later does not hide it.
    two.set_load(NodeLoad { connections: 10, ..NodeLoad::default() });
    sees(&one, two.node, |info| info.load.connections == 10).await;
    assert_eq!(one.roster.node(two.node).unwrap().activity, Some(Activity::Draining));

    two.leave().await;
    sees(&one, two.node, |info| info.state == NodeState::Left && !info.is_reachable).await;
}

#[tokio::test]
async fn services_reach_nodes_that_gossip_has_told_of() {
    let folder = tempfile::tempdir().unwrap();
    ca::init(folder.path()).unwrap();
    let one = start(folder.path(), 1, &[]);
    let others = [2, 3].map(|number| start(folder.path(), number, &[one.listen]));
    let [two, three] = &others;
    let mut streams = three.links.serve(9);
    sees(two, three.node, |info| info.state == NodeState::Alive).await;
    let (mut send, _recv) = two.links.open(three.node, 9).await.unwrap();
    send.write_all(b"x").await.unwrap();
    let incoming = tokio::time::timeout(PATIENCE, streams.recv()).await.unwrap().unwrap();
    assert_eq!(incoming.node, two.node);
}

#[test]
fn without_a_certificate_there_is_no_cluster() {
    assert!(Cluster::start(&Config::default()).unwrap().is_none());
}
