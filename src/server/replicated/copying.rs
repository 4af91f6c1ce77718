//! Copies of a shard's state that are given away as they are between two rounds: for backups and audits.

use super::behind::Behind;
use super::task::Task;

/// Copies that wait until they can be given; more wait in their queue.
pub(super) const COPIES_MAX: usize = 4;

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
        self.copies.iter().any(|wanted| wanted.entries <= entries)
    }

    /// Gives the copies for which all is there that has to be in them.
    pub(super) fn give_copies(&mut self) {
        self.copies.retain(|wanted| !wanted.to.is_closed());
        // A copy that is replaced has its records where the next one does not look for them.
        if self.copies.is_empty() || self.replacing.is_some() {
            return;
        }
        if self.member.copy().is_none() {
            return self.copies.clear();
        }
        let entries = self.entries();
        while let Some(at) = self.copies.iter().position(|wanted| wanted.entries <= entries) {
            let Some(state) = self.member.checkpoint() else { return };
            // Who does not wait any more has no use for it.
            drop(self.copies.swap_remove(at).to.send(state));
        }
    }
}
