//! What nodes tell each other of who is there, and what goes with a node.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Attendance, Place, PresenceChange};
use crate::cell::replicated::{Actor, Delta, Merged, Owed, Replica, Versions, owed_by, pieces};

impl Attendance {
    /// How far each node is known here.
    #[must_use]
    pub fn known(&self) -> Versions {
        self.lives().map(|(actor, replica)| (actor, replica.version())).collect()
    }

    fn lives(&self) -> impl Iterator<Item = (Actor, &Replica<super::Present>)> {
        self.nodes.iter().map(|(node, (incarnation, replica))| {
            (Actor { node: *node, incarnation: *incarnation }, replica)
        })
    }

    /// What a node lacks that knows so much: about so many bytes of changes at most, and the nodes
    /// that it needs a snapshot of. What follows is there when it asks again.
    #[must_use]
    pub fn changes_since(&self, known: &Versions, bytes_max: usize) -> Owed<PresenceChange> {
        let told = self.lives().map(|(actor, replica)| (actor, replica, replica.version()));
        owed_by(told, known, bytes_max)
    }

    /// Everything of one node in pieces of about so many bytes; `None` if it is not known.
    #[must_use]
    pub fn snapshot(
        &self,
        actor: Actor,
        piece_bytes_max: usize,
    ) -> Option<Vec<Delta<PresenceChange>>> {
        let (incarnation, replica) = self.nodes.get(&actor.node)?;
        (*incarnation == actor.incarnation).then(|| pieces(actor, replica, piece_bytes_max))
    }

    /// Takes over what is new in a delta. What is heard of a later life of a node ends its earlier one.
    pub fn merge(&mut self, delta: Delta<PresenceChange>) -> Merged {
        let Delta { actor: Actor { node, incarnation }, content } = delta;
        if node == self.own.node {
            let version = content.leads_to();
            let own = self.replica().map_or(0, Replica::version);
            return match incarnation.cmp(&self.own.incarnation) {
                core::cmp::Ordering::Less => Merged::Superseded,
                core::cmp::Ordering::Equal if version <= own => Merged::Known,
                core::cmp::Ordering::Equal | core::cmp::Ordering::Greater => {
                    Merged::OwnAhead { version }
                }
            };
        }
        if self.down.get(&node).is_some_and(|down| incarnation <= *down) {
            return Merged::Superseded;
        }
        match self.nodes.get(&node).map(|(known, _)| *known) {
            Some(known) if known > incarnation => return Merged::Superseded,
            Some(known) if known < incarnation => self.forget(node),
            Some(_) => {}
            None if self.nodes.len() >= self.limits.nodes_max => return Merged::NoRoom,
            None => {}
        }
        let limits = self.limits.log;
        let mut touched = BTreeSet::new();
        let (_, replica) = self.nodes.entry(node).or_insert_with(|| (incarnation, Replica::new(0)));
        let merged = replica.merge(content, &limits, 0, |place| {
            touched.insert(place);
        });
        touched.iter().for_each(|place| self.show(place));
        merged
    }

    /// A node is down: whoever is there over it is gone, and what others still tell of this life of it, or of
    /// an earlier one, is left out. A later life is another matter.
    pub fn drop_node(&mut self, node: u64, incarnation: u64) {
        if node == self.own.node {
            return;
        }
        let down = self.down.entry(node).or_default();
        *down = incarnation.max(*down);
        if self.nodes.get(&node).is_some_and(|(known, _)| *known <= incarnation) {
            self.forget(node);
        }
    }

    /// A node was not down after all, or is back: what is told of this life of it is taken over again. It
    /// tells everything anew, because nothing is known of it any more. Returns whether it was down.
    pub fn node_is_back(&mut self, node: u64, incarnation: u64) -> bool {
        let is_back = self.down.get(&node).is_some_and(|down| *down <= incarnation);
        if is_back {
            self.down.remove(&node);
        }
        is_back
    }

    /// Forgets a node that was removed for ever: that it is down need not be remembered any more once
    /// nobody tells of it.
    pub fn forget_node(&mut self, node: u64) {
        if node != self.own.node {
            self.down.remove(&node);
            self.forget(node);
        }
    }

    fn forget(&mut self, node: u64) {
        let Some((_, gone)) = self.nodes.remove(&node) else { return };
        let places: Vec<Place> = gone.state.entries.into_keys().collect();
        places.iter().for_each(|place| self.show(place));
    }
}
