//! What nodes tell each other, with all that can happen to it.

use std::vec::Vec;

use super::super::*;
use super::world::World;

pub(super) enum Message {
    /// How far the sender knows everybody.
    Known(Versions),
    Delta(Delta<Change>),
}

impl World {
    /// Sends `known` to a peer, which answers with what is lacking.
    pub(super) fn ask(&mut self, id: u64, peer: u64) {
        let Some(counters) = &self.nodes[&id].counters else { return };
        let known = counters.known();
        self.send(id, peer, Message::Known(known));
    }

    pub(super) fn send(&mut self, from: u64, to: u64, message: Message) {
        let is_removed = self.nodes[&from].is_removed || self.nodes[&to].is_removed;
        if from == to || self.cut_off.contains(&(from, to)) || is_removed {
            return;
        }
        if !self.is_healing && self.chance.one_in(10) {
            return;
        }
        let message = if !self.is_healing && self.chance.one_in(10) {
            let (first, second) = match message {
                Message::Known(known) => (Message::Known(known.clone()), Message::Known(known)),
                Message::Delta(delta) => (Message::Delta(delta.clone()), Message::Delta(delta)),
            };
            self.put(from, to, first);
            second
        } else {
            message
        };
        self.put(from, to, message);
    }

    pub(super) fn put(&mut self, from: u64, to: u64, message: Message) {
        // While it heals, messages come in order, or a snapshot in many pieces might never.
        let delay_ms = if self.is_healing { 1 } else { 1 + self.chance.below(60) };
        self.sent += 1;
        self.network.insert((self.now_ms + delay_ms, self.sent), (from, to, message));
    }

    pub(super) fn messages_arrive(&mut self) {
        while let Some(first) = self.network.first_entry() {
            if first.key().0 > self.now_ms {
                return;
            }
            let (from, to, message) = first.remove();
            let Some(counters) = &mut self.nodes.get_mut(&to).unwrap().counters else { continue };
            match message {
                Message::Delta(delta) => match counters.merge(delta) {
                    Merged::Hole { .. } | Merged::PieceMissing { .. } => self.figures.holes += 1,
                    Merged::OwnAhead { .. } => panic!("an incarnation was used twice"),
                    Merged::NoRoom => panic!("there is room"),
                    Merged::Applied { .. }
                    | Merged::Known
                    | Merged::Staged { .. }
                    | Merged::Superseded => {}
                },
                Message::Known(known) => {
                    let owed = counters.changes_since(&known, 300);
                    let snapshots =
                        owed.snapshots.iter().filter_map(|actor| counters.snapshot(*actor, 400));
                    let pieces: Vec<_> = snapshots.flatten().collect();
                    self.figures.snapshots += owed.snapshots.len() as u64;
                    for delta in owed.deltas.into_iter().chain(pieces) {
                        // An actor that counts here is told no further than it was released.
                        self.send(to, from, Message::Delta(delta));
                    }
                }
            }
        }
    }

    /// What is on its way over them is gone.
    pub(super) fn end_connections(&mut self, id: u64) {
        self.network.retain(|_, (from, to, _)| *from != id && *to != id);
    }

    pub(super) fn cut_one_off(&mut self) {
        let id = 1 + self.chance.below(self.nodes.len() as u64);
        let is_one_way = self.chance.one_in(3);
        for peer in self.nodes.keys().copied() {
            if !self.chance.one_in(3) {
                self.cut_off.insert((id, peer));
                if !is_one_way {
                    self.cut_off.insert((peer, id));
                }
            }
        }
    }
}
