//! Looks at a shard as it is between two rounds: copies of its state for backups and audits, names for operators.

use super::behind::Behind;
use super::task::Task;
use crate::server::{At, Look};

/// Looks that wait until they can be had; more wait in their queue.
pub(super) const LOOKS_MAX: usize = 4;

impl Task {
    /// Entries of the group that the copy holds.
    fn entries(&self) -> u64 {
        match &self.behind {
            Behind::Durable(durable) => durable.applied(),
            Behind::Memory => 0,
        }
    }

    /// Whether a copy could be given but for what is under way: whoever leads takes no commands until nothing is, for
    /// what is not committed may not be in it.
    pub(super) fn is_to_be_copied(&self) -> bool {
        let entries = self.entries();
        self.looks.iter().any(|look| look.entries <= entries)
    }

    /// Shows names at once, whatever is under way, so that nobody who looks on keeps the shard waiting. Who wants the state
    /// waits.
    pub(super) fn take_look(&mut self, look: Look) {
        match look.at {
            At::State(_) => self.looks.push(look),
            At::Names(..) => {
                if let Some(shard) = self.member.copy() {
                    look.at.show(shard);
                }
            }
        }
    }

    /// Gives the copies for which all is there that has to be in them.
    pub(super) fn show(&mut self) {
        self.looks.retain(|look| !look.at.is_over());
        // A copy that is replaced has its records where the next one does not look for them.
        if self.looks.is_empty() || self.replacing.is_some() {
            return;
        }
        if self.member.copy().is_none() {
            return self.looks.clear();
        }
        let entries = self.entries();
        while let Some(at) = self.looks.iter().position(|look| look.entries <= entries) {
            let Some(state) = self.member.checkpoint() else { return };
            self.looks.swap_remove(at).at.give(state);
        }
    }
}
