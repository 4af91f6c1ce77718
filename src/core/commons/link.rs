//! What is said between two nodes, and what one knows of the other.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::cell::attendance::PresenceChange;
use crate::cell::eventual::Change;
use crate::cell::replicated::{Actor, Delta, Versions};

/// What a node says to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// How much it knows; and that anything else is to be told it.
    Known {
        /// The node, in this life.
        actor: Actor,
        /// Of each actor's counts.
        counters: Versions,
        /// Of each node's connections.
        presence: Versions,
    },
    /// It asks what is known of its earlier lives. `round`: which time it asks.
    AskLives {
        /// To be repeated in the answer.
        round: u64,
    },
    /// The answer.
    Lives {
        /// As it was asked.
        round: u64,
        /// Incarnations, and the version that each is known up to.
        lives: Vec<(u64, u64)>,
    },
    /// It asks what is known of nodes that were removed. `round`: which time it asks.
    AskEnds {
        /// To be repeated in the answer.
        round: u64,
    },
    /// The answer.
    Ends {
        /// As it was asked.
        round: u64,
        /// Who says the same knows of the same removals, and the same of those nodes.
        digest: u64,
    },
    /// What has changed; or nothing, when nothing has.
    Tell {
        /// When it is said, by the clock of who says it.
        at_ms: u64,
        /// The newest time that it has heard from the other one, by that one's clock: so that one knows
        /// that this was said after that.
        echo_ms: u64,
        /// Changes of counters.
        counters: Vec<Delta<Change>>,
        /// Changes of presence.
        presence: Vec<Delta<PresenceChange>>,
    },
}

/// A piece of a snapshot that waits to be told.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Counters(Delta<Change>),
    Presence(Delta<PresenceChange>),
}

/// How much a node knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    pub(super) counters: Versions,
    pub(super) presence: Versions,
}

/// Another node that is reached.
#[derive(Debug)]
pub(super) struct Link {
    /// The other node's life, once it has said so.
    pub(super) actor: Option<Actor>,
    /// What it knows, or will when it has heard all that it was told.
    pub(super) knows: Option<Knowledge>,
    /// It is to be told how much is known here.
    pub(super) owes_known: bool,
    /// It has asked for what is known of its earlier lives.
    pub(super) owes_lives: Option<u64>,
    /// The round in which it was asked about those of this node.
    pub(super) asked: Option<u64>,
    /// Its answer to that, and to which round.
    pub(super) lives: Option<(u64, Vec<(u64, u64)>)>,
    /// It has asked what is known of nodes that were removed.
    pub(super) owes_ends: Option<u64>,
    /// The round in which it was asked that.
    pub(super) asked_ends: Option<u64>,
    /// Its answer, and to which round.
    pub(super) ends: Option<(u64, u64)>,
    /// Of snapshots that it needs.
    pub(super) pieces: VecDeque<Piece>,
    /// When it has said something last, by its own clock.
    pub(super) heard_ms: u64,
    /// The newest time of this node that it has heard of, so what it says is said after that.
    pub(super) echoed_ms: u64,
    /// When it was told something last.
    pub(super) told_ms: Option<u64>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            actor: None,
            knows: None,
            owes_known: true,
            owes_lives: None,
            asked: None,
            lives: None,
            owes_ends: None,
            asked_ends: None,
            ends: None,
            pieces: VecDeque::new(),
            heard_ms: 0,
            echoed_ms: 0,
            told_ms: None,
        }
    }

    /// What it says of this node's earlier lives, if it was asked in this round.
    pub(super) fn lives_in(&self, round: u64) -> Option<&Vec<(u64, u64)>> {
        self.lives.as_ref().filter(|(asked, _)| *asked == round).map(|(_, lives)| lives)
    }
}
