//! Who is refused, and hears why.

use super::*;

/// What a server says that does not start.
fn refusal(config: &str, data_dir: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidewire.toml");
    std::fs::write(&file, config).unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config"];
    let mut command = tidewire();
    let command = command.arg("serve").args(listen).arg(&file).arg("--data-dir").arg(data_dir);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    text(&output.stderr)
}

fn refused(node: &Node, reason: &str) {
    let line = format!("tidewire_cluster_refused_total{{reason={reason:?}}} ");
    wait(&line, || {
        let metrics = node.daemon.get("/metrics");
        let count = metrics.lines().find_map(|one| one.strip_prefix(&line)).unwrap();
        (count != "0").then_some(())
    });
}

#[test]
fn a_node_of_another_cluster_stays_outside_and_says_so() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let node = cluster.start(1, &[]);
    let foreign = other.start(2, &[node.port]);
    foreign.seed_error("are the certificates of both of one cluster?");
    refused(&node, "tls");
    for one in [&node, &foreign] {
        assert_eq!(one.status()["nodes"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn of_two_nodes_with_one_id_the_later_stays_outside() {
    let cluster = Cluster::new();
    let first = cluster.start(1, &[]);
    let second = cluster.start(2, &[first.port]);
    first.sees(2, "alive");
    let impostor = cluster.start(2, &[first.port]);
    let said = impostor.seed_error("two nodes with one id");
    assert!(said.contains(&format!("127.0.0.1:{}", second.port)), "{said}");
    refused(&first, "two_nodes");
    let address = first.info(2).unwrap()["address"].clone();
    assert_eq!(address, format!("127.0.0.1:{}", second.port));
    // Who was there before is not disturbed.
    second.sees(1, "alive");
    assert_eq!(impostor.status()["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_data_directory_of_somebody_else_is_refused() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let mut node = cluster.start(1, &[]);
    let data_dir = node.daemon.data_dir().to_owned();
    assert!(node.daemon.terminate().success());
    let second = cluster.config(2, node.port, &[]);
    let second = second.replace("node = \"node-2\"", "node = \"node-1\"");
    let said = refusal(&second, &data_dir);
    assert!(said.contains("belongs to node 1 of this cluster"), "{said}");
    let said = refusal(&other.config(1, node.port, &[]), &data_dir);
    assert!(said.contains("the data directory belongs to cluster "), "{said}");
    assert!(said.contains("or another data directory"), "{said}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_to_do() {
    let cluster = Cluster::new();
    let empty = tempfile::tempdir().unwrap();
    let config = cluster.config(1, 7172, &[]);
    let said = refusal(&config.replace("127.0.0.1:7172", "0.0.0.0:7172"), empty.path());
    assert!(said.contains("cluster.advertise: is missing"), "{said}");
    let said = refusal(&config.replace("node-1.key", "cluster-ca.key"), empty.path());
    assert!(said.contains("are those of one cluster"), "{said}");
    let said = refusal(&config.replace("node-1.pem", "none.pem"), empty.path());
    assert!(said.contains("none.pem") && said.contains("check cluster.ca"), "{said}");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = refusal(&cluster.config(1, port, &[]), empty.path());
    assert!(said.contains("use another cluster.listen"), "{said}");
}

#[test]
fn a_server_alone_says_that_it_is_none_of_a_cluster() {
    let daemon = Daemon::start("");
    let mut command = tidewire();
    let output = command.args(["admin", "--admin", &daemon.admin, "cluster", "status"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("this server is not part of a cluster: [cluster]"), "{said}");
}

#[test]
fn certificates_are_made_once_and_said_what_for() {
    let cluster = Cluster::new();
    let again = admin(&["ca", "init", cluster.path("")]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    let issue = ["ca", "issue", "--ca", cluster.path(""), "--node", "3", "--json"];
    let made = admin(&issue);
    let json: Value = serde_json::from_str(&text(&made.stdout)).unwrap();
    assert_eq!(json["node"], 3);
    assert_eq!(json["cluster"].as_str().unwrap().len(), 32);
    assert!(text(&made.stderr).contains("[cluster]"), "it says what to do next");
    assert_eq!(admin(&issue).status.code(), Some(2));
    for wrong in ["0", "x", "-1"] {
        let node = format!("--node={wrong}");
        assert_eq!(admin(&["ca", "issue", "--ca", "x", &node]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_node_is_not_recorded_and_says_why() {
    let cluster = Cluster::new();
    let node = cluster.start(1, &[]);
    let started = node.daemon.run(&["admin", "--admin", &node.daemon.admin, "record", "start"]);
    assert!(!started.status.success());
    let said = text(&started.stderr);
    assert!(said.contains("a node of a cluster is not recorded"), "{said}");
    assert!(said.contains("record a server of its own"), "{said}");
    let reply = node.daemon.get("/v1/recording");
    assert!(reply.ends_with("{\"state\":\"idle\"}"), "{reply}");

    let folder = tempfile::tempdir().unwrap();
    let config = format!("recordings_dir = \"/tmp/r\"\n{}", cluster.config(2, 7_172, &[]));
    let said = refusal(&config, folder.path());
    assert!(said.contains("recordings_dir") && said.contains("is not recorded"), "{said}");
    let file = folder.path().join("tidewire.toml");
    std::fs::write(&file, &config).unwrap();
    let checked = tidewire().args(["config", "check"]).arg(&file).output().unwrap();
    assert!(!checked.status.success());
    assert!(text(&checked.stderr).contains("recordings_dir"), "{}", text(&checked.stderr));
}
