//! The newest changes of one history, so that who lags a little gets changes and not everything.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::state_hash::StateHasher;

/// How much a `DeltaLog` remembers. Who is further behind needs a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Changes of one actor.
    pub changes_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { changes_max: 16_384, bytes_max: 4 * 1024 * 1024 }
    }
}

impl LogLimits {
    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { changes_max, bytes_max } = self;
        hasher.size(*changes_max);
        hasher.size(*bytes_max);
    }
}

/// Changes with dense versions. The oldest are forgotten beyond the limits.
#[derive(Clone, Debug)]
pub(crate) struct DeltaLog<C> {
    /// Version that the first change follows.
    horizon: u64,
    bytes: usize,
    /// Each with its bytes.
    changes: VecDeque<(usize, C)>,
}

/// A saved `DeltaLog`: its horizon and its changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedDeltaLog<C>(u64, Vec<(usize, C)>);

impl<C: Clone> DeltaLog<C> {
    /// An empty log of a history that is at this version.
    pub(crate) fn new(version: u64) -> Self {
        Self { horizon: version, bytes: 0, changes: VecDeque::new() }
    }

    /// Version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.horizon + self.changes.len() as u64
    }

    pub(crate) fn push(&mut self, change: C, bytes: usize, limits: &LogLimits) {
        self.bytes += bytes;
        self.changes.push_back((bytes, change));
        while self.changes.len() > limits.changes_max || self.bytes > limits.bytes_max {
            let Some((bytes, _)) = self.changes.pop_front() else { return };
            self.bytes -= bytes;
            self.horizon += 1;
        }
    }

    /// The change with this version, if it is remembered.
    pub(crate) fn change_mut(&mut self, version: u64) -> Option<&mut C> {
        let index = version.checked_sub(self.horizon)?.checked_sub(1)?;
        let (_, change) = self.changes.get_mut(usize::try_from(index).ok()?)?;
        Some(change)
    }

    /// The changes behind `from` up to `to`, as many as fit into so many bytes but one at least;
    /// `None` if some of them are forgotten.
    pub(crate) fn since(&self, from: u64, to: u64, bytes_max: usize) -> Option<(usize, Vec<C>)> {
        let skipped = usize::try_from(from.checked_sub(self.horizon)?).ok()?;
        let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let (mut taken, mut changes) = (0, Vec::new());
        for (bytes, change) in self.changes.iter().skip(skipped).take(count) {
            if !changes.is_empty() && taken + bytes > bytes_max {
                break;
            }
            taken += bytes;
            changes.push(change.clone());
        }
        Some((taken, changes))
    }

    pub(crate) fn save(&self) -> SavedDeltaLog<C> {
        let Self { horizon, bytes: _, changes } = self;
        SavedDeltaLog(*horizon, changes.iter().cloned().collect())
    }

    pub(crate) fn restore(SavedDeltaLog(horizon, changes): SavedDeltaLog<C>) -> Self {
        let bytes = changes.iter().map(|(bytes, _)| bytes).sum();
        Self { horizon, bytes, changes: changes.into() }
    }

    pub(crate) fn hash_into(
        &self,
        hasher: &mut StateHasher,
        mut put: impl FnMut(&mut StateHasher, &C),
    ) {
        let Self { horizon, bytes, changes } = self;
        hasher.number(*horizon);
        hasher.size(*bytes);
        hasher.ordered(changes, |hasher, (bytes, change)| {
            hasher.size(*bytes);
            put(hasher, change);
        });
    }
}
