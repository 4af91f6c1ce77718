//! Steering: what the cluster decides, and what follows from it on this node.
//!
//! All members hold the log of the meta group; three of them vote on it. Whoever leads it takes commands
//! (`deciding`), takes nodes in (`joining`) and decides the copies that follow. Whoever leads the group of
//! a shard brings its members there, one step after the other (`stepping`), and hands it over
//! (`handing_over`). A node without a copy asks the others who leads (`whereabouts`).

mod announcing;
mod answering;
mod deciding;
mod error;
mod founding;
mod group_view;
mod handing_over;
mod joining;
mod messages;
mod operating;
mod points;
mod readiness;
mod sealing;
mod status;
mod stepping;
mod tenants;
mod whereabouts;

pub(crate) use answering::leads_meta;
pub(crate) use error::SteeringError;
pub(crate) use founding::found;
pub(crate) use handing_over::resign;
pub(crate) use joining::join;
pub(crate) use operating::{Order, operate, spread, upgrade_check};
pub(crate) use points::{Point, points};
pub(crate) use readiness::not_ready;
pub(crate) use sealing::seal;
pub(crate) use status::{ClusterDecisions, GroupStatus, decisions, groups};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidewire_core::SHARDS;
use tokio::sync::watch;

use super::{Replication, Shared, begin};
use crate::cluster::raft::{self, Decided, Group, LogStorage, MetaMachine, NodeId};
use crate::cluster::{self, ClusterId, services};
use crate::journal::{META, OpenedGroup};

/// How long the groups of a server may take to start.
const START: Duration = Duration::from_secs(20);
/// How long leadership is spread after an operator has wanted it.
const SPREAD_MS: u64 = 60_000;

/// What a shard's task is told beside what the engine of its group says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guidance {
    /// Who leads the group, if this node is none of its members: nothing else tells it.
    pub(super) leader: Option<NodeId>,
    /// The leader of the group says that this node is no member of it.
    pub(super) is_outside: bool,
    /// The term in which this node is to lead no more, as soon as nothing of it is under way.
    pub(super) resigns: Option<u64>,
}

/// What the tasks of this node share about the cluster's decisions.
pub(crate) struct Steering {
    pub(crate) decided: Decided,
    guidance: Vec<watch::Sender<Guidance>>,
    /// What the groups that are led here wait for.
    waits: Mutex<BTreeMap<u16, String>>,
    /// Until then leadership is spread although that ends what is in memory.
    spreads_until_ms: AtomicU64,
}

impl Steering {
    pub(super) fn new(cluster: ClusterId) -> Self {
        Self {
            decided: Decided::new(cluster),
            guidance: (0..SHARDS).map(|_| watch::Sender::new(Guidance::default())).collect(),
            waits: Mutex::default(),
            spreads_until_ms: AtomicU64::new(0),
        }
    }

    /// What the tasks of a group's shards are told.
    pub(super) fn guidance_of(&self, shard: u16) -> Option<&watch::Sender<Guidance>> {
        self.guidance.get(usize::from(shard % SHARDS))
    }

    /// An operator wants leadership to be spread. What cannot be spread soon is not spread later by surprise.
    fn spread_from(&self, now_ms: u64) {
        self.spreads_until_ms.store(now_ms.saturating_add(SPREAD_MS), Ordering::Relaxed);
    }

    fn spreads(&self, now_ms: u64) -> bool {
        now_ms < self.spreads_until_ms.load(Ordering::Relaxed)
    }

    /// The last decision that is known here, and groups that are led here and wait for something.
    pub(crate) fn figures(&self) -> (u64, usize) {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner).len();
        (self.decided.now().revision, waits)
    }

    /// What a group that is led here waits for.
    fn wait_of(&self, group: u16) -> Option<String> {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.get(&group).cloned()
    }

    fn set_waits(&self, waits: BTreeMap<u16, String>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = waits;
    }
}

/// The parts of a node that belongs to a cluster.
fn parts(shared: &Shared) -> Result<(&Replication, &cluster::Cluster), SteeringError> {
    match (&shared.replication, &shared.cluster) {
        (Some(replication), Some(cluster)) => Ok((replication, cluster)),
        (None, _) | (_, None) => Err(SteeringError::NoCluster),
    }
}

/// The same, once all groups have started: before, nobody knows what they hold.
async fn started_parts(
    shared: &Shared,
) -> Result<(&Replication, &cluster::Cluster), SteeringError> {
    let (replication, cluster) = parts(shared)?;
    let started = tokio::time::timeout(START, replication.groups.all_started()).await;
    started.map(|()| (replication, cluster)).map_err(|_late| SteeringError::NotStarted)
}

/// Starts the meta group, and what follows from it, until the server ends.
pub(super) async fn run(shared: Shared, meta: OpenedGroup) {
    if let Err(error) = start(&shared, meta).await {
        tracing::error!(%error, "the group in which the cluster decides does not start");
        return;
    }
    tokio::join!(
        stepping::run(&shared),
        whereabouts::run(&shared),
        announcing::run(&shared),
        tenants::run(&shared),
    );
}

async fn start(shared: &Shared, meta: OpenedGroup) -> std::io::Result<()> {
    let Some(replication) = &shared.replication else { return Ok(()) };
    let saved = raft::snapshot_of(&meta)?;
    let log = LogStorage::new(meta.log);
    let machine = MetaMachine::new(log.clone(), saved, &replication.steering.decided)?;
    let (node, network) = (replication.node, &replication.network);
    let group = Group::start(META, node, log, machine, network).await?;
    replication.groups.insert(group);
    Ok(())
}

/// Answers what other nodes ask for, until the links end.
pub(super) fn serve(shared: &Shared, cluster: &cluster::Cluster) -> tokio::task::JoinHandle<()> {
    let streams = cluster.links.serve(services::CONTROL);
    tokio::spawn(answering::serve(Shared::clone(shared), streams))
}
