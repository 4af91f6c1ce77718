//! The end of nodes that were removed: all that is known of them becomes one **base**.
//!
//! A node that was removed counts nothing any more, and members hear of it from each other only. When all
//! of them know the same of all removed nodes, the cluster decides that it stays so ([`Seal`]). From then on
//! every member that knows it makes one history of it, the same on all of them, and who does not gets that
//! history from the others. So there is one, however many nodes were removed.
//!
//! The base is an actor with one version; its node is [`BASE_NODE`] and its incarnation the number of the
//! decision. It contains the bases before it, as a life of a node contains those that it has taken over.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Contribution, EventualCounters};
use crate::cell::replicated::{Actor, DeltaLog, Replica};
use crate::state_hash::StateHasher;

/// Whose lives the bases are. No node has this id.
pub(super) const BASE_NODE: u64 = 0;
/// Lives of a removed node whose last versions are remembered, the newest ones.
pub(super) const LIVES_MAX: usize = 16;

/// A decision of the cluster: what all its members have known alike of nodes that were removed is all there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Which decision of this kind it is, from 1 on.
    pub number: u64,
    /// All nodes that had been removed then.
    pub nodes: BTreeSet<u64>,
    /// Of what all members have known of them ([`EventualCounters::digest_of`]).
    pub digest: u64,
}

impl EventualCounters {
    /// These nodes do not belong to the cluster any more, and never will again.
    pub fn remove(&mut self, nodes: &BTreeSet<u64>) {
        self.removed.extend(nodes);
        if self.has_ended(self.own.node) {
            self.open.clear();
        }
    }

    /// Nodes that were removed.
    #[must_use]
    pub fn removed(&self) -> &BTreeSet<u64> {
        &self.removed
    }

    /// The last decision that was heard of.
    #[must_use]
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// Removed nodes of which something is still kept apart here.
    #[must_use]
    pub fn apart(&self) -> usize {
        let known = self.replicas.iter().filter(|(_, replica)| replica.version() > 0);
        let mut nodes: Vec<u64> = known.map(|(actor, _)| actor.node).collect();
        nodes.dedup();
        nodes.into_iter().filter(|node| self.removed.contains(node)).count()
    }

    /// Whether a node was removed.
    pub(crate) fn has_ended(&self, node: u64) -> bool {
        let is_contained = |(_, base): (_, &Replica<Contribution>)| {
            node != BASE_NODE && base.state.ended.contains_key(&node)
        };
        self.removed.contains(&node) || self.base().is_some_and(is_contained)
    }

    /// One number that tells apart what is known of these nodes; members that know the same have the same.
    /// To be said by a member when its connections with all of these nodes have ended.
    #[must_use]
    pub fn digest_of(&self, nodes: &BTreeSet<u64>) -> u64 {
        let mut bytes = Vec::new();
        let mut put = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        put(self.base().map_or(0, |(base, _)| base.incarnation));
        for node in nodes {
            let lives = self.lives(*node);
            put(*node);
            put(lives.len() as u64);
            for (incarnation, version) in lives {
                put(incarnation);
                put(version);
            }
        }
        tidewire_protocol::stable_hash(&bytes)
    }

    /// The cluster has decided this. An older decision than one that is known is passed over.
    pub fn decide(&mut self, seal: Seal) {
        if self.seal.as_ref().is_none_or(|known| known.number < seal.number) {
            self.remove(&seal.nodes);
            self.seal = Some(seal);
            self.fold();
        }
    }

    /// Makes a base of what the decision is about, if exactly that is known here; otherwise it comes from
    /// those who know it.
    pub(super) fn fold(&mut self) {
        let Some(Seal { number, nodes, digest }) = self.seal.clone() else { return };
        let base = self.base().map(|(base, _)| base);
        let is_done = base.is_some_and(|base| base.incarnation >= number);
        let is_own = nodes.contains(&self.own.node) || self.own.node == BASE_NODE;
        if is_done || is_own || self.digest_of(&nodes) != digest {
            return;
        }
        let (seed, sessions_max) = (self.seed, self.limits.sessions_max);
        let before = base.and_then(|base| self.replicas.remove(&base));
        let mut replica = before.unwrap_or_else(|| Replica::new(seed));
        for node in nodes {
            let lives = self.lives(node);
            let newest = lives.get(lives.len().saturating_sub(LIVES_MAX)..).unwrap_or_default();
            replica.state.ended.entry(node).or_insert_with(|| newest.to_vec());
            for actor in self.lives_apart(node) {
                if let Some(life) = self.replicas.remove(&actor) {
                    replica.state.absorb(life.state, sessions_max);
                }
            }
        }
        let earlier = number.checked_sub(1).filter(|earlier| *earlier > 0);
        replica.state.inherited = earlier.map(|earlier| (earlier, 1)).into_iter().collect();
        replica.log = DeltaLog::new(1);
        self.replicas.insert(Actor { node: BASE_NODE, incarnation: number }, replica);
    }

    fn lives_apart(&self, node: u64) -> Vec<Actor> {
        let (first, last) = (Actor { node, incarnation: 0 }, Actor { node, incarnation: u64::MAX });
        self.replicas.range(first..=last).map(|(actor, _)| *actor).collect()
    }

    /// The newest base.
    pub(super) fn base(&self) -> Option<(Actor, &Replica<Contribution>)> {
        let first = Actor { node: BASE_NODE, incarnation: 0 };
        let last = Actor { node: BASE_NODE, incarnation: u64::MAX };
        let newest = self.replicas.range(first..=last).next_back();
        newest.filter(|(base, _)| **base != self.own).map(|(base, replica)| (*base, replica))
    }
}

impl Seal {
    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { number, nodes, digest } = self;
        hasher.number(*number);
        hasher.ordered(nodes, |hasher, node| hasher.number(*node));
        hasher.number(*digest);
    }
}

impl Contribution {
    /// The last version of an actor that is contained, as far as it is remembered.
    pub(super) fn last_of(&self, actor: Actor) -> Option<u64> {
        let Actor { node, incarnation } = actor;
        match self.ended.get(&node) {
            Some(lives) => {
                lives.iter().find(|(life, _)| *life == incarnation).map(|(_, last)| *last)
            }
            None => self.inherited.get(&incarnation).copied(),
        }
    }
}
