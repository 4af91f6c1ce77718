//! What nodes tell each other: each tells what the other one lacks, whoever has made it.

use alloc::vec::Vec;

use super::link::{Knowledge, Link, Message, Piece};
use super::{Commons, HEARTBEAT_MS};
use crate::cell::attendance::PresenceChange;
use crate::cell::eventual::Change;
use crate::cell::replicated::{Delta, Merged, Owed};

/// Bytes of changes, or of pieces of snapshots, that are told at once.
const TELL_BYTES: usize = 128 * 1024;

impl Commons {
    /// Another node is reached from now on. What it says over an earlier way is not to be taken any more.
    pub fn open(&mut self, node: u64) {
        if self.counters.removed().contains(&node) {
            return;
        }
        self.links.insert(node, Link::new());
        self.round += 1;
        self.collecting += 1;
    }

    /// Another node is not reached any more.
    pub fn close(&mut self, node: u64) {
        if self.links.remove(&node).is_some() {
            self.round += 1;
            self.collecting += 1;
        }
    }

    /// Takes what another node says.
    pub fn take(&mut self, node: u64, message: Message, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if !self.links.contains_key(&node) {
            return;
        }
        match message {
            Message::Known { actor, counters, presence } => {
                // Who was there in an earlier life is there no more, whether or not gossip has noticed.
                self.presence.drop_node(actor.node, actor.incarnation.saturating_sub(1));
                let Some(link) = self.links.get_mut(&node) else { return };
                link.actor = Some(actor).filter(|actor| actor.node == node);
                link.knows = Some(Knowledge { counters, presence });
                link.pieces.clear();
            }
            Message::AskLives { round } => {
                let Some(link) = self.links.get_mut(&node) else { return };
                link.owes_lives = Some(round);
            }
            Message::Lives { round, lives } => {
                let Some(link) = self.links.get_mut(&node) else { return };
                link.lives = Some((round, lives));
            }
            Message::AskEnds { round } => {
                let Some(link) = self.links.get_mut(&node) else { return };
                link.owes_ends = Some(round);
            }
            Message::Ends { round, digest } => {
                let Some(link) = self.links.get_mut(&node) else { return };
                link.ends = Some((round, digest));
            }
            Message::Tell { at_ms, echo_ms, counters, presence } => {
                let mut is_missing = false;
                for delta in counters {
                    is_missing |= self.take_counts(node, delta);
                }
                for delta in presence {
                    is_missing |= self.take_presence(node, delta);
                }
                let own_ms = self.now_ms;
                let Some(link) = self.links.get_mut(&node) else { return };
                link.heard_ms = at_ms.max(link.heard_ms);
                link.echoed_ms = echo_ms.min(own_ms).max(link.echoed_ms);
                link.owes_known |= is_missing;
                self.stats.resent += u64::from(is_missing);
            }
        }
    }

    /// Returns whether something before it is missing.
    fn take_counts(&mut self, node: u64, delta: Delta<Change>) -> bool {
        let (actor, version) = (delta.actor, delta.content.leads_to());
        let merged = self.counters.merge(delta);
        let is_taken = self.note(merged);
        if is_taken && let Some(knows) = self.knowledge_of(node) {
            knows.counters.raise(actor, version);
        }
        self.is_changed |= matches!(merged, Merged::Applied { .. });
        !is_taken
    }

    fn take_presence(&mut self, node: u64, delta: Delta<PresenceChange>) -> bool {
        let (actor, version) = (delta.actor, delta.content.leads_to());
        let merged = self.presence.merge(delta);
        let is_taken = self.note(merged);
        if is_taken && let Some(knows) = self.knowledge_of(node) {
            knows.presence.raise(actor, version);
        }
        !is_taken
    }

    fn knowledge_of(&mut self, node: u64) -> Option<&mut Knowledge> {
        self.links.get_mut(&node)?.knows.as_mut()
    }

    /// Counts what became of a delta. Returns false if something before it is missing.
    fn note(&mut self, merged: Merged) -> bool {
        self.stats.heard += 1;
        match merged {
            Merged::Hole { .. } | Merged::PieceMissing { .. } => return false,
            Merged::OwnAhead { .. } => self.is_second_life = true,
            Merged::NoRoom => self.stats.left_out += 1,
            Merged::Applied { .. } | Merged::Known | Merged::Staged { .. } | Merged::Superseded => {
            }
        }
        true
    }

    /// What another node is to be told next, now that it can take something. To be called between rounds.
    pub fn next(&mut self, node: u64, now_ms: u64) -> Option<Message> {
        self.now_ms = self.now_ms.max(now_ms);
        let own = self.own();
        let asks = self.asks_for_lives().then_some(self.round);
        let asks_ends = self.asks_for_ends();
        let owes_ends = self.links.get_mut(&node)?.owes_ends.take();
        let ends = owes_ends.map(|round| Message::Ends { round, digest: self.ends() });
        let link = self.links.get_mut(&node)?;
        if ends.is_some() {
            return ends;
        }
        if core::mem::take(&mut link.owes_known) {
            let (counters, presence) = (self.counters.known(), self.presence.known());
            return Some(Message::Known { actor: own, counters, presence });
        }
        if let Some(round) = link.owes_lives.take() {
            let lives = self.counters.lives(node);
            return Some(Message::Lives { round, lives });
        }
        if asks.is_some() && link.asked != asks {
            link.asked = asks;
            return asks.map(|round| Message::AskLives { round });
        }
        if let Some(round) = asks_ends.filter(|round| link.asked_ends != Some(*round)) {
            link.asked_ends = Some(round);
            return Some(Message::AskEnds { round });
        }
        self.tell_rest(node)
    }

    /// What another node lacks, or after a while that it lacks nothing.
    fn tell_rest(&mut self, node: u64) -> Option<Message> {
        self.begin_snapshots(node);
        let now_ms = self.now_ms;
        let link = self.links.get_mut(&node)?;
        let knows = link.knows.as_mut()?;
        let (mut counters, mut presence) = (Vec::new(), Vec::new());
        if link.pieces.is_empty() {
            counters = self.counters.changes_since(&knows.counters, TELL_BYTES).deltas;
            presence = self.presence.changes_since(&knows.presence, TELL_BYTES).deltas;
            for delta in &counters {
                knows.counters.raise(delta.actor, delta.content.leads_to());
            }
            for delta in &presence {
                knows.presence.raise(delta.actor, delta.content.leads_to());
            }
        } else {
            match link.pieces.pop_front()? {
                Piece::Counters(delta) => counters.push(delta),
                Piece::Presence(delta) => presence.push(delta),
            }
        }
        let is_due = link.told_ms.is_none_or(|told_ms| told_ms + HEARTBEAT_MS <= now_ms);
        if counters.is_empty() && presence.is_empty() && !is_due {
            return None;
        }
        link.told_ms = Some(now_ms);
        self.stats.told += (counters.len() + presence.len()) as u64;
        Some(Message::Tell { at_ms: now_ms, echo_ms: link.heard_ms, counters, presence })
    }

    /// Puts the pieces together of the next history that it lags too far behind in.
    fn begin_snapshots(&mut self, node: u64) {
        let Some(link) = self.links.get_mut(&node).filter(|link| link.pieces.is_empty()) else {
            return;
        };
        let Some(knows) = &mut link.knows else { return };
        let Owed { snapshots, .. } = self.counters.changes_since(&knows.counters, 0);
        for actor in snapshots {
            if let Some(pieces) = self.counters.snapshot(actor, TELL_BYTES) {
                let version = pieces.iter().map(|piece| piece.content.leads_to()).max();
                knows.counters.raise(actor, version.unwrap_or(0));
                return link.pieces.extend(pieces.into_iter().map(Piece::Counters));
            }
        }
        let Owed { snapshots, .. } = self.presence.changes_since(&knows.presence, 0);
        for actor in snapshots {
            if let Some(pieces) = self.presence.snapshot(actor, TELL_BYTES) {
                let version = pieces.iter().map(|piece| piece.content.leads_to()).max();
                knows.presence.raise(actor, version.unwrap_or(0));
                return link.pieces.extend(pieces.into_iter().map(Piece::Presence));
            }
        }
    }

    /// Everybody is told anew how much is known here, because some of it was forgotten.
    pub(super) fn say_known_anew(&mut self) {
        self.links.values_mut().for_each(|link| link.owes_known = true);
    }
}
