//! What is read back from the journal, on its way to whoever has recalled it.

use std::sync::Arc;

use tidewire_core::shard::{Command, Event, Recall, Recalled, Recaller, is_peer};

use super::Shared;
use super::replicated::{PeerEvent, Replication};
use crate::journal::Journal;

/// Hands over what was read, from the thread that reads.
pub(super) fn hand_over(shared: &Shared) -> impl Fn(u16, Recaller, Recalled) + Send + 'static {
    let (dispatchers, shards) = (shared.dispatchers.clone(), shared.shards.clone());
    let peers = shared.replication.as_ref().map(Replication::peer_queues).unwrap_or_default();
    move |shard, to, recalled| {
        // Fails only when the server is stopping.
        match to {
            // Another node: the shard's task knows the stream to it.
            Recaller::Dispatcher(peer) if is_peer(peer) => {
                if let Some(queue) = peers.get(usize::from(shard)) {
                    drop(queue.blocking_send(PeerEvent::Recalled { peer, recalled }));
                }
            }
            Recaller::Dispatcher(dispatcher) => {
                if let Some(queue) = dispatchers.get(usize::from(dispatcher)) {
                    drop(queue.blocking_send(event(shard, recalled)));
                }
            }
            Recaller::Shard => {
                if let Some(queue) = shards.get(usize::from(shard)) {
                    drop(queue.blocking_send(Command::Recalled(Box::new(recalled)).into()));
                }
            }
        }
    }
}

/// Has what a shard recalls read. More is never under way than may wait, so what is not taken is so
/// because the server is stopping.
pub(super) async fn recall(shared: &Shared, journal: &Journal, shard: u16, recalls: Vec<Recall>) {
    for Recall { to, extent, .. } in recalls.into_iter().filter_map(|recall| journal.recall(recall))
    {
        let reason = Some("it is not read any more".to_owned());
        let recalled = Recalled { sequences: extent.sequences, reason, bodies: Vec::new() };
        match to {
            Recaller::Dispatcher(dispatcher) => {
                if let Some(queue) = shared.dispatchers.get(usize::from(dispatcher)) {
                    drop(queue.send(event(shard, recalled)).await);
                }
            }
            // The shard itself is at work, so it must not be waited for.
            Recaller::Shard => {
                if let Some(queue) = shared.shards.get(usize::from(shard)) {
                    drop(queue.try_send(Command::Recalled(Box::new(recalled)).into()));
                }
            }
        }
    }
}

fn event(shard: u16, recalled: Recalled) -> Vec<Event> {
    vec![Event::Recalled { shard, recalled: Arc::new(recalled) }]
}
