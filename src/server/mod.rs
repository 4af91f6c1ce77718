//! The running server: one thread per core, each with its shards, its dispatcher and its share of
//! the connections.
//!
//! Nothing is locked on the hot path: shards and dispatchers talk through bounded queues. A full
//! command queue holds up the readers of connections, and so their publishers; a dispatcher always
//! drains its events and never waits for a shard, so the two cannot wait for each other.

mod accounts;
mod clock;
mod cluster_load;
mod commons;
mod connections;
mod core;
mod deciding;
mod dispatch;
mod figures;
mod looks;
mod moving;
mod names;
mod own_records;
mod places;
mod queued;
mod rates;
mod recalling;
mod refusals;
mod reload;
mod renewal;
pub(crate) mod replicated;
mod shard_task;
mod shards;
mod start_error;
mod starting;
mod tenants;
mod turns;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidewire_core::COMMONS;
use tidewire_core::access::{LOCAL_ISSUER, Voter};
use tidewire_core::fanout::FanoutLimits;
use tidewire_core::shard::Event;
use tokio::sync::mpsc;

pub(crate) use self::core::{Core, Woken};
use accounts::Accounts;
pub(crate) use accounts::{Account, Admission};
pub(crate) use clock::{Clock, wall_ms};
use commons::{CommonsQueue, CommonsTask};
use connections::Ask;
pub(crate) use connections::{Which, Who, Whom, session_name};
pub(crate) use figures::CoreFigures;
pub use figures::Figures;
pub(crate) use looks::{At, CommonsLook, Look};
pub(crate) use moving::Moves;
pub(crate) use places::Place;
use places::Places;
pub(crate) use queued::Queued;
use rates::Rates;
pub(crate) use rates::{OwnRates, network};
use refusals::Refusals;
pub(crate) use refusals::{RefusalInfo, SoFar as RefusalsSoFar};
use replicated::{Replicated, Replication};
pub(crate) use shard_task::ShardTask;
pub use start_error::StartError;
use tenants::Tenants;
pub(crate) use tenants::{Seat, TenantInfo};
pub(crate) use turns::{Flow, Turn, Whose};

use crate::audit::{Audit, Entry};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::journal::{DirectoryId, Reads, State, Storage};
use crate::load::{Gate, Load};
use crate::recording::{Recorder, StopReason};
use crate::transport::{HttpFigures, Proxies, Tls};
use crate::webhook::Webhooks;

/// Commands that wait for a shard; readers of connections wait beyond it.
const SHARD_QUEUE: usize = 4096;
/// Those who wait to look at a shard.
const LOOK_QUEUE: usize = 4;
/// How often a node of a cluster looks whether its journal has failed.
const FAILURE_LOOK: Duration = Duration::from_millis(200);

/// What all cores share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) tls: Tls,
    pub(crate) accounts: Accounts,
    pub(crate) webhooks: Webhooks,
    pub(crate) audit: Audit,
    /// What all cores are asked.
    asks: tokio::sync::broadcast::Sender<Ask>,
    pub(crate) voter_key: aws_lc_rs::hmac::Key,
    /// The data directory; nothing if no name is kept on disk.
    pub(crate) directory: Option<DirectoryId>,
    /// Who wants to look at a shard as it is between two rounds.
    pub(crate) looks: Vec<mpsc::Sender<Look>>,
    pub(crate) shards: Vec<mpsc::Sender<Queued>>,
    /// The cells that this node changes by itself.
    pub(crate) commons: CommonsQueue,
    pub(crate) dispatchers: Vec<mpsc::Sender<Vec<Event>>>,
    pub(crate) figures: Figures,
    pub(crate) http: Arc<HttpFigures>,
    /// Connections that were asked to go to other nodes.
    pub(crate) moves: Moves,
    pub(crate) load: Load,
    pub(crate) gate: Gate,
    pub(crate) places: Places,
    pub(crate) proxies: Proxies,
    pub(crate) rates: Rates,
    pub(crate) refusals: Refusals,
    pub(crate) tenants: Tenants,
    pub(crate) recorder: Arc<Recorder>,
    /// The journal on disk, if names are kept there.
    pub(crate) journal: Option<Arc<State>>,
    /// The cluster that this server is a node of.
    pub(crate) cluster: Option<Cluster>,
    /// Its part in the cluster's shards.
    pub(crate) replication: Option<Replication>,
    /// Its blocks, to be read beside the commits.
    pub(crate) blocks: Mutex<Option<Reads>>,
    pub(crate) draining: AtomicBool,
    pub(crate) stop: tokio::sync::watch::Sender<Stage>,
}

/// What the task of a shard takes from: commands, and those who want to look at it.
pub(crate) type ShardQueues = (mpsc::Receiver<Queued>, mpsc::Receiver<Look>);

/// A shard of this server.
pub(crate) enum AnyShard {
    /// It is this server's alone.
    Own(Box<ShardTask>),
    /// It is a cluster's.
    Replicated(Box<Replicated>),
    /// None of them: the cells that each node changes by itself.
    Commons(Box<CommonsTask>),
}

impl AnyShard {
    fn number(&self) -> u16 {
        match self {
            Self::Own(task) => task.number,
            Self::Replicated(task) => task.number,
            Self::Commons(_) => COMMONS,
        }
    }
}

/// How far the stop of a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    /// Clients have been told to go.
    Draining,
    /// What is still open is closed.
    Stopping,
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin_address: SocketAddr,
    cores: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    storage: Option<Storage>,
}

impl Server {
    /// Address of WebSocket and HTTP (TCP) and of QUIC (UDP).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Address of the links with other nodes, if this server is one of a cluster.
    #[must_use]
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.shared.cluster.as_ref().map(|cluster| cluster.listen)
    }

    /// SHA-256 of the certificate that `wss` and `quic` show.
    #[must_use]
    pub fn certificate_sha256(&self) -> [u8; 32] {
        self.shared.tls.sha256()
    }

    /// The certificate as a PEM file, if it stands in one.
    #[must_use]
    pub fn certificate_file(&self) -> Option<PathBuf> {
        self.shared.tls.file()
    }

    /// Whether connections need an account.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        self.shared.accounts.auth.load().has_accounts()
    }

    /// Takes the accounts and tenants of another configuration, and reads the certificate again. Connections stay,
    /// with what they may do now.
    ///
    /// # Errors
    /// When one of them cannot be used: nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        reload::reload(&self.shared, config)
    }

    /// Counts a configuration that could not even be read.
    pub fn reload_rejected(&self, reason: &str) {
        self.shared.accounts.reloads.rejected.fetch_add(1, Ordering::Relaxed);
        let entry = || Entry::done(wall_ms(), "reload").refused("rejected", reason);
        self.shared.audit.record(entry);
    }

    /// Waits until this node of a cluster cannot go on: its journal has failed, so it has no part in any group any
    /// more, and its copies get old. Returns why. A server of its own goes on with what is in memory.
    pub async fn failed(&self) -> String {
        let journal = self.shared.journal.as_ref().filter(|_| self.shared.cluster.is_some());
        let Some(journal) = journal else { return std::future::pending().await };
        loop {
            if let Some(failure) = journal.failure() {
                return failure.to_owned();
            }
            tokio::time::sleep(FAILURE_LOOK).await;
        }
    }

    /// Tells clients to go, gives them the configured time, and stops.
    pub async fn stop(mut self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.stop.send_replace(Stage::Draining);
        if let Some(cluster) = &self.shared.cluster {
            cluster.drain();
            replicated::steering::resign(&self.shared).await;
        }
        let drain_ms = self.shared.config.drain_ms;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(drain_ms);
        while self.shared.figures.connections() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // While the shards are still there to say their last word.
        self.shared.recorder.stop(StopReason::ServerStopping).await;
        self.shared.audit.finish().await;
        if let Some(cluster) = &self.shared.cluster {
            cluster.leave().await;
        }
        self.shared.stop.send_replace(Stage::Stopping);
        for task in self.tasks.drain(..) {
            task.abort();
        }
        let cores = std::mem::take(&mut self.cores);
        let storage = self.storage.take();
        drop(self.shared.take_blocks());
        let joined = tokio::task::spawn_blocking(move || {
            for core in cores {
                drop(core.join());
            }
            if let Some(storage) = storage {
                storage.join();
            }
        });
        drop(joined.await);
    }
}

impl Shared {
    /// The way to a shard, or to the cells that this node changes by itself.
    fn queue_of(&self, shard: u16) -> Option<&mpsc::Sender<Queued>> {
        match shard {
            COMMONS => Some(&self.commons.commands),
            shard => self.shards.get(usize::from(shard)),
        }
    }

    pub(crate) fn fanout_limits(&self) -> FanoutLimits {
        FanoutLimits {
            subscriptions_max: self.config.limits.subscriptions_max,
            in_flight_max: self.config.limits.in_flight_max,
            max_frame_bytes: self.config.limits.max_frame_bytes,
            heartbeat_ms: self.config.heartbeat_ms,
            producers: self.config.limits.producers(self.config.policies().shards()),
            ..FanoutLimits::default()
        }
    }

    /// The blocks of the journal, to be read; none when the server is stopping.
    pub(crate) fn blocks(&self) -> Option<Reads> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody begins to read them any more.
    fn take_blocks(&self) -> Option<Reads> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn hash_voter(
        &self,
        tally: &tidewire_protocol::Name,
        voter: Voter<'_>,
    ) -> tidewire_core::cell::VoterId {
        let mut context = aws_lc_rs::hmac::Context::with_key(&self.voter_key);
        context.update(tally.as_str().as_bytes());
        // No name holds a control character, so these cannot be taken for each other.
        if voter.issuer == LOCAL_ISSUER {
            context.update(&[0]);
        } else {
            context.update(&[1]);
            context.update(&(voter.issuer.len() as u64).to_be_bytes());
            context.update(voter.issuer.as_bytes());
        }
        context.update(voter.subject.as_bytes());
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tidewire_core::cell::VoterId(id)
    }
}
