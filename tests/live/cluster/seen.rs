//! Nodes that find each other, and are seen to come and go.

use super::*;

#[test]
fn three_nodes_see_each_other_die_come_back_and_go() {
    let cluster = Cluster::new();
    let [one, two, mut three] = cluster.of_three();
    let info = two.sees_that(3, "active", |info| info["activity"] == "active");
    assert_eq!((&info["name"], &info["incarnation"]), (&"node-3".into(), &1.into()));
    assert_eq!(info["client_url"], "ws://node-3.example:7171");
    let address = format!("127.0.0.1:{}", three.port);
    assert_eq!((&info["address"], &info["version"]), (&address.into(), &"0.1.0".into()));
    two.sees_that(3, "measured", |info| info["load"]["memory_bytes"] != 0);
    two.sees_that(1, "linked", |info| {
        info["round_trip_us"].is_u64() && info["is_reachable"] == true
    });

    let port = three.port;
    let died = Instant::now();
    let files = three.daemon.kill();
    for node in [&one, &two] {
        node.sees(3, "down");
    }
    println!("down after {:?}", died.elapsed());
    three = cluster.start_again(3, port, &[one.port], files);
    for node in [&one, &two] {
        let info = node.sees(3, "alive");
        assert_eq!(info["incarnation"], 2);
    }
    three.sees(2, "alive");

    let files = three.daemon.files().to_owned();
    assert!(three.daemon.terminate().success());
    for node in [&one, &two] {
        node.sees(3, "left");
    }
    let kept = std::fs::read_to_string(files.join("data/cluster")).unwrap();
    assert!(kept.ends_with("node 3\nincarnation 2\n"), "{kept}");
}

#[test]
fn a_node_that_stood_still_goes_on_as_a_newer_one() {
    let cluster = Cluster::new();
    let [one, two, mut three] = cluster.of_three();
    three.daemon.signal("-STOP");
    one.sees(3, "down");
    two.sees(3, "down");
    // Its connections die, too.
    for node in [&one, &two] {
        node.sees_that(3, "without a link", |info| info["round_trip_us"].is_null());
    }
    three.daemon.signal("-CONT");
    for node in [&one, &two] {
        let info = node.sees(3, "alive");
        assert!(info["incarnation"].as_u64().unwrap() > 1, "{info}");
    }
    for other in [1, 2] {
        three.sees(other, "alive");
    }
    let data_dir = three.daemon.data_dir().to_owned();
    assert!(three.daemon.terminate().success());
    let kept = std::fs::read_to_string(data_dir.join("cluster")).unwrap();
    assert!(!kept.ends_with("incarnation 1\n"), "{kept}");
}

#[test]
fn the_operator_sees_a_table_and_figures() {
    let cluster = Cluster::new();
    let [one, ..] = cluster.of_three();
    let shown = one.daemon_admin(&["status"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    let lines: Vec<&str> = shown.lines().collect();
    let id = one.status()["cluster"].as_str().unwrap().to_owned();
    assert_eq!(lines[0], format!("cluster {id}, seen by node 1"));
    let first: Vec<&str> = lines[2].split_whitespace().take(3).collect();
    assert_eq!(first, ["1*", "node-1", "alive"], "{shown}");
    assert_eq!(lines.len(), 6, "{shown}");
    assert!(lines[5].starts_with("not founded"), "{shown}");
    let json = text(&one.daemon_admin(&["status", "--json"]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 3);
    let metrics = one.daemon.get("/metrics");
    for line in [
        "tidewire_cluster_nodes{state=\"alive\"} 3",
        "tidewire_cluster_nodes{state=\"down\"} 0",
        "tidewire_cluster_links 2",
        "tidewire_cluster_refused_total{reason=\"two_nodes\"} 0",
        "tidewire_cluster_round_trip_microseconds{node=\"2\"} ",
        "tidewire_cluster_gossip_bytes_in_total ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_seed_that_does_not_answer_is_tried_until_it_does() {
    let cluster = Cluster::new();
    // Whatever comes is received, and nothing is answered.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let node = cluster.start(1, &[port]);
    node.seed_error("does not answer");
    assert!(node.daemon.get("/healthz").starts_with("HTTP/1.1 200"));
    let shown = text(&node.daemon_admin(&["status"]).stdout);
    assert!(shown.contains(&format!("seed 127.0.0.1:{port}: not found, dialed ")), "{shown}");
    assert_eq!(node.info(1).unwrap()["activity"], "joining");
    drop(silent);
    let files = Arc::new(tempfile::tempdir().unwrap());
    let late = cluster.start_again(2, port, &[], files);
    late.sees(1, "alive");
    node.sees(2, "alive");
    node.sees_that(1, "active", |info| info["activity"] == "active");
    wait("the seed to be found", || (node.status()["seeds"][0]["node"] == 2).then_some(()));
}

#[test]
fn all_nodes_may_have_the_same_seeds() {
    let cluster = Cluster::new();
    let ports = [free_port(), free_port()];
    let start = |id: u64, port| {
        let files = Arc::new(tempfile::tempdir().unwrap());
        cluster.start_again(id, port, &ports, files)
    };
    let (one, two) = (start(1, ports[0]), start(2, ports[1]));
    one.sees(2, "alive");
    two.sees(1, "alive");
    // Itself, it has found at once.
    wait("both to be found", || {
        let seeds = one.status()["seeds"].clone();
        (seeds[0]["node"] == 1 && seeds[1]["node"] == 2).then_some(())
    });
}

impl Node {
    fn daemon_admin(&self, args: &[&str]) -> Output {
        let mut command = tidewire();
        let command = command.args(["admin", "cluster", "--admin", &self.daemon.admin]);
        command.args(args).output().unwrap()
    }
}
