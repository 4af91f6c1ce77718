//! What travels between nodes, and what becomes of it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Actor;

/// Something of one actor's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta<C> {
    /// Whose history it is.
    pub actor: Actor,
    /// What is told of it.
    pub content: Content<C>,
}

/// What a [`Delta`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content<C> {
    /// The changes that follow a version, one version each.
    Changes {
        /// Version that the first of them follows.
        from: u64,
        /// The changes.
        changes: Vec<C>,
    },
    /// A piece of the list of changes that leads from nothing to a version. The list depends on
    /// the history only, so pieces of several senders and of any size go together.
    Snapshot {
        /// Version that all pieces together lead to.
        version: u64,
        /// Changes of the list in the pieces before this one.
        offset: u64,
        /// Whether the list ends with this piece.
        is_last: bool,
        /// The changes.
        changes: Vec<C>,
    },
}

impl<C> Content<C> {
    /// The version that it leads to.
    #[must_use]
    pub fn leads_to(&self) -> u64 {
        match self {
            Self::Changes { from, changes } => from.saturating_add(changes.len() as u64),
            Self::Snapshot { version, .. } => *version,
        }
    }
}

/// What a node lacks that knows what it has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed<C> {
    /// Changes that it can take over as they are.
    pub deltas: Vec<Delta<C>>,
    /// Actors whose changes are not in the log from there on any more: ask for a snapshot of each.
    pub snapshots: Vec<Actor>,
}

/// What became of a [`Delta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// There was something new in it. The actor is known up to this version now.
    Applied {
        /// The version.
        version: u64,
    },
    /// Nothing in it was new.
    Known,
    /// The piece is kept until all pieces are there.
    Staged {
        /// Changes of the list that are there, which is where the next piece is to begin.
        offset: u64,
    },
    /// Something before it is missing, so nothing was taken over. Ask for what follows `has`.
    Hole {
        /// Version up to which the actor is known here.
        has: u64,
    },
    /// A piece before it is missing, so it was not kept. Ask for the snapshot again.
    PieceMissing {
        /// Where the piece would have to begin.
        offset: u64,
    },
    /// Of an actor that another one has taken the place of, or whose node is down. Left out.
    Superseded,
    /// It tells this node changes of its own that it has not made: it has lost its memory and goes
    /// on under the same incarnation. It has to stop, and to begin another one.
    OwnAhead {
        /// The version that others have heard of.
        version: u64,
    },
    /// Of an actor that is not known, when as many as allowed are. Left out.
    NoRoom,
}
