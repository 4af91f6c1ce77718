//! What a read may say: how much is known here, and as of when.

use alloc::collections::BTreeMap;

use tidewire_protocol::Name;

use super::{EventualCounters, clamped};
use crate::cell::replicated::{Actor, Replica};

/// Whether a node has seen what a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    Yes,
    /// Not what this actor has counted up to there. It comes.
    NotYet {
        /// The actor.
        actor: Actor,
        /// How far it is known here.
        has: u64,
    },
    /// And it never will: the actor has ended before, and what was counted behind its end is lost.
    Never {
        /// The actor.
        actor: Actor,
        /// Its last version; 0 if it is not known (any more).
        last: u64,
    },
}

/// As of when what is known here is what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Every actor was heard at this time or later.
    pub as_of_ms: u64,
    /// The actor that was heard longest ago, if that is longer ago than allowed.
    pub stale: Option<Actor>,
}

impl EventualCounters {
    /// The value of a counter as far as it is known here, clamped to 64 bits; `None` if it does not exist.
    #[must_use]
    pub fn value(&self, counter: &Name) -> Option<i64> {
        self.exact(counter).map(clamped)
    }

    /// The sum of all actors' totals.
    #[must_use]
    pub fn exact(&self, counter: &Name) -> Option<i128> {
        self.sums.get(counter).copied()
    }

    /// What each actor has added.
    pub fn totals(&self, counter: &Name) -> impl Iterator<Item = (Actor, i128)> {
        self.replicas.iter().filter_map(|(actor, replica)| {
            replica.state.totals.get(counter).map(|total| (*actor, *total))
        })
    }

    /// Takes the counters whose value has changed since the last call, in the order of their names.
    pub fn take_changed(&mut self) -> impl Iterator<Item = Name> {
        core::mem::take(&mut self.changed).into_iter()
    }

    /// Whether everything is known here that these actors had counted at these versions.
    #[must_use]
    pub fn seen(&self, at_least: &[(Actor, u64)]) -> Seen {
        let answers = at_least.iter().map(|(actor, version)| self.seen_of(*actor, *version));
        answers.fold(Seen::Yes, |worst, seen| match (worst, seen) {
            (Seen::Never { .. }, _) | (_, Seen::Yes) => worst,
            (Seen::Yes, _) | (Seen::NotYet { .. }, Seen::Never { .. }) => seen,
            (Seen::NotYet { .. }, Seen::NotYet { .. }) => worst,
        })
    }

    fn seen_of(&self, actor: Actor, version: u64) -> Seen {
        let has = self.replicas.get(&actor).map_or(0, Replica::version);
        let last = match self.heir(actor) {
            Some((_, heir)) => {
                Some(heir.state.inherited.get(&actor.incarnation).copied().unwrap_or(0))
            }
            None => self.final_version(actor),
        };
        match last {
            _ if has >= version => Seen::Yes,
            Some(last) if version > last => Seen::Never { actor, last },
            Some(_) if self.heir(actor).is_some() => Seen::Yes,
            Some(_) | None => Seen::NotYet { actor, has },
        }
    }

    /// As of when the values here are complete, given when each actor was last heard to have nothing
    /// new. Who was never heard counts as heard at 0. This node hears itself now, and who is known up to the
    /// last version has nothing more to say. An earlier life of a node that was not taken over is
    /// among those that may.
    #[must_use]
    pub fn freshness(
        &self,
        now_ms: u64,
        heard_ms: &BTreeMap<Actor, u64>,
        stale_after_ms: u64,
    ) -> Freshness {
        let known = self.replicas.iter().map(|(actor, replica)| (*actor, replica.version()));
        let sealed = self.removed.iter().flat_map(|(node, lives)| {
            lives.keys().map(|incarnation| Actor { node: *node, incarnation: *incarnation })
        });
        let others = sealed.chain(heard_ms.keys().copied());
        let others = others.filter(|actor| !self.replicas.contains_key(actor));
        let may_have_more = known.chain(others.map(|actor| (actor, 0)));
        let may_have_more = may_have_more.filter(|(actor, version)| {
            let is_complete = self.final_version(*actor) == Some(*version);
            *actor != self.own && !is_complete && self.heir(*actor).is_none()
        });
        let at = may_have_more
            .map(|(actor, _)| (heard_ms.get(&actor).copied().unwrap_or(0).min(now_ms), actor));
        let Some((as_of_ms, actor)) = at.min() else {
            return Freshness { as_of_ms: now_ms, stale: None };
        };
        let is_stale = now_ms - as_of_ms > stale_after_ms;
        Freshness { as_of_ms, stale: is_stale.then_some(actor) }
    }
}
