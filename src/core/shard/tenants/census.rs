//! What each tenant has in a shard. It follows from the rest of the state: it is counted along, and
//! counted anew where that is not known, so it is neither saved nor hashed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{TenantPlace, TenantTable};
use crate::topic::{CommitLog, Slot, TopicId};

/// What a tenant has in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantUse {
    /// Topics and cells. A topic that is spread over partitions is one in each shard that has some of
    /// it; of a tally the first partition counts.
    pub names: u64,
    /// Bytes of records kept in memory and on disk.
    pub bytes: u64,
    /// Bytes that have left, since the tenants were last changed, because the tenant had too many.
    pub evicted_bytes: u64,
}

/// What all tenants have.
#[derive(Debug, Default)]
pub(in crate::shard) struct Census {
    holdings: Vec<Holding>,
    /// Tenants that may have more bytes than they may.
    over: Vec<TenantPlace>,
}

#[derive(Debug, Default)]
struct Holding {
    bytes_max: u64,
    used: TenantUse,
    /// Sequences of its batches, in order, if its bytes are limited; some may have left.
    batches: VecDeque<u64>,
}

impl Census {
    /// Of these tenants, who have nothing yet.
    pub(in crate::shard) fn of(table: &TenantTable) -> Self {
        let holdings = table
            .iter()
            .map(|share| Holding { bytes_max: share.bytes_max, ..Holding::default() })
            .collect();
        Self { holdings, over: Vec::new() }
    }

    pub(in crate::shard) fn iter(&self) -> impl Iterator<Item = TenantUse> {
        self.holdings.iter().map(|holding| holding.used)
    }

    pub(in crate::shard) fn name_made(&mut self, tenant: Option<TenantPlace>) {
        if let Some(holding) = self.holding(tenant) {
            holding.used.names += 1;
        }
    }

    pub(in crate::shard) fn name_gone(&mut self, tenant: Option<TenantPlace>) {
        if let Some(holding) = self.holding(tenant) {
            holding.used.names = holding.used.names.saturating_sub(1);
        }
    }

    /// A batch of the tenant stands in the log.
    pub(in crate::shard) fn appended(
        &mut self,
        tenant: Option<TenantPlace>,
        (sequence, bytes): (u64, u64),
        log: &CommitLog,
    ) {
        let Some(holding) = self.holding(tenant) else { return };
        holding.used.bytes += bytes;
        if holding.bytes_max == 0 {
            return;
        }
        // So there are no more of them than the log has places.
        holding.forget_gone(log);
        holding.batches.push_back(sequence);
        if holding.used.bytes > holding.bytes_max
            && let Some(tenant) = tenant
            && !self.over.contains(&tenant)
        {
            self.over.push(tenant);
        }
    }

    /// A batch of the tenant has left.
    pub(in crate::shard) fn released(&mut self, tenant: Option<TenantPlace>, bytes: u64) {
        if let Some(holding) = self.holding(tenant) {
            holding.used.bytes = holding.used.bytes.saturating_sub(bytes);
        }
    }

    /// A tenant that may have more bytes than it may.
    pub(in crate::shard) fn next_over(&mut self) -> Option<TenantPlace> {
        self.over.pop()
    }

    /// The topic of its oldest batch, if the tenant has too many bytes. The newest batch stays.
    pub(in crate::shard) fn oldest_beyond(
        &mut self,
        tenant: TenantPlace,
        log: &CommitLog,
    ) -> Option<TopicId> {
        let holding = self.holding(Some(tenant))?;
        if holding.bytes_max == 0 || holding.used.bytes <= holding.bytes_max {
            return None;
        }
        holding.forget_gone(log);
        while holding.batches.back().is_some_and(|sequence| !is_kept(log, *sequence)) {
            holding.batches.pop_back();
        }
        let oldest = *holding.batches.front().filter(|_| holding.batches.len() > 1)?;
        match log.slot(oldest) {
            Some(Slot::Live(batch)) => {
                holding.used.evicted_bytes += batch.body.len() as u64;
                Some(batch.topic_id)
            }
            Some(Slot::Gone(_)) | None => None,
        }
    }

    fn holding(&mut self, tenant: Option<TenantPlace>) -> Option<&mut Holding> {
        self.holdings.get_mut(tenant? as usize)
    }
}

impl Holding {
    /// Batches at the front that have left are not remembered.
    fn forget_gone(&mut self, log: &CommitLog) {
        while self.batches.front().is_some_and(|sequence| !is_kept(log, *sequence)) {
            self.batches.pop_front();
        }
    }
}

fn is_kept(log: &CommitLog, sequence: u64) -> bool {
    matches!(log.slot(sequence), Some(Slot::Live(_)))
}
