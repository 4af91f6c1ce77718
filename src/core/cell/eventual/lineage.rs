//! The ends of actors: last versions, new lives of a node, and what it inherits from its earlier ones.
//!
//! The rule. An actor's last version is **final** when nobody can have more of its history, or when
//! what anybody has beyond is given up:
//!
//! 1. Its node has kept everything that it ever told (its state was saved behind each round before the
//!    round was told). Then its own version is the last one.
//! 2. It has ended (its node lives under a later incarnation), and every member of the cluster has said
//!    how far it knows all of the node's lives ([`EventualCounters::lives`]), after its connections with the earlier ones
//!    and with removed nodes have ended there. Then the largest of these ([`last_versions`]) are the last
//!    ones, because members can hear more only from each other. Lives that another one contains are
//!    among them, or somebody who knows only the one that is contained might take it for all.
//! 3. Its node was removed for ever, and the cluster has decided so ([`EventualCounters::decide`]), because all members
//!    know the same of all its lives.
//!
//! A node counts under a new incarnation in each life, and **takes over** its earlier ones when they are
//! final and known here up to there, in one step: whoever gets its next snapshot replaces them by it
//! at once, so that no node ever adds both, or neither.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Contribution, EventualCounters};
use crate::cell::replicated::{Actor, DeltaLog, Replica};

/// Why an earlier incarnation cannot be taken over (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinal {
    /// The earlier incarnation.
    pub actor: Actor,
    /// The version that it is known up to here.
    pub has: u64,
    /// Its last version, if that was said.
    pub last: Option<u64>,
}

/// The last versions of a node's lives, given what each member knows of them.
#[must_use]
pub fn last_versions(members: impl IntoIterator<Item = Vec<(u64, u64)>>) -> Vec<(u64, u64)> {
    let mut last = BTreeMap::new();
    for (incarnation, version) in members.into_iter().flatten() {
        let largest: &mut u64 = last.entry(incarnation).or_default();
        *largest = version.max(*largest);
    }
    last.into_iter().collect()
}

impl EventualCounters {
    /// What is known here of a node's incarnations, each with its version, and with those that others of them
    /// contain. It is what a member says of them.
    #[must_use]
    pub fn lives(&self, node: u64) -> Vec<(u64, u64)> {
        let mut lives = BTreeMap::new();
        let (first, last) = (Actor { node, incarnation: 0 }, Actor { node, incarnation: u64::MAX });
        for (actor, replica) in self.replicas.range(first..=last) {
            lives.extend(&replica.state.inherited);
            lives.insert(actor.incarnation, replica.version());
        }
        lives.into_iter().filter(|(_, version)| *version > 0).collect()
    }

    /// A new life of the node: from now on it counts under this incarnation, and what it knows of its
    /// earlier ones is as if it had heard it from others. `None` if the incarnation is not later than
    /// all that are known, or the node was removed.
    #[must_use]
    pub fn begin(self, incarnation: u64) -> Option<Self> {
        let own = Actor { incarnation, ..self.own };
        let mut same_node = self.replicas.keys().filter(|actor| actor.node == own.node);
        if same_node.any(|actor| *actor >= own) || self.has_ended(own.node) {
            return None;
        }
        let Self {
            seed, own: _, limits, mut replicas, removed, seal, beyond, sums, changed, ..
        } = self;
        replicas.retain(|_, replica| replica.version() > 0);
        replicas.insert(own, Replica::new(seed));
        let new = Self::new(own, limits, seed);
        Some(Self { replicas, removed, seal, beyond, sums, changed, ..new })
    }

    /// Earlier incarnations of this node that are known and not taken over, and how far.
    pub fn earlier_lives(&self) -> impl Iterator<Item = (Actor, u64)> {
        let first = Actor { incarnation: 0, ..self.own };
        self.replicas.range(first..self.own).map(|(actor, replica)| (*actor, replica.version()))
    }

    /// Makes the earlier incarnations of this node a part of this one. `last` are their last versions, as
    /// the rule above has it. Others get this actor as a
    /// snapshot after the next [`Self::release`].
    ///
    /// # Errors
    /// When one of them is not known up to its last version. Nothing has changed then.
    pub fn take_over(&mut self, last: &[(u64, u64)], now_ms: u64) -> Result<(), NotFinal> {
        let own = self.own;
        let last_of = |actor: Actor| {
            let said = last.iter().find(|(incarnation, _)| *incarnation == actor.incarnation);
            said.map(|(_, version)| *version)
        };
        for (actor, has) in self.earlier_lives() {
            let last = last_of(actor);
            if last != Some(has) {
                return Err(NotFinal { actor, has, last });
            }
        }
        for (incarnation, version) in last {
            let actor = Actor { incarnation: *incarnation, ..own };
            let heir = self.heir(actor).map(|(_, heir)| &heir.state.inherited);
            let has = match (self.replicas.get(&actor), heir) {
                (Some(replica), _) => replica.version(),
                (None, Some(inherited)) => inherited.get(incarnation).copied().unwrap_or(*version),
                (None, None) => 0,
            };
            if actor < own && has != *version {
                return Err(NotFinal { actor, has, last: Some(*version) });
            }
        }
        let earlier: Vec<Actor> = self.earlier_lives().map(|(actor, _)| actor).collect();
        if earlier.is_empty() {
            return Ok(());
        }
        for actor in earlier {
            self.inherit(actor, now_ms);
        }
        // One version for the whole step, and nothing before it in the log: nobody can have half of it.
        if let Some(replica) = self.replicas.get_mut(&own) {
            replica.log = DeltaLog::new(replica.version() + 1);
        }
        self.open.clear();
        Ok(())
    }

    fn inherit(&mut self, actor: Actor, now_ms: u64) {
        let Some(earlier) = self.replicas.remove(&actor) else { return };
        let Some(replica) = self.replicas.get_mut(&self.own) else { return };
        let (version, sessions_max) = (earlier.version(), self.limits.sessions_max);
        let state: &mut Contribution = &mut replica.state;
        state.inherit(actor.incarnation, version, earlier.state, sessions_max);
        self.activity.keep(|session| state.sessions.window(session).is_some());
        for (session, _) in state.sessions.in_order() {
            if !self.activity.knows(session) {
                self.activity.set(session, now_ms);
            }
        }
    }
}
