//! Nodes that follow a shard which this node leads.

use std::collections::{BTreeMap, HashMap};
use std::io;

use tidewire_core::shard::{Command, DispatcherId, Event, Recalled};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::raft::{Node, NodeId};

/// Groups of events that wait to be sent to another node. Beyond them its stream ends, and it begins
/// anew with how things are then.
const EVENTS_MAX: usize = 1024;

/// What another node wants of a shard.
pub(crate) enum PeerEvent {
    /// It wants to follow the shard; nothing is answered if that is not led here.
    Join { peer: DispatcherId, joined: oneshot::Sender<Joined> },
    /// It sends commands.
    Commands { peer: DispatcherId, stream: u64, commands: Vec<Command> },
    /// Its stream has ended.
    Ended { peer: DispatcherId, stream: u64 },
    /// What a node has recalled was read from the journal.
    Recalled { peer: DispatcherId, recalled: Recalled },
    /// The node founds the shard's group on what it has logged alone, with these members. Whether it has
    /// not been a group's before is answered.
    Begin { nodes: BTreeMap<NodeId, Node>, begun: oneshot::Sender<io::Result<bool>> },
}

/// What a node that follows the shard gets.
pub(crate) struct Joined {
    /// Number of the stream, among all of this shard.
    pub(super) stream: u64,
    pub(super) term: u64,
    pub(super) events: mpsc::Receiver<Vec<Event>>,
}

/// The nodes that follow a shard.
#[derive(Default)]
pub(super) struct Peers {
    streams: HashMap<DispatcherId, (u64, mpsc::Sender<Vec<Event>>)>,
    last: u64,
}

impl Peers {
    pub(super) fn join(&mut self, peer: DispatcherId, term: u64) -> Joined {
        self.last += 1;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        self.streams.insert(peer, (self.last, sender));
        Joined { stream: self.last, term, events }
    }

    pub(super) fn has(&self, peer: DispatcherId, stream: u64) -> bool {
        self.streams.get(&peer).is_some_and(|(known, _)| *known == stream)
    }

    pub(super) fn end(&mut self, peer: DispatcherId) -> bool {
        self.streams.remove(&peer).is_some()
    }

    pub(super) fn end_all(&mut self) {
        self.streams.clear();
    }

    /// Sends a node its events. Returns false if it takes too few, or is gone.
    pub(super) fn tell(&self, peer: DispatcherId, events: Vec<Event>) -> bool {
        // Who has ended meanwhile is told nothing.
        self.streams.get(&peer).is_none_or(|(_, stream)| stream.try_send(events).is_ok())
    }
}
