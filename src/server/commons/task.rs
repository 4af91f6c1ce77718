//! The task of the node's commons: what clients ask for and what other nodes say goes in, and what comes of it
//! goes out.

use std::collections::HashMap;
use std::sync::Arc;

use tidewire_core::commons::{Commons, Message};
use tokio::sync::{mpsc, watch};

use super::PeerEvent;
use crate::cluster::NodeState;
use crate::server::shard_task::{due, tell};
use crate::server::{CommonsLook, Queued, Shared};

/// Commands of one round at most.
const ROUND_COMMANDS_MAX: usize = 2048;

/// What the task begins with.
pub(crate) struct CommonsTask {
    commons: Commons,
    queue: mpsc::Receiver<Queued>,
    peers: mpsc::Receiver<PeerEvent>,
    /// Who wants to see names.
    looks: mpsc::Receiver<CommonsLook>,
    /// Streams to other nodes: the number of each, and where messages go.
    streams: HashMap<u64, (u64, mpsc::Sender<Message>)>,
    is_second_life: bool,
}

impl CommonsTask {
    pub(super) fn new(
        commons: Commons,
        queue: mpsc::Receiver<Queued>,
        (peers, looks): (mpsc::Receiver<PeerEvent>, mpsc::Receiver<CommonsLook>),
    ) -> Self {
        Self { commons, queue, peers, looks, streams: HashMap::new(), is_second_life: false }
    }
}

/// Serves the node's commons until the server ends.
pub(crate) async fn run(shared: Arc<Shared>, mut task: CommonsTask) {
    let mut changes = shared.cluster.as_ref().map(|cluster| cluster.roster.changes());
    let (mut queued, mut commands, mut room) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let due_ms = task.commons.next_timeout_ms();
        tokio::select! {
            received = task.queue.recv_many(&mut queued, ROUND_COMMANDS_MAX) => {
                if received == 0 {
                    return;
                }
                Queued::unpack(&mut queued, &mut commands, &mut room);
            }
            Some(event) = task.peers.recv() => task.heard(event, shared.clock.now_ms()),
            Some(look) = task.looks.recv() => {
                look.show(&task.commons);
                continue;
            }
            () = changed(&mut changes) => task.look(&shared),
            () = due(&shared.clock, due_ms) => {}
        }
        let now_ms = shared.clock.now_ms();
        commands.drain(..).for_each(|command| task.commons.handle(command, now_ms));
        room.clear();
        task.commons.handle_timeout(now_ms);
        tell(&shared, task.commons.seal()).await;
        task.tell_others(now_ms);
        shared.commons.figures.set(task.commons.stats());
        task.say_agreed(&shared);
        task.look_for_second_life();
    }
}

/// Waits until gossip says something else; for ever without a cluster.
async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    let Some(changes) = changes else { return std::future::pending().await };
    if changes.changed().await.is_err() {
        // The cluster has ended with the server.
        std::future::pending::<()>().await;
    }
}

impl CommonsTask {
    fn heard(&mut self, event: PeerEvent, now_ms: u64) {
        match event {
            PeerEvent::Decided(decided) => self.commons.set_decided(*decided),
            PeerEvent::Opened { node, stream, messages } => {
                self.streams.insert(node, (stream, messages));
                self.commons.open(node);
            }
            PeerEvent::Said { node, stream, message } => {
                if self.is_current(node, stream) {
                    self.commons.take(node, *message, now_ms);
                }
            }
            PeerEvent::Ready => {}
            PeerEvent::Ended { node, stream } => {
                if self.is_current(node, stream) {
                    self.streams.remove(&node);
                    self.commons.close(node);
                }
            }
        }
    }

    /// Whether it is of the stream that counts: there may have been an earlier one.
    fn is_current(&self, node: u64, stream: u64) -> bool {
        self.streams.get(&node).is_some_and(|(current, _)| *current == stream)
    }

    /// Tells other nodes what they lack, as far as their streams take it.
    fn tell_others(&mut self, now_ms: u64) {
        for (node, (_, messages)) in &self.streams {
            while let Ok(place) = messages.try_reserve() {
                let Some(message) = self.commons.next(*node, now_ms) else { break };
                place.send(message);
            }
        }
    }

    /// Says what can be decided of nodes that were removed.
    fn say_agreed(&self, shared: &Shared) {
        let agreed = self.commons.agreed();
        shared.commons.agreed.send_if_modified(|said| {
            let is_news = *said != agreed;
            *said = agreed;
            is_news
        });
    }

    /// Who is there as gossip sees it.
    fn look(&mut self, shared: &Shared) {
        let Some(cluster) = &shared.cluster else { return };
        for node in cluster.roster.nodes().iter().filter(|node| !node.is_self) {
            let (id, incarnation) = (node.id.get(), node.incarnation);
            match node.state {
                NodeState::Alive | NodeState::Suspect => {
                    self.commons.node_is_there(id, incarnation);
                }
                NodeState::Down | NodeState::Left => self.commons.node_is_down(id, incarnation),
            }
        }
    }

    fn look_for_second_life(&mut self) {
        if self.commons.is_second_life() && !std::mem::replace(&mut self.is_second_life, true) {
            tracing::error!(
                actor = %self.commons.own(),
                "other nodes have heard more of this life of the node than it has said: its data \
                 directory was set back; eventual counters are refused until it is started again"
            );
        }
    }
}
