//! How a server starts: what is kept is read, then the cores, then what serves the sockets.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tidewire_core::shard::{Event, Shard};
use tokio::sync::mpsc;

use super::accounts::Accounts;
use super::places::Places;
use super::rates::Rates;
use super::refusals::Refusals;
use super::replicated::{self, Replication};
use super::shards::{self, Shards};
use super::tenants::{self, Names, Tenants};
use super::{
    AnyShard, Clock, Figures, LOOK_QUEUE, Moves, Queued, SHARD_QUEUE, Server, ShardQueues,
    ShardTask, Shared, Stage, StartError, cluster_load, commons, core, moving, recalling, reload,
};
use crate::audit::{Audit, Writer};
use crate::cluster::{Cluster, services};
use crate::config::Config;
use crate::journal::{Journal, OpenedGroup, Storage};
use crate::load::{Gate, Load};
use crate::recording::Recorder;
use crate::transport::{Arrival, Proxies, Tls, http_figures, listener};
use crate::webhook::Webhooks;

/// Groups of events that wait for a dispatcher; shards wait beyond it.
const DISPATCHER_QUEUE: usize = 256;
/// Questions to all cores that wait; who asks beyond it gets fewer answers.
const ASKS: usize = 16;
/// Accepted connections that wait for a core.
const ARRIVAL_QUEUE: usize = 1024;

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
        let (shard_queues, shards) = queues::<Queued>(states.len(), SHARD_QUEUE);
        let (look_queues, looks) = queues(states.len(), LOOK_QUEUE);
        let (event_queues, dispatchers) = queues(cores, DISPATCHER_QUEUE);
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

fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let Some(path) = &config.data_dir else { return Ok(()) };
    let refuse = |source| StartError::DataDir { path: path.clone(), source };
    std::fs::create_dir_all(path).map_err(refuse)
}

/// So many queues, each with this room: what is taken from, and what is put into.
fn queues<T>(count: usize, room: usize) -> (Vec<mpsc::Receiver<T>>, Vec<mpsc::Sender<T>>) {
    let channels = (0..count).map(|_| mpsc::channel(room));
    channels.map(|(sender, receiver)| (receiver, sender)).unzip()
}
