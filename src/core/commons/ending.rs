//! Nodes that were removed: they end at once, and what there is of them is decided when all members know the same.
//!
//! One member collects what all of them know, as [`Decided::collects`] says. A member answers when it has
//! heard of the same removals, so that its connections with those nodes have ended; from then on members hear of them
//! from each other only. Whenever a member is reached anew, all are asked again: so nobody has told
//! something in the meantime that another one does not know any more.

use alloc::collections::BTreeSet;

use super::Commons;
use crate::cell::eventual::Seal;

/// What the cluster has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The other nodes that belong to the cluster.
    pub members: BTreeSet<u64>,
    /// Nodes that were removed.
    pub removed: BTreeSet<u64>,
    /// What was decided last of those that had been removed by then.
    pub seal: Option<Seal>,
    /// Whether this node finds out when that can be decided.
    pub collects: bool,
}

impl Commons {
    /// The cluster has decided something else.
    pub fn set_decided(&mut self, decided: Decided) {
        let Decided { members, removed, seal, collects } = decided;
        let is_news = self.members != members || *self.counters.removed() != removed;
        if is_news || self.collects != collects {
            self.collects = collects;
            self.collecting += 1;
        }
        if self.members != members {
            self.members = members;
            self.round += 1;
        }
        for node in removed.difference(&self.counters.removed().clone()) {
            self.presence.drop_node(*node, u64::MAX);
            self.close(*node);
        }
        if removed.contains(&self.own().node) && !self.counters.has_ended(self.own().node) {
            self.ended_ms = self.now_ms;
        }
        self.counters.remove(&removed);
        if let Some(seal) = seal {
            self.counters.decide(seal);
        }
    }

    /// Whether this node was removed from its cluster.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.counters.has_ended(self.own().node)
    }

    /// What can be decided now: all members know the same of all that were removed. Nothing if that is decided.
    #[must_use]
    pub fn agreed(&self) -> Option<Seal> {
        let collecting = self.asks_for_ends()?;
        let nodes = self.counters.removed().clone();
        let digest = self.counters.digest_of(&nodes);
        let agrees = |node| {
            let link = self.links.get(node);
            link.is_some_and(|link| link.ends == Some((collecting, digest)))
        };
        let number = self.counters.seal().map_or(0, |seal| seal.number) + 1;
        self.members.iter().all(agrees).then_some(Seal { number, nodes, digest })
    }

    /// What this node says when it is asked.
    pub(super) fn ends(&self) -> u64 {
        self.counters.digest_of(self.counters.removed())
    }

    /// In which round others are to say what they know of nodes that were removed.
    pub(super) fn asks_for_ends(&self) -> Option<u64> {
        if !self.collects {
            return None;
        }
        let removed = self.counters.removed();
        let decided = self.counters.seal().map(|seal| &seal.nodes);
        let is_due = !removed.is_empty() && decided != Some(removed) && !self.has_ended();
        is_due.then_some(self.collecting)
    }

    /// All are asked anew when all have answered and do not know the same yet.
    pub(super) fn collect(&mut self) {
        let Some(collecting) = self.asks_for_ends() else { return };
        let has_answered = |node| {
            let link = self.links.get(node);
            link.is_some_and(|link| link.ends.is_some_and(|(round, _)| round == collecting))
        };
        if self.members.iter().all(has_answered) && self.agreed().is_none() {
            self.collecting += 1;
        }
    }
}
