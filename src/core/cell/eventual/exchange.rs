//! What nodes tell each other.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Change, EventualCounters};
use crate::cell::replicated::{
    Actor, Content, Delta, Merged, Owed, Replica, Versions, owed_by, pieces,
};

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
        let final_version = self.final_version(actor);
        if let Some((_, heir)) = self.heir(actor) {
            let last = heir.state.inherited.get(&actor.incarnation).copied();
            self.note_beyond(actor, last, content.leads_to());
            return Merged::Superseded;
        }
        if actor == self.own && final_version.is_none() {
            let version = content.leads_to();
            return if version > self.own_version() {
                Merged::OwnAhead { version }
            } else {
                Merged::Known
            };
        }
        if self.contradicts(actor, &content) {
            return Merged::Contradiction;
        }
        if !self.replicas.contains_key(&actor) && self.replicas.len() >= self.limits.actors_max {
            return Merged::NoRoom;
        }
        let (limits, seed) = (self.limits.log, self.seed);
        let (mut touched, told) = (BTreeSet::new(), content.leads_to());
        let last = final_version.unwrap_or(u64::MAX);
        let replica = self.replicas.entry(actor).or_insert_with(|| Replica::new(seed));
        let merged = replica.merge(content, last, &limits, seed, |counter| {
            touched.insert(counter);
        });
        if let Merged::BeyondFinal { .. } = merged {
            self.note_beyond(actor, final_version, told);
        }
        if let Merged::Applied { .. } = merged {
            self.leave_to_heir(actor, &mut touched);
        }
        self.sum_up(touched);
        merged
    }

    /// Whether a snapshot inherits from an actor at another version than its last one.
    fn contradicts(&self, actor: Actor, content: &Content<Change>) -> bool {
        let Content::Snapshot { version: to, changes, .. } = content else { return false };
        let is_beyond = self.final_version(actor).is_some_and(|last| *to > last);
        !is_beyond
            && changes.iter().any(|change| {
                let Change::Inherited { incarnation, version } = change else { return false };
                let earlier = Actor { incarnation: *incarnation, ..actor };
                self.final_version(earlier).is_some_and(|last| last != *version)
            })
    }

    /// Drops the earlier incarnations of an actor that it contains now.
    fn leave_to_heir(&mut self, heir: Actor, touched: &mut BTreeSet<tidewire_protocol::Name>) {
        let Some(replica) = self.replicas.get(&heir) else { return };
        let Some(through) = replica.state.inherits_through() else { return };
        let first = Actor { incarnation: 0, ..heir };
        let last = Actor { incarnation: through.min(heir.incarnation.saturating_sub(1)), ..heir };
        let earlier: Vec<Actor> =
            self.replicas.range(first..=last).map(|(actor, _)| *actor).collect();
        for actor in earlier {
            let Some(gone) = self.replicas.remove(&actor) else { continue };
            let heir = self.replicas.get(&heir);
            let last = heir.and_then(|heir| heir.state.inherited.get(&actor.incarnation)).copied();
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
