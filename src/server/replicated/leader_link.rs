//! The stream to the node that leads a shard.

use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tidewire_core::shard::{Command, Event};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::leads::Lead;
use super::serving::{Opened, Opening};
use super::steering::Guidance;
use crate::cluster::{NodeId, frames, services};

/// Groups of commands that wait to be sent.
pub(super) const COMMANDS_MAX: usize = 1024;
const GROUPS_MAX: usize = 64;
/// A pause before a leader that could not be reached, or leads not yet, is asked again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a stream may take to be opened.
const OPEN: Duration = Duration::from_secs(2);

/// What becomes of the stream.
pub(super) enum LinkEvent {
    /// The leader takes commands from here.
    Connected(mpsc::Sender<Vec<Command>>),
    Told(Vec<Event>),
    Lost,
}

/// Keeps a stream to whoever leads the shard, until nobody hears of it any more.
pub(super) async fn follow(
    shared: Shared,
    shard: u16,
    mut lead: watch::Receiver<Lead>,
    events: mpsc::Sender<LinkEvent>,
) {
    let Some(node) = shared.replication.as_ref().map(|all| all.node) else { return };
    let steering = shared.replication.as_ref().map(|all| &all.steering);
    let guidance = steering.and_then(|steering| steering.guidance_of(shard));
    let Some(mut guidance) = guidance.map(watch::Sender::subscribe) else { return };
    while !events.is_closed() {
        let leader = leader_of(&mut lead, &mut guidance, node);
        let Some(leader) = leader.and_then(NodeId::new) else {
            if !another(&mut lead, &mut guidance).await {
                return;
            }
            continue;
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout(OPEN, open(&shared, shard, leader)) => opened,
            // Whoever led until now is gone, and would be waited for in vain.
            () = until_another(&mut lead, &mut guidance, (node, leader.get())) => continue,
        };
        if let Ok(Some((send, recv))) = opened {
            let (commands, queue) = mpsc::channel(COMMANDS_MAX);
            if events.send(LinkEvent::Connected(commands)).await.is_err() {
                return;
            }
            tokio::select! {
                () = tell(send, queue) => {}
                () = hear(recv, &events) => {}
                () = until_another(&mut lead, &mut guidance, (node, leader.get())) => {}
            }
            if events.send(LinkEvent::Lost).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open(shared: &Shared, shard: u16, leader: NodeId) -> Option<(SendStream, RecvStream)> {
    let links = &shared.cluster.as_ref()?.links;
    let (mut send, mut recv) = links.open(leader, services::SHARDS).await.ok()?;
    frames::send(&mut send, &Opening { shard }).await.ok()?;
    // It ends at once if that node does not lead.
    let Opened { .. } = frames::receive(&mut recv).await.ok()??;
    Some((send, recv))
}

async fn tell(mut send: SendStream, mut commands: mpsc::Receiver<Vec<Command>>) {
    let mut groups = Vec::new();
    while commands.recv_many(&mut groups, GROUPS_MAX).await > 0 {
        let frame: Vec<Command> = groups.drain(..).flatten().collect();
        if frames::send(&mut send, &frame).await.is_err() {
            return;
        }
    }
}

async fn hear(mut recv: RecvStream, events: &mpsc::Sender<LinkEvent>) {
    while let Ok(Some(told)) = frames::receive::<Vec<Event>>(&mut recv).await {
        if events.send(LinkEvent::Told(told)).await.is_err() {
            return;
        }
    }
}

/// Who leads, if it is another node. What others say of a group that this node is no member of goes first.
fn leader_of(
    lead: &mut watch::Receiver<Lead>,
    guidance: &mut watch::Receiver<Guidance>,
    node: u64,
) -> Option<u64> {
    guidance.borrow_and_update().leader.or(lead.borrow_and_update().elsewhere(node))
}

/// Waits until somebody says something else. Returns false when nobody ever will.
async fn another(
    lead: &mut watch::Receiver<Lead>,
    guidance: &mut watch::Receiver<Guidance>,
) -> bool {
    tokio::select! {
        changed = lead.changed() => changed.is_ok(),
        changed = guidance.changed() => changed.is_ok(),
    }
}

async fn until_another(
    lead: &mut watch::Receiver<Lead>,
    guidance: &mut watch::Receiver<Guidance>,
    (node, leader): (u64, u64),
) {
    while leader_of(lead, guidance, node) == Some(leader) {
        if !another(lead, guidance).await {
            return;
        }
    }
}
