//! Who is there over one node: its history.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::Place;
use crate::cell::replicated::History;
use crate::state_hash::StateHasher;

/// One change of who is there over a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants' comments say what their fields are")]
pub enum PresenceChange {
    /// The member has joined, or has other data now.
    Entered { set: Name, member: Arc<str>, data: Bytes, joined_ms: u64 },
    /// All of the node's connections that held the member have left.
    Left { set: Name, member: Arc<str> },
}

/// What the changes of one node make up.
#[derive(Clone, Debug, Default)]
pub(super) struct Present {
    pub(super) entries: BTreeMap<Place, Entry>,
}

/// A member as one node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) data: Bytes,
    /// When it joined with this data, by its node's clock.
    pub(super) joined_ms: u64,
}

/// What a change takes beside names and data, generously.
const CHANGE_BYTES: usize = 48;

impl History for Present {
    type Change = PresenceChange;
    type Key = Place;

    fn empty(_seed: u64) -> Self {
        Self::default()
    }

    fn apply(&mut self, change: PresenceChange) -> Option<Place> {
        let place = match change {
            PresenceChange::Entered { set, member, data, joined_ms } => {
                let place = (set, member);
                self.entries.insert(place.clone(), Entry { data, joined_ms });
                place
            }
            PresenceChange::Left { set, member } => {
                let place = (set, member);
                self.entries.remove(&place);
                place
            }
        };
        Some(place)
    }

    fn keys(&self) -> impl Iterator<Item = Place> {
        self.entries.keys().cloned()
    }

    fn changes(&self) -> Vec<PresenceChange> {
        let entries = self.entries.iter().map(|((set, member), Entry { data, joined_ms })| {
            PresenceChange::Entered {
                set: set.clone(),
                member: Arc::clone(member),
                data: data.clone(),
                joined_ms: *joined_ms,
            }
        });
        entries.collect()
    }

    fn bytes(change: &PresenceChange) -> usize {
        CHANGE_BYTES
            + match change {
                PresenceChange::Entered { set, member, data, joined_ms: _ } => {
                    set.as_str().len() + member.len() + data.len()
                }
                PresenceChange::Left { set, member } => set.as_str().len() + member.len(),
            }
    }

    fn hash_change(hasher: &mut StateHasher, change: &PresenceChange) {
        match change {
            PresenceChange::Entered { set, member, data, joined_ms } => {
                hasher.number(0_u8);
                hasher.text(set.as_str());
                hasher.text(member);
                hasher.bytes(data);
                hasher.number(*joined_ms);
            }
            PresenceChange::Left { set, member } => {
                hasher.number(1_u8);
                hasher.text(set.as_str());
                hasher.text(member);
            }
        }
    }

    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { entries } = self;
        hasher.ordered(entries, |hasher, ((set, member), Entry { data, joined_ms })| {
            hasher.text(set.as_str());
            hasher.text(member);
            hasher.bytes(data);
            hasher.number(*joined_ms);
        });
    }
}
