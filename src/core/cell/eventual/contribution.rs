//! What one actor has counted: its history.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::sessions::{Answer, Sessions, Window};
use crate::cell::replicated::History;
use crate::state_hash::StateHasher;
use crate::{HashMap, hash_map};

/// One change of what an actor has counted. Totals stand in it as they are after it, and with an
/// increment its answer, so that neither is ever known without the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants' comments say what their fields are")]
pub enum Change {
    /// Increments that nobody may repeat.
    Total { counter: Name, total: i128 },
    /// An increment of a session.
    Answered { counter: Name, total: i128, session: u64, answer: Answer },
    /// The actor takes nothing from the session any more.
    Closed { session: u64 },
    /// The actor does not remember the session any more.
    Forgotten { session: u64 },
    /// In a snapshot: all that is remembered of a session.
    Session { session: u64, window: Window },
    /// In a snapshot: everything of an earlier incarnation up to this version is contained.
    Inherited { incarnation: u64, version: u64 },
    /// In a snapshot: everything of a removed node is contained, its incarnations up to these versions.
    Ended { node: u64, lives: Vec<(u64, u64)> },
}

/// What the changes of one actor make up.
#[derive(Clone, Debug)]
pub(super) struct Contribution {
    pub(super) totals: HashMap<Name, i128>,
    pub(super) sessions: Sessions,
    /// Earlier incarnations whose totals are contained, and the last version of each.
    pub(super) inherited: BTreeMap<u64, u64>,
    /// Nodes that were removed and are contained, and the last versions of their newest incarnations.
    pub(super) ended: BTreeMap<u64, Vec<(u64, u64)>>,
}

/// What a change takes beside names and windows, generously.
const CHANGE_BYTES: usize = 64;
/// What an answer takes.
const ANSWER_BYTES: usize = 56;
/// What the last version of an incarnation takes.
const LIFE_BYTES: usize = 18;

impl History for Contribution {
    type Change = Change;
    type Key = Name;

    fn empty(seed: u64) -> Self {
        Self {
            totals: hash_map(seed),
            sessions: Sessions::new(seed),
            inherited: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    fn apply(&mut self, change: Change) -> Option<Name> {
        match change {
            Change::Total { counter, total } => {
                self.totals.insert(counter.clone(), total);
                return Some(counter);
            }
            Change::Answered { counter, total, session, answer } => {
                self.totals.insert(counter.clone(), total);
                self.sessions.record(session, answer);
                return Some(counter);
            }
            Change::Closed { session } => self.sessions.close(session),
            Change::Forgotten { session } => self.sessions.forget(session),
            Change::Session { session, window } => self.sessions.put(session, window),
            Change::Inherited { incarnation, version } => {
                self.inherited.insert(incarnation, version);
            }
            Change::Ended { node, lives } => {
                self.ended.insert(node, lives);
            }
        }
        None
    }

    fn keys(&self) -> impl Iterator<Item = Name> {
        self.totals.keys().cloned()
    }

    fn changes(&self) -> Vec<Change> {
        let Self { totals, sessions, inherited, ended } = self;
        let ended =
            ended.iter().map(|(node, lives)| Change::Ended { node: *node, lives: lives.clone() });
        let inherited = inherited.iter().map(|(incarnation, version)| Change::Inherited {
            incarnation: *incarnation,
            version: *version,
        });
        // Who was forgotten last is enough: the largest of them is all that is kept of them.
        let forgotten =
            (sessions.forgotten > 0).then_some(Change::Forgotten { session: sessions.forgotten });
        let mut by_name: Vec<_> = totals.iter().collect();
        by_name.sort_unstable();
        let totals = by_name
            .into_iter()
            .map(|(counter, total)| Change::Total { counter: counter.clone(), total: *total });
        let sessions = sessions
            .in_order()
            .into_iter()
            .map(|(session, window)| Change::Session { session, window: window.clone() });
        ended.chain(inherited).chain(forgotten).chain(totals).chain(sessions).collect()
    }

    fn bytes(change: &Change) -> usize {
        CHANGE_BYTES
            + match change {
                Change::Total { counter, .. } => counter.as_str().len(),
                Change::Answered { counter, .. } => counter.as_str().len() + ANSWER_BYTES,
                Change::Session { window, .. } => window.len() * ANSWER_BYTES,
                Change::Ended { lives, .. } => lives.len() * LIFE_BYTES,
                Change::Closed { .. } | Change::Forgotten { .. } | Change::Inherited { .. } => 0,
            }
    }

    fn hash_change(hasher: &mut StateHasher, change: &Change) {
        match change {
            Change::Total { counter, total } => {
                hasher.number(0_u8);
                hasher.text(counter.as_str());
                hasher.number(*total);
            }
            Change::Answered { counter, total, session, answer } => {
                hasher.number(1_u8);
                hasher.text(counter.as_str());
                hasher.number(*total);
                hasher.number(*session);
                answer.hash_into(hasher);
            }
            Change::Closed { session } => {
                hasher.number(2_u8);
                hasher.number(*session);
            }
            Change::Forgotten { session } => {
                hasher.number(3_u8);
                hasher.number(*session);
            }
            Change::Session { session, window } => {
                hasher.number(4_u8);
                hasher.number(*session);
                window.hash_into(hasher);
            }
            Change::Inherited { incarnation, version } => {
                hasher.number(5_u8);
                hasher.number(*incarnation);
                hasher.number(*version);
            }
            Change::Ended { node, lives } => {
                hasher.number(6_u8);
                hash_ended(hasher, (node, lives));
            }
        }
    }

    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { totals, sessions, inherited, ended } = self;
        hasher.unordered(totals, |hasher, (counter, total)| {
            hasher.text(counter.as_str());
            hasher.number(*total);
        });
        sessions.hash_into(hasher);
        hasher.ordered(inherited, |hasher, (incarnation, version)| {
            hasher.number(*incarnation);
            hasher.number(*version);
        });
        hasher.ordered(ended, hash_ended);
    }
}

impl Contribution {
    /// Adds an earlier incarnation of the same node that is known up to its last version.
    pub(super) fn inherit(
        &mut self,
        incarnation: u64,
        version: u64,
        earlier: Self,
        sessions_max: usize,
    ) {
        let inherited = earlier.inherited.clone();
        self.absorb(earlier, sessions_max);
        self.inherited.extend(inherited);
        self.inherited.insert(incarnation, version);
        while self.inherited.len() > INHERITED_MAX {
            self.inherited.pop_first();
        }
    }

    /// Adds what another actor has counted.
    pub(super) fn absorb(&mut self, other: Self, sessions_max: usize) {
        let Self { totals, sessions, inherited: _, ended: _ } = other;
        for (counter, total) in totals {
            let own = self.totals.entry(counter).or_default();
            *own = own.saturating_add(total);
        }
        self.sessions.inherit(sessions, sessions_max);
    }

    /// The newest of the incarnations that are contained.
    pub(super) fn inherits_through(&self) -> Option<u64> {
        self.inherited.last_key_value().map(|(incarnation, _)| *incarnation)
    }
}

fn hash_ended(hasher: &mut StateHasher, (node, lives): (&u64, &Vec<(u64, u64)>)) {
    hasher.number(*node);
    hasher.ordered(lives, |hasher, (incarnation, version)| {
        hasher.number(*incarnation);
        hasher.number(*version);
    });
}

/// Earlier incarnations whose last versions are remembered. Who asks for one before them is told
/// that it cannot be said.
const INHERITED_MAX: usize = 64;
