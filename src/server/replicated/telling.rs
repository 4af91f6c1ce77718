//! What a node tells: its dispatchers and the nodes that follow it, the leader, the log.

use tidewire_core::member::{Output, Proposal};
use tidewire_core::shard::{DispatcherId, Event, Recall, Recalled, Recaller, is_peer};

use super::behind::Behind;
use super::leader_link::LinkEvent;
use super::peers::PeerEvent;
use super::task::Task;
use crate::cluster::raft::EntryBody;

impl Task {
    pub(super) fn heard(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(commands) if !self.leads() => {
                self.link = Some(commands);
                self.member.connect();
            }
            LinkEvent::Connected(_) => {}
            LinkEvent::Told(events) if self.link.is_some() => {
                events.into_iter().for_each(|event| self.member.take(event));
            }
            LinkEvent::Told(_) => {}
            LinkEvent::Lost => {
                self.link = None;
                self.member.disconnect();
            }
        }
    }

    pub(super) fn peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Join { peer, joined } => {
                let Some(term) = self.member.term().filter(|_| !self.waits_for_lease()) else {
                    return;
                };
                if self.peers.end(peer) {
                    self.member.peer_ended(peer);
                }
                // Who does not wait any more has gone, and says so.
                drop(joined.send(self.peers.join(peer, term)));
            }
            PeerEvent::Commands { peer, stream, commands } => {
                if self.peers.has(peer, stream) {
                    self.commands.extend(commands.into_iter().map(|command| (Some(peer), command)));
                }
            }
            PeerEvent::Ended { peer, stream } => {
                if self.peers.has(peer, stream) {
                    self.end_peer(peer);
                }
            }
            // The task does these itself.
            PeerEvent::Begin { .. } | PeerEvent::Recalled { .. } => {}
        }
    }

    pub(super) fn end_peer(&mut self, peer: DispatcherId) {
        self.peers.end(peer);
        self.commands.retain(|(from, _)| *from != Some(peer));
        self.member.peer_ended(peer);
    }

    pub(super) async fn carry(&mut self, output: Output) {
        let Output { told, to_leader, recalls, proposal } = output;
        if let Some(proposal) = proposal {
            self.propose(&proposal).await;
        }
        self.recall(recalls).await;
        self.tell(told).await;
        if !to_leader.is_empty()
            && let Some(link) = &self.link
            && link.try_send(to_leader).is_err()
        {
            // It takes too little, or is gone: it begins anew.
            self.link = None;
            self.member.disconnect();
        }
    }

    async fn propose(&self, proposal: &Proposal) {
        let Behind::Durable(durable) = &self.behind else { return };
        let Proposal { log, version, time_ms } = proposal;
        let outcome = match EntryBody::of_round(log, *version, *time_ms) {
            // What becomes of it is seen when it is applied, or another one leads.
            Ok(body) => match durable.group.raft.client_write_ff(body).await {
                Ok(_outcome) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            tracing::error!(shard = self.number, error, "a round cannot be logged");
        }
    }

    async fn recall(&mut self, recalls: Vec<Recall>) {
        let Behind::Durable(durable) = &self.behind else { return };
        let mut told = Vec::new();
        for recall in recalls {
            let Some(Recall { to, extent, .. }) = durable.room.recall(recall) else { continue };
            let reason = Some("it is not read any more".to_owned());
            let recalled = Recalled { sequences: extent.sequences, reason, bodies: Vec::new() };
            if let Recaller::Dispatcher(dispatcher) = to {
                let recalled = std::sync::Arc::new(recalled);
                told.push((dispatcher, Event::Recalled { shard: self.number, recalled }));
            }
        }
        self.tell(told).await;
    }

    /// Gives dispatchers, and nodes that follow this one, what they are told.
    pub(super) async fn tell(&mut self, told: Vec<(DispatcherId, Event)>) {
        let mut groups: Vec<(DispatcherId, Vec<Event>)> = Vec::new();
        for (to, event) in told {
            match groups.iter_mut().find(|(known, _)| *known == to) {
                Some((_, group)) => group.push(event),
                None => groups.push((to, vec![event])),
            }
        }
        for (to, group) in groups {
            if is_peer(to) {
                if !self.peers.tell(to, group) {
                    tracing::warn!(
                        shard = self.number,
                        peer = to,
                        "a node takes too little: its stream ends"
                    );
                    self.end_peer(to);
                }
            } else if let Some(dispatcher) = self.shared.dispatchers.get(usize::from(to)) {
                // Fails only when the dispatcher's core has stopped: nobody is there to be told.
                drop(dispatcher.send(group).await);
            }
        }
    }
}
