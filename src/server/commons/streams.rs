//! Streams between the commons of two nodes: one for each two, which the node with the lower id opens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tidewire_core::commons::{Decided, Message};
use tokio::sync::mpsc;

use super::PeerEvent;
use super::deciding::{decided, members, until_apart};
use crate::cluster::links::Incoming;
use crate::cluster::raft::NodeId;
use crate::cluster::{self, frames, services};
use crate::server::Shared;

/// How often it is looked who belongs to the cluster.
const LOOK: Duration = Duration::from_millis(200);
/// A pause before a node that was not reached is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long a stream may take to be opened.
const OPEN: Duration = Duration::from_secs(2);

/// Keeps streams to the nodes with higher ids, and tells the task who belongs to the cluster, until the
/// server ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let Some(replication) = &shared.replication else { return };
    let own = replication.node;
    let (mut known, mut changes) = (Decided::default(), replication.steering.decided.changes());
    let mut kept = tokio::task::JoinSet::new();
    let mut streams: BTreeSet<NodeId> = BTreeSet::new();
    loop {
        let decided = decided(&shared);
        if decided != known {
            known.clone_from(&decided);
            let event = PeerEvent::Decided(Box::new(decided));
            if shared.commons.peers.send(event).await.is_err() {
                return;
            }
        }
        for node in known.members.range(own + 1..) {
            if streams.insert(*node) {
                kept.spawn(keep_one(Arc::clone(&shared), *node));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Ok(()) = changes.changed() => {}
            Some(Ok(node)) = kept.join_next() => {
                streams.remove(&node);
            }
        }
    }
}

/// Keeps a stream to a node for as long as it belongs to the cluster. Returns which it was.
async fn keep_one(shared: Arc<Shared>, node: NodeId) -> NodeId {
    while members(&shared).contains(&node) {
        if let Ok(Some((send, recv))) = tokio::time::timeout(OPEN, open(&shared, node)).await {
            carry(&shared, node, send, recv).await;
        }
        tokio::time::sleep(RETRY).await;
    }
    node
}

async fn open(shared: &Shared, node: NodeId) -> Option<(SendStream, RecvStream)> {
    let links = &shared.cluster.as_ref()?.links;
    links.open(cluster::NodeId::new(node)?, services::COMMONS).await.ok()
}

/// Serves the streams of nodes with lower ids until the links end.
pub(crate) async fn serve(shared: Arc<Shared>, mut incoming: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { node, send, recv }) = incoming.recv().await {
        let node = node.get();
        // One that is not known to belong here yet tries again.
        if members(&shared).contains(&node) {
            let shared = Arc::clone(&shared);
            drop(tokio::spawn(async move { carry(&shared, node, send, recv).await }));
        }
    }
}

/// Carries what the two nodes say, until one of them does not any more.
async fn carry(shared: &Shared, node: NodeId, send: SendStream, recv: RecvStream) {
    let commons = &shared.commons;
    let stream = commons.next_stream();
    let (messages, to_tell) = mpsc::channel(1);
    let opened = PeerEvent::Opened { node, stream, messages };
    if commons.peers.send(opened).await.is_err() {
        return;
    }
    tokio::select! {
        () = tell(send, to_tell, &commons.peers) => {}
        () = hear(recv, &commons.peers, (node, stream)) => {}
        () = until_apart(shared, node) => {}
    }
    // Fails only when the server is stopping.
    drop(commons.peers.send(PeerEvent::Ended { node, stream }).await);
}

async fn tell(
    mut send: SendStream,
    mut messages: mpsc::Receiver<Message>,
    events: &mpsc::Sender<PeerEvent>,
) {
    while let Some(message) = messages.recv().await {
        let is_sent = frames::send(&mut send, &message).await;
        if let Err(error) = is_sent {
            return tracing::debug!(%error, "a node is not told of counters and presence any more");
        }
        if events.send(PeerEvent::Ready).await.is_err() {
            return;
        }
    }
}

async fn hear(
    mut recv: RecvStream,
    events: &mpsc::Sender<PeerEvent>,
    (node, stream): (NodeId, u64),
) {
    loop {
        match frames::receive::<Message>(&mut recv).await {
            Ok(Some(message)) => {
                let said = PeerEvent::Said { node, stream, message: Box::new(message) };
                if events.send(said).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                return tracing::debug!(%error, node, "a node is not heard of counters and presence");
            }
        }
    }
}
