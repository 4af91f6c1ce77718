//! The cells that this node changes by itself, and tells other nodes of: their one task, and the streams to
//! the others.

mod deciding;
mod figures;
mod streams;
mod task;

pub(super) use deciding::seal;
pub(crate) use figures::CommonsFigures;
pub(super) use streams::{keep, serve};
pub(super) use task::{CommonsTask, run};

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidewire_core::cell::eventual::Seal;
use tidewire_core::cell::replicated::Actor;
use tidewire_core::commons::{Commons, CommonsConfig, Decided, Message};
use tokio::sync::{mpsc, watch};

use super::{Clock, CommonsLook, LOOK_QUEUE, Queued, SHARD_QUEUE};
use crate::cluster::Cluster;
use crate::config::Config;

/// What streams of other nodes have said and was not looked at yet; who says more waits.
const PEER_QUEUE: usize = 64;

/// The way to the task.
pub(crate) struct CommonsQueue {
    /// Who counts on this node, in this life.
    pub(crate) actor: Actor,
    /// What clients of this node ask for.
    pub(super) commands: mpsc::Sender<Queued>,
    peers: mpsc::Sender<PeerEvent>,
    /// Who wants to see names.
    pub(super) looks: mpsc::Sender<CommonsLook>,
    /// Streams so far.
    streams: AtomicU64,
    pub(crate) figures: CommonsFigures,
    /// What can be decided of nodes that were removed, as this node has collected it.
    agreed: watch::Sender<Option<Seal>>,
}

/// What the task hears of other nodes.
enum PeerEvent {
    /// The cluster has decided this.
    Decided(Box<Decided>),
    /// A stream to a node has begun: what it is told goes here, one message at a time.
    Opened { node: u64, stream: u64, messages: mpsc::Sender<Message> },
    /// A node has said something.
    Said { node: u64, stream: u64, message: Box<Message> },
    /// The stream takes another message.
    Ready,
    /// A stream has ended.
    Ended { node: u64, stream: u64 },
}

/// The node's commons, which are empty, and the way to them.
pub(super) fn make(
    config: &Config,
    clock: &Clock,
    cluster: Option<&Cluster>,
) -> (CommonsQueue, CommonsTask) {
    let seed = clock.now_ms();
    // A server of its own has no others to be told apart from; its lives are told apart by the clock.
    let alone = Actor { node: 0, incarnation: seed };
    let own = cluster.map_or(alone, |cluster| Actor {
        node: cluster.node.get(),
        incarnation: cluster.incarnation,
    });
    let (counters, presence) = config.limits.commons();
    let commons = Commons::new(&CommonsConfig { own, seed, counters, presence });
    let (commands, queue) = mpsc::channel(SHARD_QUEUE);
    let (peers, from_peers) = mpsc::channel(PEER_QUEUE);
    let (looks, from_looks) = mpsc::channel(LOOK_QUEUE);
    let (streams, figures) = (AtomicU64::new(0), CommonsFigures::default());
    let to_task = CommonsQueue {
        actor: own,
        commands,
        peers,
        looks,
        streams,
        figures,
        agreed: watch::Sender::default(),
    };
    (to_task, CommonsTask::new(commons, queue, (from_peers, from_looks)))
}

impl CommonsQueue {
    fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Relaxed) + 1
    }
}
