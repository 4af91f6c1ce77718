//! Nodes of a cluster: how they find each other, what they see of each other, and who is refused.

mod backup;
mod clients;
mod commons;
mod decided;
mod events;
mod growth;
mod logs;
mod moving;
mod refused;
mod rolling;
mod seen;
mod shards;
mod tenants;

use std::net::UdpSocket;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, tidewire};

/// A cluster's certificates, and what else its nodes are started with.
struct Cluster {
    folder: Arc<tempfile::TempDir>,
}

/// A node, and the port of its links.
struct Node {
    daemon: Daemon,
    id: u64,
    port: u16,
}

impl Cluster {
    fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let cluster = Self { folder };
        assert!(admin(&["ca", "init", cluster.path("")]).status.success());
        cluster
    }

    fn path(&self, file: &str) -> &str {
        // The test's own folder, which nobody changes.
        Box::leak(self.folder.path().join(file).to_string_lossy().into_owned().into_boxed_str())
    }

    /// What a node is configured with; its certificate is made if need be.
    fn config(&self, id: u64, port: u16, seeds: &[u16]) -> String {
        let [ca, certificate, key] = ["cluster-ca.pem", "node-ID.pem", "node-ID.key"]
            .map(|file| self.path(&file.replace("ID", &id.to_string())));
        if !Path::new(certificate).exists() {
            let issue = ["ca", "issue", "--ca", self.path(""), "--node", &id.to_string()];
            assert!(admin(&issue).status.success());
        }
        let seeds: Vec<String> = seeds.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!(
            "node = \"node-{id}\"\ncores = 1\n[cluster]\nlisten = \"127.0.0.1:{port}\"\n\
             client_url = \"ws://node-{id}.example:7171\"\nseeds = {seeds:?}\nca = {ca:?}\n\
             certificate = {certificate:?}\nkey = {key:?}\n"
        )
    }

    fn start(&self, id: u64, seeds: &[u16]) -> Node {
        let port = free_port();
        let daemon = Daemon::start(&self.config(id, port, seeds));
        Node { daemon, id, port }
    }

    /// Starts a node over what an earlier one has left.
    fn start_again(
        &self,
        id: u64,
        port: u16,
        seeds: &[u16],
        files: Arc<tempfile::TempDir>,
    ) -> Node {
        let daemon = Daemon::start_in(files, &self.config(id, port, seeds));
        Node { daemon, id, port }
    }

    /// Three nodes that have found each other through the first.
    fn of_three(&self) -> [Node; 3] {
        let first = self.start(1, &[]);
        let seeds = [first.port];
        let nodes = [first, self.start(2, &seeds), self.start(3, &seeds)];
        for node in &nodes {
            for other in [1, 2, 3] {
                node.sees(other, "alive");
            }
        }
        nodes
    }
}

impl Node {
    fn status(&self) -> Value {
        status(&self.daemon)
    }

    fn info(&self, of: u64) -> Option<Value> {
        let status = self.status();
        status["nodes"].as_array().unwrap().iter().find(|node| node["id"] == of).cloned()
    }

    /// Waits until it sees another node so.
    fn sees(&self, other: u64, state: &str) -> Value {
        self.sees_that(other, state, |info| info["state"] == state)
    }

    fn sees_that(&self, other: u64, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait(&format!("{other} to be {what} for {}", self.id), || self.info(other).filter(&is_so))
    }

    /// Waits until the one seed is not found, and returns why.
    fn seed_error(&self, says: &str) -> String {
        wait(says, || {
            let error = self.status()["seeds"][0]["error"].as_str()?.to_owned();
            error.contains(says).then_some(error)
        })
    }
}

fn wait<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(it) = is_so() {
            return it;
        }
        assert!(started.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn status(daemon: &Daemon) -> Value {
    let reply = daemon.get("/v1/cluster");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn admin(args: &[&str]) -> Output {
    tidewire().args(["admin", "cluster"]).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
