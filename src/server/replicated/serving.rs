//! Streams of other nodes to the shards that this node leads.

use quinn::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use tidewire_core::shard::{Command, DispatcherId, Event};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::peers::{Joined, PeerEvent};
use crate::cluster::frames;
use crate::cluster::links::Incoming;

/// Groups of events that are sent as one frame at most.
const GROUPS_MAX: usize = 64;

/// The first frame of a stream: what is to be followed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) shard: u16,
}

/// The answer, if this node leads the shard. Otherwise the stream ends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) term: u64,
}

/// Serves streams until the links end.
pub(super) async fn serve(shared: Shared, mut streams: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { node, send, recv }) = streams.recv().await {
        let number = shared.replication.as_ref().and_then(|all| all.number_of(node.get()));
        if let Some(peer) = number {
            drop(tokio::spawn(serve_one(Shared::clone(&shared), peer, send, recv)));
        }
    }
}

async fn serve_one(
    shared: Shared,
    peer: DispatcherId,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Option<()> {
    let Opening { shard } = frames::receive(&mut recv).await.ok()??;
    let queue = shared.replication.as_ref()?.peers.get(usize::from(shard))?;
    let (joined, answer) = oneshot::channel();
    queue.send(PeerEvent::Join { peer, joined }).await.ok()?;
    let Joined { stream, term, events } = answer.await.ok()?;
    let mut heard = false;
    if frames::send(&mut send, &Opened { term }).await.is_ok() {
        heard = true;
    }
    if heard {
        // Either way it is over for both.
        tokio::select! {
            () = tell(send, events) => {}
            () = hear(recv, queue, peer, stream) => {}
        }
    }
    queue.send(PeerEvent::Ended { peer, stream }).await.ok()
}

async fn tell(mut send: SendStream, mut events: mpsc::Receiver<Vec<Event>>) {
    let mut groups = Vec::new();
    while events.recv_many(&mut groups, GROUPS_MAX).await > 0 {
        let frame: Vec<Event> = groups.drain(..).flatten().collect();
        if let Err(error) = frames::send(&mut send, &frame).await {
            tracing::debug!(%error, "events are not sent to another node any more");
            return;
        }
    }
}

async fn hear(
    mut recv: RecvStream,
    queue: &mpsc::Sender<PeerEvent>,
    peer: DispatcherId,
    stream: u64,
) {
    while let Ok(Some(commands)) = frames::receive::<Vec<Command>>(&mut recv).await {
        if queue.send(PeerEvent::Commands { peer, stream, commands }).await.is_err() {
            return;
        }
    }
}
