//! A cluster for one bench or demo: its nodes are child processes on loopback, with certificates and
//! directories of their own, which are removed at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::Value as Json;
use tidewire_core::{SHARDS, shard_of};
use tidewire_protocol::Name;
use tokio::time::{Instant, sleep};
use toml::{Table, Value};

use super::ChildServer;
use crate::cli::ask_admin;
use crate::cluster::{NodeId, ca};
use crate::transport::certificate_for;

/// How long anything may take that nodes do together.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(20);
/// What nodes log. They warn of those that are killed, which is what happens here.
const LOGGED: &str = "error,openraft=off";
/// Copies of each group that are waited for, where there are as many nodes.
const COPIES: usize = 3;
/// Tries to find a port that is free for TCP and UDP.
const PORT_TRIES: usize = 64;

/// What its nodes are to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) nodes: usize,
    /// Where clients reach the first node.
    pub(crate) listen: SocketAddr,
    /// The names that are kept on the disks of a majority.
    pub(crate) kept: &'a str,
    /// Threads of each node.
    pub(crate) cores: usize,
    /// Limits and policies that they have beside the one for those names.
    pub(crate) beside: Option<&'a Table>,
}

/// Nodes that belong together.
#[derive(Debug)]
pub(crate) struct ChildCluster {
    nodes: Vec<Node>,
    /// Removed with it.
    _directory: tempfile::TempDir,
}

#[derive(Debug)]
struct Node {
    listen: SocketAddr,
    config: String,
    /// Nothing while it is dead.
    server: Option<ChildServer>,
}

impl ChildCluster {
    /// Makes the certificates, starts all nodes, and has them become one cluster.
    ///
    /// # Errors
    /// When a file cannot be made, a node does not start, or they do not find each other.
    pub(crate) async fn start(shape: Shape<'_>) -> Result<Self, String> {
        let explain = |error: &dyn std::fmt::Display| format!("the cluster: {error}");
        let directory = tempfile::tempdir().map_err(|error| explain(&error))?;
        let files = Files::make(directory.path(), shape.nodes)?;
        let links: Vec<SocketAddr> = (0..shape.nodes)
            .map(|_| free_address())
            .collect::<Result<_, _>>()
            .map_err(|error| explain(&error))?;
        let mut nodes = Vec::with_capacity(shape.nodes);
        for (index, link) in links.iter().enumerate() {
            let listen = match index {
                0 if shape.listen.port() != 0 => shape.listen,
                _ => free_address().map_err(|error| explain(&error))?,
            };
            let config = files.config(index, listen, *link, &links, &shape).to_string();
            let server = Some(ChildServer::start_logging(config.clone(), listen, LOGGED).await?);
            nodes.push(Node { listen, config, server });
        }
        let cluster = Self { nodes, _directory: directory };
        cluster.ask(0, Method::POST, "/v1/cluster/init").await?;
        for index in 1..shape.nodes {
            cluster.ask(index, Method::POST, "/v1/cluster/join").await?;
        }
        cluster.all_led().await?;
        Ok(cluster)
    }

    /// Where clients reach them, also while they are dead.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.listen).collect()
    }

    /// What the certificate is known by that all of them show to clients.
    pub(crate) fn certificate_sha256(&self) -> Option<[u8; 32]> {
        self.running().next().map(|(_, server)| server.certificate_sha256())
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running().map(|(_, server)| server.pid()).collect()
    }

    /// The nodes that run, by their places.
    fn running(&self) -> impl Iterator<Item = (usize, &ChildServer)> {
        let servers = self.nodes.iter().enumerate();
        servers.filter_map(|(index, node)| Some((index, node.server.as_ref()?)))
    }

    /// Which of them leads the group that a name belongs to, as those that run see it.
    pub(crate) async fn leader_of(&self, name: &Name) -> Result<usize, String> {
        let group = u64::from(shard_of(name) % SHARDS);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (index, _) in self.running() {
                let groups = self.groups(index).await?;
                let found = groups.iter().find(|found| found.number % u64::from(SHARDS) == group);
                let leader = found.and_then(|found| found.leader);
                if let Some(place) = leader.and_then(place_of)
                    && self.nodes.get(place).is_some_and(|node| node.server.is_some())
                {
                    return Ok(place);
                }
            }
            sleep(LOOK).await;
        }
        Err(format!("nobody leads the group of '{name}'"))
    }

    /// Kills a node: it gets no chance to write or to say anything.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(node) = self.nodes.get_mut(index) {
            drop(node.server.take());
        }
    }

    /// Starts a node again over what it left.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn restart(&mut self, index: usize) -> Result<(), String> {
        let node = self.nodes.get_mut(index).ok_or("there is no such node")?;
        node.server =
            Some(ChildServer::start_logging(node.config.clone(), node.listen, LOGGED).await?);
        Ok(())
    }

    /// The entries of all logs that nodes beside this one have applied.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub(crate) async fn entries_beside(&self, index: usize) -> Result<BTreeMap<u64, u64>, String> {
        let mut entries = BTreeMap::new();
        for (other, _) in self.running().filter(|(other, _)| *other != index) {
            for group in self.groups(other).await? {
                let applied = entries.entry(group.number).or_insert(0);
                *applied = group.applied.max(*applied);
            }
        }
        Ok(entries)
    }

    /// Waits until a node has applied so many entries, and hears from all leaders.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub(crate) async fn caught_up(
        &self,
        index: usize,
        entries: &BTreeMap<u64, u64>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let groups = self.groups(index).await?;
            let has_all = |group: &Group| {
                let wanted = entries.get(&group.number).copied().unwrap_or(0);
                group.applied >= wanted && group.leader.is_some()
            };
            if groups.iter().all(has_all) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("node {} does not catch up", index + 1))
    }

    /// Waits until each group has its copies and a leader.
    async fn all_led(&self) -> Result<(), String> {
        let copies = COPIES.min(self.nodes.len());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut groups = BTreeSet::new();
            for (index, _) in self.running() {
                let ready = |group: &Group| group.voters >= copies && group.leader.is_some();
                let ready = self.groups(index).await?.into_iter().filter(ready);
                groups.extend(ready.map(|group| group.number % u64::from(SHARDS)));
            }
            if groups.len() >= usize::from(SHARDS) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err("the groups of the cluster do not get their leaders and copies".to_owned())
    }

    /// The groups as a node sees them.
    async fn groups(&self, index: usize) -> Result<Vec<Group>, String> {
        let answer = self.ask(index, Method::GET, "/v1/cluster").await?;
        let groups = answer.get("groups").and_then(Json::as_array);
        Ok(groups.into_iter().flatten().map(Group::read).collect())
    }

    async fn ask(&self, index: usize, method: Method, path: &str) -> Result<Json, String> {
        let server = self.nodes.get(index).and_then(|node| node.server.as_ref());
        let server = server.ok_or_else(|| format!("node {} does not run", index + 1))?;
        let answer = ask_admin(server.admin(), method, path, None).await;
        answer.map_err(|error| format!("node {}: {}", index + 1, error.message))
    }

    /// Asks all of them to end.
    ///
    /// # Errors
    /// When one of them ends with a failure.
    pub(crate) async fn stop(self) -> Result<(), String> {
        let Self { nodes, _directory } = self;
        let servers = nodes.into_iter().filter_map(|node| node.server);
        let ended = futures_util::future::join_all(servers.map(ChildServer::stop)).await;
        ended.into_iter().collect()
    }
}

/// What is looked at of a group.
struct Group {
    number: u64,
    leader: Option<u64>,
    voters: usize,
    applied: u64,
}

impl Group {
    fn read(group: &Json) -> Self {
        let number = |field: &str| group.get(field).and_then(Json::as_u64);
        Self {
            number: number("group").unwrap_or(0),
            leader: number("leader"),
            voters: group.get("voters").and_then(Json::as_array).map_or(0, Vec::len),
            applied: number("applied").unwrap_or(0),
        }
    }
}

/// Node 1 is the first one.
fn place_of(node: u64) -> Option<usize> {
    usize::try_from(node.checked_sub(1)?).ok()
}

/// The files of all nodes.
struct Files<'a> {
    directory: &'a Path,
}

impl<'a> Files<'a> {
    fn make(directory: &'a Path, nodes: usize) -> Result<Self, String> {
        let explain =
            |error: &dyn std::fmt::Display| format!("the cluster's certificates: {error}");
        let files = Self { directory };
        let authority = files.at("ca");
        ca::init(&authority).map_err(|error| explain(&error))?;
        for id in (1..).take(nodes) {
            let id = NodeId::new(id).ok_or("a node's id is greater than 0")?;
            ca::issue(&authority, id, &authority).map_err(|error| explain(&error))?;
        }
        // One for all of them, so that a client of one is a client of each.
        let shown = certificate_for(&["localhost", "127.0.0.1"].map(str::to_owned))
            .map_err(|error| explain(&error))?;
        for (name, text) in [("tls.pem", &shown.certificate_pem), ("tls.key", &shown.key_pem)] {
            std::fs::write(files.at(name), text).map_err(|error| explain(&error))?;
        }
        Ok(files)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.join(name)
    }

    fn config(
        &self,
        index: usize,
        listen: SocketAddr,
        link: SocketAddr,
        links: &[SocketAddr],
        shape: &Shape<'_>,
    ) -> Table {
        let path = |name: &str| Value::from(self.at(name).to_string_lossy().into_owned());
        let id = index + 1;
        let seeds: Vec<Value> = links.iter().map(|link| link.to_string().into()).collect();
        let cluster = table([
            ("listen", link.to_string().into()),
            ("client_url", format!("ws://{listen}").into()),
            ("seeds", seeds.into()),
            ("ca", path("ca/cluster-ca.pem")),
            ("certificate", path(&format!("ca/node-{id}.pem"))),
            ("key", path(&format!("ca/node-{id}.key"))),
        ]);
        let policy = table([("names", shape.kept.into()), ("durability", "disk".into())]);
        let mut policies = vec![Value::from(policy)];
        let beside = |key| shape.beside.and_then(|beside| beside.get(key));
        policies.extend(beside("policy").and_then(Value::as_array).into_iter().flatten().cloned());
        let limits = beside("limits").cloned().unwrap_or_else(|| Table::new().into());
        table([
            ("node", format!("node-{id}").into()),
            ("data_dir", path(&format!("data-{id}"))),
            ("cores", i64::try_from(shape.cores).unwrap_or(1).into()),
            // So that clients over QUIC soon notice that a node is gone.
            ("heartbeat_ms", 500.into()),
            ("cluster", cluster.into()),
            ("storage", table([("master_key_file", path("ca/cluster-master.key"))]).into()),
            ("tls", table([("certificate", path("tls.pem")), ("key", path("tls.key"))]).into()),
            ("policy", policies.into()),
            ("limits", limits),
        ])
    }
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An address of loopback that was free a moment ago, for TCP and for UDP.
fn free_address() -> std::io::Result<SocketAddr> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        match UdpSocket::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}
