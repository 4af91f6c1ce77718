//! What a read may say: how much is known here, and as of when.

use alloc::collections::BTreeMap;

use tidewire_protocol::Name;

use super::sealing::BASE_NODE;
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

    /// All counters that exist, in no order, with the sums of all actors' totals.
    pub fn all(&self) -> impl Iterator<Item = (&Name, i64)> {
        self.sums.iter().map(|(name, sum)| (name, clamped(*sum)))
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
        let last = self.heir(actor).map(|(_, heir)| heir.state.last_of(actor).unwrap_or(0));
        match last {
            _ if has >= version => Seen::Yes,
            Some(last) if version > last => Seen::Never { actor, last },
            Some(_) => Seen::Yes,
            None => Seen::NotYet { actor, has },
        }
    }

    /// As of when the values here are complete, given when each actor was last heard to have nothing
    /// new. Who was never heard counts as heard at 0. This node hears itself now. An
    /// earlier life of a node that was not taken over is among those that may say more. Of a node that was
    /// removed there is what the others know of it, so they only have to be heard.
    #[must_use]
    pub fn freshness(
        &self,
        now_ms: u64,
        heard_ms: &BTreeMap<Actor, u64>,
        stale_after_ms: u64,
    ) -> Freshness {
        let may_have_more = self.replicas.keys().chain(heard_ms.keys()).filter(|actor| {
            let is_base = actor.node == BASE_NODE;
            let has_ended = is_base || self.has_ended(actor.node) || self.heir(**actor).is_some();
            **actor != self.own && !has_ended
        });
        let at = may_have_more
            .map(|actor| (heard_ms.get(actor).copied().unwrap_or(0).min(now_ms), *actor));
        let Some((as_of_ms, actor)) = at.min() else {
            return Freshness { as_of_ms: now_ms, stale: None };
        };
        let is_stale = now_ms - as_of_ms > stale_after_ms;
        Freshness { as_of_ms, stale: is_stale.then_some(actor) }
    }
}
