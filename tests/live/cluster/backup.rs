//! Backups of whole clusters, what is made of them, and what is left when a majority is gone for good.

mod written;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use tidewire_client::{Choice, Client};

use self::written::{Load, State, is_between, state_of, topics};
use super::growth::settles;
use super::shards::{ONE, control, count, leader_of, name, records, subscribe, wait_for_three};
use super::{Cluster, Node, text, wait};
use crate::daemon::{Daemon, Via, tidewire};

/// Checkpoints as often as there may be, so that records lie in blocks before them.
const OFTEN: &str = "checkpoint_bytes = 65536\n";

fn run(args: &[&str]) -> Output {
    tidewire().args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    text(&[&output.stdout[..], &output.stderr[..]].concat())
}

fn does(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

async fn backs_up(node: &Node, file: &Path, more: &[&str]) -> Output {
    let admin = node.daemon.admin.clone();
    let mut args = vec!["admin".to_owned(), "--admin".to_owned(), admin, "backup".to_owned()];
    args.push(file.to_str().unwrap().to_owned());
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    tokio::task::spawn_blocking(move || tidewire().args(args).output().unwrap()).await.unwrap()
}

impl Cluster {
    /// Another cluster with the same master key.
    fn anew(&self) -> Self {
        let other = Self::new();
        std::fs::copy(self.path("cluster-master.key"), other.path("cluster-master.key")).unwrap();
        other
    }

    /// The configuration of a server of its own with the same names and key.
    fn alone(&self, id: u64) -> String {
        let config = self.keeping_with(id, super::free_port(), &[], OFTEN);
        let (before, rest) = config.split_once("[cluster]").unwrap();
        let (_, rest) = rest.split_once("[storage]").unwrap();
        format!("{before}[storage]{rest}")
    }

    /// A backup as a data directory.
    fn restored(&self, file: &Path) -> PathBuf {
        let data = file.with_extension("data");
        let (from, to) = (file.to_str().unwrap(), data.to_str().unwrap());
        let key = self.path("cluster-master.key");
        does(&[
            "admin",
            "restore",
            from,
            "--data-dir",
            to,
            "--node",
            "node-1",
            "--master-key-file",
            key,
        ]);
        data
    }

    /// Starts a server of its own over a data directory.
    fn start_alone(&self, data: &Path) -> Daemon {
        let files = Arc::new(tempfile::tempdir().unwrap());
        Daemon::start_over(files, data.to_owned(), &self.alone(1))
    }

    /// Founds a cluster on a data directory; two more nodes join.
    fn founded_on(&self, data: &Path) -> [Node; 3] {
        let port = super::free_port();
        let files = Arc::new(tempfile::tempdir().unwrap());
        let config = self.keeping_with(1, port, &[], OFTEN);
        let first =
            Node { daemon: Daemon::start_over(files, data.to_owned(), &config), id: 1, port };
        let start = |id| self.start_keeping_with(id, &[port], OFTEN);
        let nodes = [first, start(2), start(3)];
        for (node, what) in nodes.iter().zip(["init", "join", "join"]) {
            let output = control(node, what);
            assert!(output.status.success(), "{}", said(&output));
        }
        wait_for_three(&nodes[2]);
        nodes
    }
}

async fn epoch_of(client: &Client, topic: &str) -> u64 {
    client.publish(topic, "of which epoch").await.unwrap().epoch
}

/// Backups of a follower while the first node's client writes. Returns what was acknowledged before the last one began, and
/// in the end.
async fn saved_under_load(nodes: &[Node; 3], client: &Client, file: &Path) -> (State, State) {
    let load = Load::begin(client).await;
    let is_follower = |node: &&Node| node.id != leader_of(node, &topics()[0]);
    let follower = nodes[1..].iter().find(is_follower).unwrap();
    for more in 1..4 {
        load.reaches(more * 300).await;
        let output = backs_up(follower, file, &[]).await;
        let is_whole = output.status.success() && said(&output).contains("16 shards");
        assert!(is_whole, "{}", said(&output));
    }
    // A node that stood still is asked at once when it goes on.
    follower.daemon.signal("-STOP");
    load.reaches(load.records() + 200).await;
    let before = load.now();
    follower.daemon.signal("-CONT");
    let mut output = backs_up(follower, file, &[]).await;
    for _ in 0..5 {
        if output.status.success() {
            break;
        }
        output = backs_up(follower, file, &["--resume"]).await;
    }
    assert!(output.status.success(), "{}", said(&output));
    load.reaches(load.records() + 50).await;
    (before, load.end().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_what_was_acknowledged_before_and_becomes_a_cluster_again() {
    let _one = ONE.lock().await;
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().unwrap());
    let (nodes, [client, _, _]) = cluster.of_three_keeping_with(OFTEN).await;
    let epochs = [epoch_of(&client, "log.epoch").await, epoch_of(&client, "mem.epoch").await];
    let file = folder.path().join("backup");
    let (before, after) = saved_under_load(&nodes, &client, &file).await;
    drop((client, nodes));

    let data = cluster.restored(&file);
    let mut alone = cluster.start_alone(&data);
    let client = alone.connect(Via::Ws).await;
    let restored = state_of(&client).await;
    is_between(&before, &restored, &after);
    assert!(epoch_of(&client, "log.epoch").await > epochs[0], "another history");
    // Who has voted is known.
    let again = client.vote(&name("poll.b"), "voter 0", vec![Choice::Index(0)], None).await;
    assert!(again.is_ok(), "{again:?}");
    let (_, standings) = client.standings(&name("poll.b")).await.unwrap();
    assert_eq!(standings.ballots, restored.votes);
    assert!(alone.terminate().success());
    let verified = does(&["admin", "verify", data.to_str().unwrap()]);
    assert!(verified.contains("whole"), "{verified}");

    // As a node of the cluster that it comes from it is refused; it founds another one.
    let files = tempfile::tempdir().unwrap();
    let config = files.path().join("old.toml");
    std::fs::write(&config, cluster.keeping_with(1, super::free_port(), &[], OFTEN)).unwrap();
    let refused = run(&[
        "serve",
        "--config",
        config.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert!(!refused.status.success() && said(&refused).contains("ca init"), "{}", said(&refused));
    let other = cluster.anew();
    let [first, second, third] = other.founded_on(&data);
    let client = third.daemon.connect(Via::Ws).await;
    let epochs_now = [epoch_of(&client, "log.epoch").await, epoch_of(&client, "mem.epoch").await];
    assert!(epochs_now[0] > epochs[0] && epochs_now[1] > epochs[1], "{epochs_now:?} {epochs:?}");
    drop(first.daemon.kill());
    for topic in topics() {
        let wanted = &restored.records[&topic];
        let found = records(&mut subscribe(&client, &topic).await, wanted.len()).await;
        assert_eq!(&found, wanted, "{topic}");
    }
    let counted = count(&client, &name("count.b"), 1_000_000).await;
    assert_eq!(counted, restored.counted + 1);
    drop(second);
}

/// A node that gives others their states so slowly that one can be asked before it has them.
fn start_slow(cluster: &Cluster, id: u64, port: u16, seeds: &[u16], files: Files) -> Node {
    const SLOW: &str = "[cluster]\nstate_bytes_per_second = 1_048_576\n";
    let config = cluster.keeping_with(id, port, seeds, OFTEN).replace("[cluster]\n", SLOW);
    Node { daemon: Daemon::start_in(files, &config), id, port }
}

type Files = Arc<tempfile::TempDir>;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_far_behind_saves_nothing_that_is_old() {
    let _one = ONE.lock().await;
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().unwrap());
    let files = || Arc::new(tempfile::tempdir().unwrap());
    let first = start_slow(&cluster, 1, super::free_port(), &[], files());
    let seeds = [first.port];
    let start = |id, files| start_slow(&cluster, id, super::free_port(), &seeds, files);
    let (second, third) = (start(2, files()), start(3, files()));
    for (node, what) in [(&first, "init"), (&second, "join"), (&third, "join")] {
        let output = control(node, what);
        assert!(output.status.success(), "{}", said(&output));
    }
    wait_for_three(&third);
    let client = first.daemon.connect(Via::Ws).await;
    let load = Load::begin(&client).await;
    load.reaches(50).await;
    let (port, files) = (third.port, third.daemon.kill());
    load.reaches(600).await;
    let written = load.end().await;
    let third = start_slow(&cluster, 3, port, &seeds, files);
    third.sees(1, "alive");
    third.sees(2, "alive");
    let file = folder.path().join("backup");
    let output = backs_up(&third, &file, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    let alone = cluster.start_alone(&cluster.restored(&file));
    is_between(&written, &state_of(&alone.connect(Via::Ws).await).await, &written);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_copies_of_some_shards_saves_all_of_them() {
    let _one = ONE.lock().await;
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().unwrap());
    let nodes = cluster.of_four_with(OFTEN).await;
    let client = nodes[0].daemon.connect(Via::Ws).await;
    let load = Load::begin(&client).await;
    load.reaches(400).await;
    let written = load.end().await;
    for node in &nodes {
        let file = folder.path().join(format!("backup-{}", node.id));
        let output = backs_up(node, &file, &[]).await;
        assert!(output.status.success(), "node {}: {}", node.id, said(&output));
        let alone = cluster.start_alone(&cluster.restored(&file));
        let restored = state_of(&alone.connect(Via::Ws).await).await;
        is_between(&written, &restored, &written);
    }
    // What was cut off is gone on with at another node.
    let whole = std::fs::read(folder.path().join("backup-1")).unwrap();
    let file = folder.path().join("resumed");
    std::fs::write(file.with_extension("part"), &whole[..whole.len() / 2]).unwrap();
    let output = backs_up(&nodes[3], &file, &["--resume"]).await;
    let said_so = said(&output);
    assert!(output.status.success() && said_so.contains("going on behind"), "{said_so}");
    let alone = cluster.start_alone(&cluster.restored(&file));
    is_between(&written, &state_of(&alone.connect(Via::Ws).await).await, &written);

    // Without a majority nobody knows what was acknowledged: there is no backup, and it says why.
    let [first, second, third, fourth] = nodes;
    drop((third.daemon.kill(), fourth.daemon.kill()));
    let file = folder.path().join("never");
    let output = backs_up(&first, &file, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("has no leader that a majority"), "{}", said(&output));
    assert!(!file.exists());
    drop(second);
}

/// Waits until all nodes have everything.
fn all_are_current(node: &Node, copies: usize) {
    wait("all copies to be current", || {
        let groups = node.status()["groups"].as_array()?.clone();
        let is_so = |group: &serde_json::Value| {
            group["current"].as_array().is_some_and(|current| current.len() == copies)
        };
        groups.iter().all(is_so).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_survivor_of_three_becomes_a_server_and_a_cluster_again() {
    let _one = ONE.lock().await;
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().unwrap());
    let (nodes, [client, _, _]) = cluster.of_three_keeping_with(OFTEN).await;
    let load = Load::begin(&client).await;
    load.reaches(400).await;
    let written = load.end().await;
    all_are_current(&nodes[1], 3);
    drop(client);
    let config = folder.path().join("survivor.toml");
    std::fs::write(&config, cluster.keeping_with(2, nodes[1].port, &[], OFTEN)).unwrap();
    let (config, into) = (config.to_str().unwrap(), folder.path().join("recovered"));
    let left = nodes[1].daemon.data_dir().to_owned();
    let recover = |more: &[&str]| {
        let args = ["admin", "cluster", "unsafe-recover", "--config", config, "--from"];
        let from = [left.to_str().unwrap(), "--into", into.to_str().unwrap()];
        run(&[&args[..], &from, more].concat())
    };
    let used = recover(&["--yes-i-may-lose-data"]);
    assert!(!used.status.success() && said(&used).contains("another server"), "{}", said(&used));
    let files = nodes.map(|node| node.daemon.kill());
    let asked = recover(&[]);
    assert!(
        !asked.status.success() && said(&asked).contains("nothing was made"),
        "{}",
        said(&asked)
    );
    assert!(!into.exists());
    let made = recover(&["--yes-i-may-lose-data", "--json"]);
    assert!(made.status.success(), "{}", said(&made));
    let report: serde_json::Value = serde_json::from_str(&text(&made.stdout)).unwrap();
    let groups = report["groups"].as_array().unwrap();
    assert!(groups.len() == 16 && groups.iter().all(|group| group["node"] == 2), "{report}");
    let twice = recover(&["--yes-i-may-lose-data"]);
    assert!(said(&twice).contains("holds a journal already"), "{}", said(&twice));

    let files_alone = Arc::new(tempfile::tempdir().unwrap());
    let mut alone = Daemon::start_over(files_alone, into.clone(), &cluster.alone(2));
    let restored = state_of(&alone.connect(Via::Ws).await).await;
    is_between(&written, &restored, &written);
    assert!(alone.terminate().success());
    let other = cluster.anew();
    // It is node 1 of the other cluster, and keeps its name.
    let identity = into.join("storage.json");
    let named = std::fs::read_to_string(&identity).unwrap().replace("node-2", "node-1");
    std::fs::write(&identity, named).unwrap();
    let [first, _second, third] = other.founded_on(&into);
    drop(first);
    let client = third.daemon.connect(Via::Ws).await;
    for topic in topics() {
        let wanted = &restored.records[&topic];
        let found = records(&mut subscribe(&client, &topic).await, wanted.len()).await;
        assert_eq!(&found, wanted, "{topic}");
    }
    assert_eq!(count(&client, &name("count.b"), 1_000_000).await, restored.counted + 1);
    drop(files);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_survivors_of_four_have_makes_a_whole() {
    let _one = ONE.lock().await;
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().unwrap());
    let nodes = cluster.of_four_with(OFTEN).await;
    settles(&nodes[0], &[]);
    let client = nodes[0].daemon.connect(Via::Ws).await;
    let load = Load::begin(&client).await;
    load.reaches(300).await;
    let written = load.end().await;
    all_are_current(&nodes[0], 3);
    let config = folder.path().join("survivor.toml");
    std::fs::write(&config, cluster.keeping_with(1, nodes[0].port, &[], OFTEN)).unwrap();
    let data = nodes.each_ref().map(|node| node.daemon.data_dir().to_str().unwrap().to_owned());
    let _files = nodes.map(|node| node.daemon.kill());
    let into = folder.path().join("recovered");
    let args = ["admin", "cluster", "unsafe-recover", "--config", config.to_str().unwrap()];
    let args = [&args[..], &["--into", into.to_str().unwrap(), "--from", &data[3]]].concat();
    // One of them has a copy of twelve groups, or has given it away.
    let alone = run(&args);
    let shown = said(&alone);
    assert!(
        shown.contains("nothing is left of the groups") || shown.contains("gave its copy"),
        "{shown}"
    );
    does(&[&args[..], &["--from", &data[0], "--yes-i-may-lose-data"]].concat());
    let alone = cluster.start_alone(&into);
    let restored = state_of(&alone.connect(Via::Ws).await).await;
    is_between(&written, &restored, &written);
}
