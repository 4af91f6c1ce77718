//! The nodes: processes that are started, killed, stood still and started again, and where they are.

use std::net::UdpSocket;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE, Via, tidewire};
use crate::relay::Relay;
use crate::volume::Volume;

/// What is kept by all nodes together is under these names.
const KEPT: [&str; 3] = ["log.>", "count.>", "poll.>"];

/// Groups of shards.
const GROUPS: usize = 16;

/// URLs of the nodes that run, for clients.
pub(crate) type Urls = Arc<Mutex<Vec<Option<String>>>>;

enum State {
    Runs(Daemon),
    Dead(Arc<tempfile::TempDir>),
}

pub(crate) struct Nodes {
    folder: tempfile::TempDir,
    pub(crate) relay: Relay,
    ports: Vec<u16>,
    states: Vec<State>,
    /// The last node has a disk of its own, if this machine lets it.
    volume: Option<Volume>,
    pub(crate) urls: Urls,
}

impl Nodes {
    /// A cluster of so many, which has been founded and joined.
    pub(crate) async fn start(count: usize, volume: Option<Volume>, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // They are held until the relay has ports of its own.
        let held: Vec<UdpSocket> =
            (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> =
            held.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        let relay = Relay::start(&ports, seed).await;
        drop(held);
        let urls = Arc::new(Mutex::new(vec![None; count]));
        let mut nodes = Self { folder, relay, ports, states: Vec::new(), volume, urls };
        nodes.certify();
        for node in 0..count {
            let files = Arc::new(tempfile::tempdir().unwrap());
            let daemon = nodes.daemon(node, files);
            nodes.states.push(State::Runs(daemon));
        }
        for node in 0..count {
            let what = if node == 0 { "init" } else { "join" };
            let said = nodes.control(node, what);
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        nodes.settle(PATIENCE);
        nodes
    }

    pub(crate) fn count(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn volume(&self) -> Option<&Volume> {
        self.volume.as_ref()
    }

    fn certify(&self) {
        let ca = self.path("");
        let issue = |args: &[&str]| {
            let output = tidewire().args(["admin", "cluster", "ca"]).args(args).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        issue(&["init", &ca]);
        for node in 1..=self.ports.len() {
            issue(&["issue", "--ca", &ca, "--node", &node.to_string()]);
        }
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).to_string_lossy().into_owned()
    }

    fn daemon(&self, node: usize, files: Arc<tempfile::TempDir>) -> Daemon {
        let config = self.config(node);
        let daemon = tokio::task::block_in_place(|| match &self.volume {
            Some(volume) if node + 1 == self.ports.len() => {
                Daemon::start_over(files, volume.path().join("data"), &config)
            }
            Some(_) | None => Daemon::start_in(files, &config),
        });
        self.urls.lock().unwrap()[node] = Some(daemon.url(Via::Ws));
        daemon
    }

    fn config(&self, node: usize) -> String {
        let id = node + 1;
        let seeds: Vec<String> = (0..self.ports.len())
            .map(|seed| format!("127.0.0.1:{}", self.relay.port(seed)))
            .collect();
        let mut config = format!(
            "node = \"node-{id}\"\ncores = 1\nheartbeat_ms = 1000\n[limits]\n\
             topic_batches_max = 3200000000\n[cluster]\n\
             listen = \"127.0.0.1:{}\"\nadvertise = \"127.0.0.1:{}\"\nseeds = {seeds:?}\nca = {:?}\n\
             certificate = {:?}\nkey = {:?}\n[storage]\nmaster_key_file = {:?}\n\
             free_bytes_min = 268435456\n",
            self.ports[node],
            self.relay.port(node),
            self.path("cluster-ca.pem"),
            self.path(&format!("node-{id}.pem")),
            self.path(&format!("node-{id}.key")),
            self.path("cluster-master.key"),
        );
        for names in KEPT {
            config.push_str(&format!(
                "[[policy]]\nnames = {names:?}\ndurability = \"disk\"\n\
                 retention_records = 100000000\nretention_bytes = 4294967296\n"
            ));
        }
        config
    }

    fn running(&self, node: usize) -> Option<&Daemon> {
        match &self.states[node] {
            State::Runs(daemon) => Some(daemon),
            State::Dead(_) => None,
        }
    }

    fn control(&self, node: usize, what: &str) -> Output {
        let daemon = self.running(node).unwrap();
        let args = ["admin", "--admin", &daemon.admin, "cluster", what];
        tokio::task::block_in_place(|| daemon.run(&args))
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self, node: usize) {
        self.end(node, |daemon| daemon.kill());
    }

    /// Asks it to end, as an operator does.
    pub(crate) fn terminate(&mut self, node: usize) {
        self.end(node, |mut daemon| {
            let status = daemon.terminate();
            assert!(status.success(), "a node ends with {status}");
            daemon.kill()
        });
    }

    fn end(&mut self, node: usize, end: impl FnOnce(Daemon) -> Arc<tempfile::TempDir>) {
        self.urls.lock().unwrap()[node] = None;
        let placeholder = State::Dead(Arc::new(tempfile::tempdir().unwrap()));
        if let State::Runs(daemon) = std::mem::replace(&mut self.states[node], placeholder) {
            self.states[node] = State::Dead(tokio::task::block_in_place(|| end(daemon)));
        }
    }

    /// Starts the node with the disk of its own again if it has stopped because it could not write.
    fn revive(&mut self) {
        let last = self.count() - 1;
        let State::Runs(daemon) = &mut self.states[last] else { return };
        if daemon.exit_code() == Some(1) {
            self.kill(last);
            self.start_again(last);
        }
    }

    pub(crate) fn start_again(&mut self, node: usize) {
        if let State::Dead(files) = &self.states[node] {
            let daemon = self.daemon(node, Arc::clone(files));
            self.states[node] = State::Runs(daemon);
        }
    }

    /// Lets it stand still, or go on.
    pub(crate) fn signal(&self, node: usize, signal: &str) {
        self.running(node).unwrap().signal(signal);
    }

    fn groups(&self, node: usize) -> Option<Vec<Value>> {
        let daemon = self.running(node).filter(|daemon| daemon.listens())?;
        let reply = tokio::task::block_in_place(|| daemon.get("/v1/cluster"));
        let status: Value = serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()?;
        status["groups"].as_array().cloned()
    }

    /// The node that leads most groups, as the others see it.
    pub(crate) fn leader(&self) -> usize {
        (0..self.count()).max_by_key(|node| self.led_by(*node)).unwrap()
    }

    /// Groups that a node leads, as the others see it.
    pub(crate) fn led_by(&self, node: usize) -> usize {
        let groups = (0..self.count()).find_map(|node| self.groups(node)).unwrap();
        let id = node as u64 + 1;
        groups.iter().filter(|group| group["leader"].as_u64() == Some(id)).count()
    }

    /// Waits until a node leads its share of the groups; returns how many.
    pub(crate) fn spread_to(&self, node: usize, patience: Duration) -> usize {
        let started = Instant::now();
        let share = GROUPS / self.count();
        loop {
            let led = self.led_by(node);
            if led >= share {
                return led;
            }
            assert!(started.elapsed() < patience, "it leads {led} groups, not {share}");
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(50)));
        }
    }

    /// Waits until every node knows the leader of every group, all the same, and has what that has.
    pub(crate) fn settle(&mut self, patience: Duration) {
        let started = Instant::now();
        while let Err(why) = self.is_settled() {
            self.revive();
            assert!(started.elapsed() < patience, "the cluster does not settle: {why}");
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(50)));
        }
    }

    fn is_settled(&self) -> Result<(), String> {
        let mut leaders: Option<Vec<(Value, Value)>> = None;
        for node in 0..self.count() {
            let groups = self.groups(node).ok_or_else(|| format!("node {} is silent", node + 1))?;
            let mut led = Vec::new();
            for group in &groups {
                let (number, leader) = (&group["group"], &group["leader"]);
                if leader.is_null() {
                    return Err(format!("node {} knows no leader of {number}", node + 1));
                }
                led.push((number.clone(), leader.clone()));
            }
            match &leaders {
                None => leaders = Some(led),
                Some(known) if *known == led => {}
                Some(known) => {
                    return Err(format!("node {} has leaders {led:?}, not {known:?}", node + 1));
                }
            }
        }
        Ok(())
    }
}
