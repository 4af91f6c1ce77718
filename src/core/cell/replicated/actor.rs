//! Who changes something, and how far each is known.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::state_hash::StateHasher;

/// A node in one of its lives. A node that comes back without knowing all that it has told is
/// another actor, so that no version is ever used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Actor {
    /// The node's id.
    pub node: u64,
    /// Which of its lives; they grow.
    pub incarnation: u64,
}

impl From<(u64, u64)> for Actor {
    fn from((node, incarnation): (u64, u64)) -> Self {
        Self { node, incarnation }
    }
}

impl From<Actor> for (u64, u64) {
    fn from(Actor { node, incarnation }: Actor) -> Self {
        (node, incarnation)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation)
    }
}

impl Actor {
    pub(crate) fn hash_into(self, hasher: &mut StateHasher) {
        let Self { node, incarnation } = self;
        hasher.number(node);
        hasher.number(incarnation);
    }
}

/// How far each actor's history is known: its version vector. Who is not in it is known up to 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions(BTreeMap<Actor, u64>);

impl Versions {
    /// How far this actor is known.
    #[must_use]
    pub fn of(&self, actor: Actor) -> u64 {
        self.0.get(&actor).copied().unwrap_or(0)
    }

    /// The actor is known at least up to this version.
    pub(crate) fn raise(&mut self, actor: Actor, version: u64) {
        if version > self.of(actor) {
            self.0.insert(actor, version);
        }
    }

    /// Whether everything in the other one is known here as well.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(actor, version)| self.of(actor) >= version)
    }

    /// The actors and how far each is known, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Actor, u64)> {
        self.0.iter().map(|(actor, version)| (*actor, *version))
    }

    /// One number that is the same on nodes that know the same, so that two of them see at a
    /// glance that they have nothing to tell each other.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::with_capacity(24 * self.0.len());
        for (Actor { node, incarnation }, version) in self.iter() {
            for number in [node, incarnation, version] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        tidewire_protocol::stable_hash(&bytes)
    }
}

impl FromIterator<(Actor, u64)> for Versions {
    fn from_iter<I: IntoIterator<Item = (Actor, u64)>>(versions: I) -> Self {
        Self(versions.into_iter().filter(|(_, version)| *version > 0).collect())
    }
}
