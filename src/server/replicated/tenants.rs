//! What tenants have in a shard is counted where it is led.

use std::sync::Arc;

use tidewire_core::shard::Command;

use super::task::Task;
use crate::server::tenants::Names;

/// The counts of a shard in the term in which this node leads it.
pub(super) struct Counts {
    term: u64,
    names: Names,
}

impl Task {
    /// Begins to count when this node leads the shard, and ends when it does so no more.
    pub(super) fn look_at_tenants(&mut self, now_ms: u64) {
        let term = self.member.term();
        if self.tenants.as_ref().map(|counts| counts.term) == term {
            return;
        }
        if let Some(Counts { term, names }) = self.tenants.take() {
            names.end();
            self.shared.tenants.follow(self.number, term);
        }
        let Some(term) = term else { return };
        let tenants = &self.shared.tenants;
        let table = Arc::clone(&tenants.tables().borrow());
        // There may have been others when it began to hold its copy.
        if self.member.copy().is_some_and(|shard| *shard.tenants() != table) {
            self.member.handle(Command::Tenants(table), now_ms);
        }
        let Some(shard) = self.member.copy() else { return };
        let names = Names::begin(tenants, shard);
        tenants.lead(self.number, term, names.by_prefix());
        self.tenants = Some(Counts { term, names });
    }

    /// Tells the shard what it has to know of tenants before this command.
    pub(super) fn say_before(&mut self, command: &Command, now_ms: u64) {
        let (Some(counts), Some(shard)) = (&mut self.tenants, self.member.copy()) else { return };
        let before = counts.names.before(&self.shared.tenants, shard, command);
        before.into_iter().for_each(|before| self.member.handle(before, now_ms));
    }

    /// Counts what the shard has after a round.
    pub(super) fn settle_tenants(&mut self) {
        let is_same = self.tenants.as_ref().map(|counts| counts.term) == self.member.term();
        if let (Some(counts), Some(shard), true) = (&mut self.tenants, self.member.copy(), is_same)
        {
            let names = &mut counts.names;
            if names.settle(shard) {
                self.shared.tenants.lead(self.number, counts.term, names.by_prefix());
            }
        }
    }
}
