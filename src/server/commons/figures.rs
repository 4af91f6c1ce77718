//! What the commons' task has counted, for metrics.

use std::sync::{Mutex, PoisonError};

use tidewire_core::commons::CommonsStats;

/// The newest figures.
#[derive(Debug, Default)]
pub(crate) struct CommonsFigures(Mutex<CommonsStats>);

impl CommonsFigures {
    pub(super) fn set(&self, stats: CommonsStats) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    pub(crate) fn get(&self) -> CommonsStats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
