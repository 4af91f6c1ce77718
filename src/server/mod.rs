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
use tidewire_core::shard::{Event, Shard};
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
use shards::Shards;
pub use start_error::StartError;
use tenants::{Names, Tenants};
pub(crate) use tenants::{Seat, TenantInfo};
pub(crate) use turns::{Flow, Turn, Whose};

use crate::audit::{Audit, Entry, Writer};
use crate::cluster::{Cluster, services};
use crate::config::Config;
use crate::journal::{DirectoryId, Journal, OpenedGroup, Reads, State, Storage};
use crate::load::{Gate, Load};
use crate::recording::{Recorder, StopReason};
use crate::transport::{Arrival, HttpFigures, Proxies, Tls, http_figures, listener};
use crate::webhook::Webhooks;

/// Commands that wait for a shard; readers of connections wait beyond it.
const SHARD_QUEUE: usize = 4096;
/// Those who wait to look at a shard.
const LOOK_QUEUE: usize = 4;
/// Groups of events that wait for a dispatcher; shards wait beyond it.
const DISPATCHER_QUEUE: usize = 256;
/// Questions to all cores that wait; who asks beyond it gets fewer answers.
const ASKS: usize = 16;
/// How often a node of a cluster looks whether its journal has failed.
const FAILURE_LOOK: Duration = Duration::from_millis(200);
/// Accepted connections that wait for a core.
const ARRIVAL_QUEUE: usize = 1024;

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
    /// Starts a server. Must be called within a tokio runtime, which then serves the admin
    /// listener; the rest has threads of its own.
    ///
    /// # Errors
    /// When an address, the certificate, the data directory or what is kept in it is not to be had.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check_exposure()?;
        make_data_dir(&config)?;
        let (tls, accounts) = (Tls::load(&config)?, Accounts::load(&config)?);
        let webhooks = Webhooks::load(&config)?;
        let (audit, writer) = Audit::open(&config.audit)?;
        let listeners = listener::bind(&config).await?;
        let (address, admin_address) = (listeners.address, listeners.admin_address);
        let cores = config.cores();
        let clock = Clock::start();
        let policies = Arc::new(config.policies());
        let Shards { states, groups, meta, mut storage, voter_key, directory } =
            shards::make(&config, &clock, &policies).await?;
        let cluster = Cluster::start(&config)?;
        let (replication, peers) = Replication::of(cluster.as_ref(), policies.shards());
        let (commons, commons_task) = commons::make(&config, &clock, cluster.as_ref());
        let newest_ms = states.iter().map(|(shard, _)| shard.now_ms()).max();
        let clock = clock.no_earlier_than(newest_ms.unwrap_or(0));
        let (shard_queues, shards): (Vec<_>, Vec<_>) =
            states.iter().map(|_| mpsc::channel::<Queued>(SHARD_QUEUE)).map(swap).unzip();
        let (look_queues, looks): (Vec<_>, Vec<_>) =
            states.iter().map(|_| mpsc::channel(LOOK_QUEUE)).map(swap).unzip();
        let (event_queues, dispatchers): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| mpsc::channel::<Vec<Event>>(DISPATCHER_QUEUE)).map(swap).unzip();
        let shared = Arc::new(Shared {
            clock,
            tls,
            accounts,
            webhooks,
            audit,
            asks: tokio::sync::broadcast::Sender::new(ASKS),
            voter_key,
            directory,
            looks,
            shards,
            commons,
            dispatchers,
            figures: Figures::new(cores, policies.shards()),
            http: Arc::new(http_figures()),
            moves: Moves::default(),
            load: Load::new(config.limits.memory_max_bytes),
            gate: Gate::of(&config),
            places: Places::of(&config.limits),
            proxies: Proxies::of(&config.proxy),
            rates: Rates::of(&config),
            refusals: Refusals::default(),
            tenants: Tenants::of(&config, policies.shards()),
            recorder: Arc::new(Recorder::new(policies.shards())),
            journal: storage.as_ref().map(|storage| Arc::clone(&storage.state)),
            blocks: Mutex::new(storage.as_ref().map(Storage::reads)),
            cluster,
            replication,
            draining: AtomicBool::new(false),
            stop: tokio::sync::watch::Sender::new(Stage::Running),
            config,
        });
        if let Some(storage) = &mut storage {
            storage.start_recalling(recalling::hand_over(&shared))?;
        }
        let mut server =
            Self { shared, address, admin_address, cores: Vec::new(), tasks: Vec::new(), storage };
        let queues = shard_queues.into_iter().zip(look_queues).collect();
        let mut tasks = match server.shared.replication.is_some() {
            true => replicated::tasks(&server.shared, states, groups, (queues, peers))?,
            false => server.own_shards(states, queues),
        };
        tasks.push(AnyShard::Commons(Box::new(commons_task)));
        let arrivals = server.start_cores(tasks, event_queues)?;
        server.start_tasks(listeners, &arrivals, writer, meta).await;
        Ok(server)
    }

    /// The tasks of shards that are this server's alone.
    fn own_shards(&self, states: Vec<(Shard, Journal)>, queues: Vec<ShardQueues>) -> Vec<AnyShard> {
        let tenants = &self.shared.tenants;
        let task = |(((shard, journal), (queue, looks)), number)| {
            AnyShard::Own(Box::new(ShardTask {
                // All count what they hold before one makes more of it.
                names: Names::begin(tenants, &shard),
                number,
                shard,
                journal,
                queue,
                looks,
            }))
        };
        states.into_iter().zip(queues).zip(0..).map(task).collect()
    }

    /// Starts what serves the sockets, and what goes on beside the cores.
    async fn start_tasks(
        &mut self,
        listeners: listener::Listeners,
        arrivals: &[mpsc::Sender<Arrival>],
        writer: Option<Writer>,
        meta: Option<OpenedGroup>,
    ) {
        let shared = || Arc::clone(&self.shared);
        let tables = self.shared.tenants.tables();
        let record = |writer| tokio::spawn(crate::audit::write(shared(), writer));
        let mut tasks = vec![
            tokio::spawn(listener::accept_tcp(shared(), listeners.tcp, arrivals.to_vec())),
            tokio::spawn(crate::admin::serve(shared(), listeners.admin, arrivals.to_vec())),
            tokio::spawn(reload::watch(shared())),
            tokio::spawn(tenants::tell_shards(shared(), tables)),
            tokio::spawn(crate::load::watch(shared())),
            tokio::spawn(cluster_load::tell(shared())),
            tokio::spawn(moving::run(shared())),
        ];
        tasks.extend(writer.map(record));
        tasks.extend(replicated::serve(&self.shared, meta));
        if let Some(cluster) = &self.shared.cluster {
            let incoming = cluster.links.serve(services::COMMONS);
            tasks.push(tokio::spawn(commons::serve(shared(), incoming)));
            tasks.push(tokio::spawn(commons::keep(shared())));
            tasks.push(tokio::spawn(commons::seal(shared())));
        }
        self.tasks = tasks;
        if let Some(first) = arrivals.first() {
            let handed_over = first.send(Arrival::Endpoint(listeners.udp, arrivals.to_vec()));
            drop(handed_over.await);
        }
    }

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

    fn start_cores(
        &mut self,
        tasks: Vec<AnyShard>,
        event_queues: Vec<mpsc::Receiver<Vec<Event>>>,
    ) -> Result<Vec<mpsc::Sender<Arrival>>, StartError> {
        let cores = event_queues.len();
        let mut shards: Vec<Vec<AnyShard>> = (0..cores).map(|_| Vec::new()).collect();
        for task in tasks {
            if let Some(list) = shards.get_mut(usize::from(task.number()) % cores) {
                list.push(task);
            }
        }
        let mut arrivals = Vec::new();
        for ((number, events), shards) in (0_u8..).zip(event_queues).zip(shards) {
            let (arrival, queue) = mpsc::channel(ARRIVAL_QUEUE);
            arrivals.push(arrival);
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name(format!("tidewire-core-{number}"))
                .spawn(move || core::run(shared, number, shards, events, queue))
                .map_err(StartError::Thread)?;
            self.cores.push(thread);
        }
        Ok(arrivals)
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

fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let Some(path) = &config.data_dir else { return Ok(()) };
    let refuse = |source| StartError::DataDir { path: path.clone(), source };
    std::fs::create_dir_all(path).map_err(refuse)
}

fn swap<T>(
    (sender, receiver): (mpsc::Sender<T>, mpsc::Receiver<T>),
) -> (mpsc::Receiver<T>, mpsc::Sender<T>) {
    (receiver, sender)
}
