//! Shards of a cluster: each node has a part in each of them, and this is the task that plays it.

mod applying;
mod begin;
mod behind;
mod copying;
mod gathering;
mod giving;
mod leader_link;
mod leading;
mod leads;
mod peers;
mod rebuild;
mod saving;
mod serving;
pub(crate) mod steering;
mod task;
mod telling;
mod tenants;

pub(super) use behind::{Kind, Log};
pub(crate) use gathering::gather;
pub(crate) use leads::Lead;
pub(super) use peers::PeerEvent;
pub(super) use task::{Replicated, run};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_core::member::Member;
use tidewire_core::shard::{DISPATCHERS_MAX, DispatcherId, PEERS_MAX, Shard};
use tidewire_core::{SHARDS, is_durable};
use tokio::sync::{mpsc, watch};

use self::steering::Steering;
use super::{AnyShard, ShardQueues, StartError};
use crate::cluster::Cluster;
use crate::cluster::raft::{self, GroupTable, LogStorage, Network, NodeId};
use crate::cluster::services;
use crate::journal::{Journal, OpenedGroup, StorageError};

/// Streams and commands of other nodes that wait for a shard.
const PEER_QUEUE: usize = 256;

/// What the parts of this node in all shards share.
pub(crate) struct Replication {
    pub(crate) node: NodeId,
    pub(crate) network: Network,
    pub(crate) groups: GroupTable,
    /// Who leads each group, as its shard's task sees it.
    leads: Vec<watch::Sender<Lead>>,
    /// To the task of each shard, what other nodes want of it.
    peers: Vec<mpsc::Sender<PeerEvent>>,
    numbers: Mutex<HashMap<NodeId, DispatcherId>>,
    /// What the cluster has decided.
    pub(crate) steering: Steering,
}

impl Replication {
    /// The part in this cluster, and the queues of the shards' tasks, in order. To be called within the
    /// runtime that is to carry the streams of the groups.
    pub(super) fn of(
        cluster: Option<&Cluster>,
        shards: u16,
    ) -> (Option<Self>, Vec<mpsc::Receiver<PeerEvent>>) {
        let Some(cluster) = cluster else { return (None, Vec::new()) };
        let network = Network::new(cluster.links.clone(), cluster.states.clone());
        let leads = (0..SHARDS).map(|_| watch::Sender::new(Lead::default())).collect();
        let (peers, queues): (Vec<_>, Vec<_>) =
            (0..shards).map(|_| mpsc::channel(PEER_QUEUE)).unzip();
        let (groups, numbers) = (GroupTable::default(), Mutex::default());
        let (node, steering) = (cluster.node.get(), Steering::new(cluster.id));
        (Some(Self { node, network, groups, leads, peers, numbers, steering }), queues)
    }

    /// To the tasks of all shards, in order, what other nodes want of them.
    pub(super) fn peer_queues(&self) -> Vec<mpsc::Sender<PeerEvent>> {
        self.peers.clone()
    }

    /// Who leads the group that a shard belongs to.
    fn lead_of(&self, shard: u16) -> Option<&watch::Sender<Lead>> {
        self.leads.get(usize::from(shard % SHARDS))
    }

    /// What another node is to the shards here. None if there are too many.
    fn number_of(&self, node: NodeId) -> Option<DispatcherId> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(&node) {
            return Some(*number);
        }
        let next = numbers.len();
        let number = u8::try_from(DISPATCHERS_MAX + next).ok().filter(|_| next < PEERS_MAX)?;
        numbers.insert(node, number);
        Some(number)
    }
}

type Shared = Arc<super::Shared>;

/// Serves what other nodes ask of this one, and follows what the cluster decides in the group without a
/// shard.
pub(super) fn serve(
    shared: &Shared,
    meta: Option<OpenedGroup>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let (Some(replication), Some(cluster)) = (&shared.replication, &shared.cluster) else {
        return Vec::new();
    };
    let (links, shared) = (&cluster.links, || Shared::clone(shared));
    let (groups, states) = (replication.groups.clone(), cluster.states.clone());
    let mut tasks = vec![
        tokio::spawn(raft::serve(links.serve(services::RAFT), groups.clone())),
        tokio::spawn(raft::elect(groups.clone(), replication.network.clone())),
        tokio::spawn(raft::take_states(links.serve(services::STATES), states, groups)),
        tokio::spawn(serving::serve(shared(), links.serve(services::SHARDS))),
        tokio::spawn(giving::serve(shared(), links.serve(services::BACKUPS))),
        steering::serve(&shared(), cluster),
    ];
    tasks.extend(meta.map(|meta| tokio::spawn(steering::run(shared(), meta))));
    tasks
}

/// The tasks of all shards of this node: what it has of them, the logs of the groups in order, and what
/// they take from.
pub(super) fn tasks(
    shared: &Shared,
    states: Vec<(Shard, Journal)>,
    groups: Vec<OpenedGroup>,
    (queues, peers): (Vec<ShardQueues>, Vec<mpsc::Receiver<PeerEvent>>),
) -> Result<Vec<AnyShard>, StartError> {
    let node = shared.replication.as_ref().map(|replication| replication.node);
    let mut groups = groups.into_iter();
    let mut tasks = Vec::new();
    let queues = queues.into_iter().zip(peers);
    for ((shard, journal), ((queue, looks), peers)) in states.into_iter().zip(queues) {
        let (number, config) = (shard.number(), shard.config().clone());
        let (member, kind) = match (journal, if is_durable(number) { groups.next() } else { None })
        {
            (Journal::Disk(room), Some(group)) => {
                let applied = raft::applied_of(&group).map_err(StorageError::Thread)?;
                let is_member =
                    node.is_some_and(|node| applied.1.membership().get_node(&node).is_some());
                let member = match is_member {
                    true => Member::with_copy(config.clone(), shard),
                    false => Member::behind(config.clone(), shard),
                };
                let log = LogStorage::new(group.log);
                (member, Kind::Durable(Box::new(Log { log, applied, room })))
            }
            (Journal::Memory | Journal::Disk(_), _) => {
                (Member::without_copy(config.clone()), Kind::Memory)
            }
        };
        let replicated = Replicated { number, config, member, kind, queue, looks, peers };
        tasks.push(AnyShard::Replicated(Box::new(replicated)));
    }
    Ok(tasks)
}
