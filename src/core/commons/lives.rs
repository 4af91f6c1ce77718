//! Which nodes there are, which are down, when each was heard, and this node's own earlier lives.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Commons, STALE_AFTER_MS};
use crate::cell::eventual::last_versions;
use crate::cell::replicated::Actor;

impl Commons {
    /// The other nodes that belong to the cluster.
    #[must_use]
    pub fn members(&self) -> &BTreeSet<u64> {
        &self.members
    }

    /// Gossip says that a life of a node is over: whoever is there over it is gone.
    pub fn node_is_down(&mut self, node: u64, incarnation: u64) {
        self.presence.drop_node(node, incarnation);
    }

    /// Gossip says that a node is there, in this life. If it was down before, what it tells is heard anew.
    pub fn node_is_there(&mut self, node: u64, incarnation: u64) {
        if self.presence.node_is_back(node, incarnation) {
            self.say_known_anew();
        }
    }

    /// Lives of nodes whose counts are kept apart.
    #[must_use]
    pub fn lives(&self) -> usize {
        self.counters.known().iter().count()
    }

    /// As of when the values here are complete, and whether that is too long ago.
    pub(super) fn freshness(&self) -> (u64, bool) {
        let mut heard_ms: BTreeMap<Actor, u64> = BTreeMap::new();
        for node in &self.members {
            let link = self.links.get(node);
            let said = link.and_then(|link| link.actor.map(|actor| (actor, link.echoed_ms)));
            let (actor, at_ms) = said.unwrap_or((Actor { node: *node, incarnation: 0 }, 0));
            heard_ms.insert(actor, at_ms);
        }
        let freshness = self.counters.freshness(self.now_ms, &heard_ms, STALE_AFTER_MS);
        (freshness.as_of_ms, freshness.stale.is_some())
    }

    /// Whether others are to say what they know of earlier lives of this node.
    pub(super) fn asks_for_lives(&self) -> bool {
        !self.members.is_empty() && self.counters.earlier_lives().next().is_some()
    }

    /// Makes the node's earlier lives a part of this one, when every member has said how far it knows them
    /// since the last one of them was reached, and all of that is here.
    pub(super) fn take_over(&mut self) {
        if !self.asks_for_lives() {
            return;
        }
        let mut said: Vec<Vec<(u64, u64)>> = Vec::new();
        for node in &self.members {
            let link = self.links.get(node);
            let Some(lives) = link.and_then(|link| link.lives_in(self.round)) else { return };
            said.push(lives.clone());
        }
        let own = self.own();
        said.push(self.counters.lives(own.node));
        let mut last = last_versions(said);
        last.retain(|(incarnation, _)| *incarnation < own.incarnation);
        // What is not here yet comes: it is tried again then.
        if self.counters.take_over(&last, self.now_ms).is_ok() {
            self.stats.taken_over += 1;
        }
    }
}
