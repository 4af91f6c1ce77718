//! The state of what is cold, its saved form and its hash.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use crate::state_hash::StateHasher;
use crate::topic::TopicId;

/// A group that has come to a cold batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) topic: TopicId,
    pub(super) group: Name,
    /// The batch.
    pub(super) sequence: u64,
}

/// The state of what is cold.
#[derive(Clone, Debug, Default)]
pub(in crate::shard) struct Cold {
    /// Batches before this sequence are cold, but for those that were warmed.
    pub(in crate::shard) before: u64,
    /// What was warmed for groups, oldest recall first: sequences, bytes.
    pub(super) warmed: VecDeque<(Range<u64>, u64)>,
    /// Groups that wait for a recall, in the order in which they came.
    pub(super) waiting: Vec<Waiting>,
    /// Whether a recall is under way.
    pub(super) is_recalling: bool,
}

/// Saved [`Cold`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::shard) struct SavedCold {
    before: u64,
    warmed: Vec<(Range<u64>, u64)>,
    waiting: Vec<Waiting>,
    is_recalling: bool,
}

impl Cold {
    pub(in crate::shard) fn save(&self) -> SavedCold {
        let Self { before, warmed, waiting, is_recalling } = self;
        SavedCold {
            before: *before,
            warmed: warmed.iter().cloned().collect(),
            waiting: waiting.clone(),
            is_recalling: *is_recalling,
        }
    }

    /// With everything before a sequence cold, and nobody waiting.
    pub(in crate::shard) fn saved_before(before: u64) -> SavedCold {
        SavedCold { before, warmed: Vec::new(), waiting: Vec::new(), is_recalling: false }
    }

    pub(in crate::shard) fn restore(saved: SavedCold) -> Self {
        let SavedCold { before, warmed, waiting, is_recalling } = saved;
        Self { before, warmed: warmed.into(), waiting, is_recalling }
    }

    pub(in crate::shard) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { before, warmed, waiting, is_recalling } = self;
        hasher.number(*before);
        hasher.ordered(warmed, |hasher, (sequences, bytes)| {
            for number in [sequences.start, sequences.end, *bytes] {
                hasher.number(number);
            }
        });
        hasher.ordered(waiting, |hasher, Waiting { topic, group, sequence }| {
            hasher.number(*topic);
            hasher.text(group.as_str());
            hasher.number(*sequence);
        });
        hasher.flag(*is_recalling);
    }
}
