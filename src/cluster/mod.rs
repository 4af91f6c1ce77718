//! The cluster: which nodes there are, how they reach each other, and what each is told of the others.
//!
//! A node shows a certificate that says which node of which cluster it is (`ca`). Nodes have one connection
//! each with the others (`links`), over which gossip tells who is there (`gossip`); what it tells stands
//! in the `roster`. Gossip suggests only: nothing is decided by it. All of it runs on one thread of its own.

pub(crate) mod balance;
pub(crate) mod ca;
mod credentials;
mod error;
pub(crate) mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod gossip;
mod hello;
mod identity;
mod incarnation;
pub(crate) mod links;
pub(crate) mod meta;
pub(crate) mod raft;
mod roster;
mod seeds;
pub(crate) mod services;
mod task;
#[cfg(test)]
mod tests;
mod time;
pub(crate) mod transfer;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use tokio::sync::{mpsc, watch};

pub use error::ClusterError;
use gossip::{About, Gossip, Member};
pub(crate) use gossip::{Activity, NodeLoad, NodeState};
pub(crate) use hello::FEATURE_LEVEL;
use hello::{Hello, VERSION};
pub use identity::{ClusterId, NodeAddress, NodeId};
pub(crate) use incarnation::{FORMER_FILE, note_former, owner_of};
use incarnation::{Keeper, Life};
pub(crate) use links::Links;
use links::Making;
pub(crate) use roster::{NodeInfo, Roster};
pub(crate) use seeds::{SeedStatus, Seeds};
use task::Task;
use time::Time;
use transfer::States;

use crate::config::Config;
use credentials::Credentials;

/// Packets of gossip that wait to be read; more are dropped.
const GOSSIP_QUEUE: usize = 1_024;

/// This server as a node of a cluster.
pub(crate) struct Cluster {
    pub(crate) id: ClusterId,
    pub(crate) node: NodeId,
    /// That of its start: gossip may have raised its own since.
    pub(crate) incarnation: u64,
    pub(crate) listen: SocketAddr,
    pub(crate) links: Links,
    pub(crate) roster: Roster,
    pub(crate) seeds: Seeds,
    pub(crate) states: States,
    totals: Arc<Totals>,
    about: watch::Sender<About>,
    is_stopping: AtomicBool,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What gossip has counted.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    packets_refused: AtomicU64,
    suspicions: AtomicU64,
}

impl Totals {
    fn set(&self, (refused, suspicions): (u64, u64)) {
        self.packets_refused.store(refused, Relaxed);
        self.suspicions.store(suspicions, Relaxed);
    }
}

/// What an operator sees.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterStatus {
    cluster: String,
    node: NodeId,
    nodes: Vec<NodeInfo>,
    seeds: Vec<SeedStatus>,
}

impl Cluster {
    /// Joins the configured cluster; nothing if there is none. The seeds are looked for from then on.
    ///
    /// # Errors
    /// When the certificate, the data directory or the address is not to be had.
    pub(crate) fn start(config: &Config) -> Result<Option<Self>, ClusterError> {
        if !config.cluster.is_there() {
            return Ok(None);
        }
        let credentials = Credentials::read(&config.cluster)?;
        let (id, node) = (credentials.cluster, credentials.node);
        let time = Time::start();
        let life = match &config.data_dir {
            Some(data_dir) => Some(Life::begin(data_dir, id, node)?),
            None => None,
        };
        // Later than before without anything that is kept, as long as the clock is not set back.
        let incarnation = life.as_ref().map_or_else(|| time.now_ms(), |life| life.incarnation);
        let (socket, listen) = bind(config.cluster.listen)?;
        let address = config.cluster.advertise.clone().unwrap_or_else(|| listen.to_string());
        let address = NodeAddress::parse(&address).map_err(ClusterError::Make)?;
        let about = About {
            name: config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: FEATURE_LEVEL,
            client_url: config.cluster.client_url.clone(),
            activity: Activity::Joining,
            load: NodeLoad::default(),
        };
        let seeds = &config.cluster.seeds;
        let seeds = seeds.iter().filter_map(|seed| NodeAddress::parse(seed).ok()).collect();
        let own = Member { node, incarnation, address };
        let (about, abouts) = watch::channel(about);
        let (stop, stops) = watch::channel(false);
        let beginning =
            Beginning { credentials, socket, own, life, time, seeds, about: abouts, stop: stops };
        let (Begun { links, roster, seeds, totals }, thread) = beginning.spawn(listen)?;
        let thread = Mutex::new(Some(thread));
        let states = States::new(config.cluster.state_bytes_per_second);
        Ok(Some(Self {
            id,
            node,
            incarnation,
            listen,
            links,
            roster,
            seeds,
            states,
            totals,
            about,
            is_stopping: AtomicBool::new(false),
            stop,
            thread,
        }))
    }

    /// How much the node has to do, for the others.
    pub(crate) fn set_load(&self, load: NodeLoad) {
        self.about.send_if_modified(|about| std::mem::replace(&mut about.load, load) != load);
    }

    /// The node is about to stop, and asks its clients to go.
    pub(crate) fn drain(&self) {
        self.is_stopping.store(true, Relaxed);
        self.about.send_modify(|about| about.activity = Activity::Draining);
    }

    /// Whether an operator wants the node to be without clients, for the others.
    pub(crate) fn set_drained(&self, is_drained: bool) {
        self.about.send_if_modified(|about| {
            // Who was active once is so again.
            let wanted = match is_drained || self.is_stopping.load(Relaxed) {
                true => Activity::Draining,
                false => Activity::Joining,
            };
            std::mem::replace(&mut about.activity, wanted) != wanted
        });
    }

    /// Says goodbye to the others, and stops.
    pub(crate) async fn leave(&self) {
        self.stop.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }

    pub(crate) fn status(&self) -> ClusterStatus {
        ClusterStatus {
            cluster: self.id.to_string(),
            node: self.node,
            nodes: self.roster.nodes().to_vec(),
            seeds: self.seeds.status(),
        }
    }

    /// Where clients of this node go when it is gone.
    pub(crate) fn client_urls(&self) -> Vec<String> {
        self.roster.client_urls(tidewire_protocol::options::NODES_MAX)
    }

    /// Packets of gossip that could not be read, and times that a node was suspected.
    pub(crate) fn gossip_counts(&self) -> (u64, u64) {
        (self.totals.packets_refused.load(Relaxed), self.totals.suspicions.load(Relaxed))
    }
}

/// A server that does not start after all leaves its cluster, too.
impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What the thread begins with.
struct Beginning {
    credentials: Credentials,
    socket: UdpSocket,
    own: Member,
    life: Option<Life>,
    time: Time,
    seeds: Vec<NodeAddress>,
    about: watch::Receiver<About>,
    stop: watch::Receiver<bool>,
}

/// What it has made.
struct Begun {
    links: Links,
    roster: Roster,
    seeds: Seeds,
    totals: Arc<Totals>,
}

impl Beginning {
    /// Starts the thread, and waits until its links are there.
    fn spawn(self, listen: SocketAddr) -> Result<(Begun, JoinHandle<()>), ClusterError> {
        let (begun, begins) = std::sync::mpsc::sync_channel(1);
        let refuse = move |source| ClusterError::Listen { address: listen, source };
        let thread = std::thread::Builder::new()
            .name("tidewire-cluster".to_owned())
            .spawn(move || {
                let runtime =
                    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                        Ok(runtime) => runtime,
                        Err(error) => return drop(begun.send(Err(ClusterError::Thread(error)))),
                    };
                runtime.block_on(async move {
                    match self.begin() {
                        Ok((made, task)) => {
                            drop(begun.send(Ok(made)));
                            task.run().await;
                        }
                        Err(error) => drop(begun.send(Err(refuse(error)))),
                    }
                });
            })
            .map_err(ClusterError::Thread)?;
        let ended = |_ended| ClusterError::Thread(std::io::Error::other("it has ended"));
        Ok((begins.recv().map_err(ended)??, thread))
    }

    fn begin(self) -> std::io::Result<(Begun, Task)> {
        let Self { credentials, socket, own, life, time, seeds, about, stop } = self;
        let since_ms = time.now_ms();
        let life = life.map(Keeper::start);
        let (gossip_queue, packets) = mpsc::channel(GOSSIP_QUEUE);
        let first = about.borrow().clone();
        let hello = Hello {
            node: own.node,
            incarnation: own.incarnation,
            address: own.address.to_string(),
            client_url: first.client_url.clone(),
            version: first.version.clone(),
            feature_level: first.feature_level,
            name: first.name.clone(),
        };
        let address = own.address.clone();
        let version = VERSION;
        let gossip = gossip_queue;
        let links =
            Links::start(Making { credentials, socket, hello, address, version, time, gossip })?;
        let random_seed = random_seed()?;
        let gossip = Gossip::new(own, first, random_seed, since_ms);
        let roster = Roster::new(roster::own(&gossip, since_ms));
        let (seeds_status, totals) = (Seeds::new(&seeds), Arc::new(Totals::default()));
        let begun = Begun {
            links: links.clone(),
            roster: roster.clone(),
            seeds: seeds_status.clone(),
            totals: Arc::clone(&totals),
        };
        let task = Task {
            gossip,
            links,
            roster,
            time,
            totals,
            life,
            packets,
            about,
            stop,
            seeds,
            seeds_status,
            random_seed,
            since_ms,
        };
        Ok((begun, task))
    }
}

fn bind(address: SocketAddr) -> Result<(UdpSocket, SocketAddr), ClusterError> {
    let refuse = |source| ClusterError::Listen { address, source };
    let socket = UdpSocket::bind(address).map_err(refuse)?;
    socket.set_nonblocking(true).map_err(refuse)?;
    let listen = socket.local_addr().map_err(refuse)?;
    Ok((socket, listen))
}

fn random_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}
