//! What nodes tell each other.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Change, EventualCounters};
use crate::cell::replicated::{Actor, Delta, Merged, Owed, Replica, Versions, owed_by, pieces};

impl EventualCounters {
    /// How far each actor is known here.
    #[must_use]
    pub fn known(&self) -> Versions {
        self.replicas.iter().map(|(actor, replica)| (*actor, replica.version())).collect()
    }

    /// What a node lacks that knows so much: about so many bytes of changes at most, and the actors
    /// that it needs a snapshot of. What follows is there when it asks again.
    #[must_use]
    pub fn changes_since(&self, known: &Versions, bytes_max: usize) -> Owed<Change> {
        let told = self
            .replicas
            .iter()
            .map(|(actor, replica)| (*actor, replica, self.told(*actor, replica)));
        owed_by(told, known, bytes_max)
    }

    /// Everything of one actor in pieces of about so many bytes; `None` if it is not known, or is
    /// this one in the middle of a round. This one's are to be sent when their version was released.
    #[must_use]
    pub fn snapshot(&self, actor: Actor, piece_bytes_max: usize) -> Option<Vec<Delta<Change>>> {
        let replica = self.replicas.get(&actor)?;
        let is_whole = actor != self.own || self.open.is_empty() && self.ended == replica.version();
        is_whole.then(|| pieces(actor, replica, piece_bytes_max))
    }

    fn told(&self, actor: Actor, replica: &Replica<super::Contribution>) -> u64 {
        if actor == self.own { self.released.min(replica.version()) } else { replica.version() }
    }

    /// Takes over what is new in a delta. In whatever order deltas come and however often, the
    /// outcome is the same when all have been taken over.
    pub fn merge(&mut self, delta: Delta<Change>) -> Merged {
        let Delta { actor, content } = delta;
        if let Some((_, heir)) = self.heir(actor) {
            let last = heir.state.last_of(actor);
            self.note_beyond(actor, last, content.leads_to());
            return Merged::Superseded;
        }
        if actor == self.own {
            let version = content.leads_to();
            return if version > self.own_version() {
                Merged::OwnAhead { version }
            } else {
                Merged::Known
            };
        }
        if !self.replicas.contains_key(&actor) && self.replicas.len() >= self.limits.actors_max {
            return Merged::NoRoom;
        }
        let (limits, seed) = (self.limits.log, self.seed);
        let mut touched = BTreeSet::new();
        let replica = self.replicas.entry(actor).or_insert_with(|| Replica::new(seed));
        let merged = replica.merge(content, &limits, seed, |counter| {
            touched.insert(counter);
        });
        if let Merged::Applied { .. } = merged {
            self.leave_to_heir(actor, &mut touched);
        }
        self.sum_up(touched);
        if self.removed.contains(&actor.node) {
            self.fold();
        }
        merged
    }

    /// Drops the actors that this one contains now.
    fn leave_to_heir(&mut self, heir: Actor, touched: &mut BTreeSet<tidewire_protocol::Name>) {
        let Some(replica) = self.replicas.get(&heir) else { return };
        let through = replica.state.inherits_through();
        if through.is_none() && replica.state.ended.is_empty() {
            return;
        }
        let is_contained = |actor: &Actor| match replica.state.ended.contains_key(&actor.node) {
            true => true,
            false => actor.node == heir.node && *actor < heir && Some(actor.incarnation) <= through,
        };
        let contained = self.replicas.keys().filter(|actor| is_contained(actor));
        let contained: Vec<(Actor, Option<u64>)> =
            contained.map(|actor| (*actor, replica.state.last_of(*actor))).collect();
        for (actor, last) in contained {
            let Some(gone) = self.replicas.remove(&actor) else { continue };
            self.note_beyond(actor, Some(last.unwrap_or(0)), gone.version());
            touched.extend(gone.state.totals.into_keys());
        }
    }

    /// Remembers that others have told of changes that are lost, for [`Self::beyond`].
    pub(super) fn note_beyond(&mut self, actor: Actor, last: Option<u64>, version: u64) {
        let is_beyond = last.is_some_and(|last| version > last);
        let has_room = self.beyond.len() < self.limits.actors_max;
        if is_beyond && (has_room || self.beyond.contains_key(&actor)) {
            let largest = self.beyond.entry(actor).or_default();
            *largest = version.max(*largest);
        }
    }

    /// Takes the actors of whom some node had changes beyond their last version, which are lost, and
    /// the largest such version of each. To be told to the operator.
    pub fn take_beyond(&mut self) -> Versions {
        core::mem::take(&mut self.beyond).into_iter().collect()
    }
}
