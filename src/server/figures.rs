//! Figures of the running server, written by its cores and read by the admin listener.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidewire_core::fanout::Dispatcher;
use tidewire_core::member::Waiting;
use tidewire_core::shard::ShardStats;

/// Figures of all cores and shards.
#[derive(Debug)]
pub struct Figures {
    cores: Vec<CoreFigures>,
    shards: Vec<ShardFigures>,
}

/// Figures of one core.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the fields are the metrics of the same names")]
pub struct CoreFigures {
    pub connections: AtomicU64,
    pub subscriptions: AtomicU64,
    pub deliveries: AtomicU64,
    pub records: AtomicU64,
    pub body_bytes: AtomicU64,
    pub updates: AtomicU64,
    pub updates_restarted: AtomicU64,
    pub gaps: AtomicU64,
    pub refusals: AtomicU64,
    pub recalls: AtomicU64,
    pub writes: AtomicU64,
    pub written_bytes: AtomicU64,
    pub requests: AtomicU64,
    pub rate_limited: AtomicU64,
    pub audit_dropped: AtomicU64,
    pub fanout_lag_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct ShardFigures {
    topics: AtomicU64,
    topic_bytes: AtomicU64,
    warm_bytes: AtomicU64,
    extents: AtomicU64,
    batches: AtomicU64,
    cells: AtomicU64,
    topics_expired: AtomicU64,
    producers: AtomicU64,
    held: AtomicU64,
    pending: AtomicU64,
    followed: AtomicU64,
}

impl Figures {
    pub(super) fn new(cores: usize, shards: u16) -> Self {
        Self {
            cores: (0..cores).map(|_| CoreFigures::default()).collect(),
            shards: (0..shards).map(|_| ShardFigures::default()).collect(),
        }
    }

    pub(super) fn core(&self, core: u8) -> Option<&CoreFigures> {
        self.cores.get(usize::from(core))
    }

    pub(super) fn set_core(&self, core: u8, dispatcher: &Dispatcher) {
        let Some(core) = self.core(core) else { return };
        let stats = dispatcher.stats();
        core.connections.store(dispatcher.sessions() as u64, Relaxed);
        core.deliveries.store(stats.deliveries, Relaxed);
        core.records.store(stats.records, Relaxed);
        core.body_bytes.store(stats.body_bytes, Relaxed);
        core.updates.store(stats.updates, Relaxed);
        core.updates_restarted.store(stats.updates_restarted, Relaxed);
        core.gaps.store(stats.gaps, Relaxed);
        core.audit_dropped.store(dispatcher.audit_dropped(), Relaxed);
        core.fanout_lag_ms.fetch_max(dispatcher.fanout_lag_ms(), Relaxed);
        core.refusals.store(stats.refusals, Relaxed);
        core.recalls.store(stats.recalls, Relaxed);
        core.subscriptions.store(dispatcher.subscriptions() as u64, Relaxed);
    }

    pub(super) fn set_shard(&self, shard: u16, stats: ShardStats) {
        let Some(shard) = self.shards.get(usize::from(shard)) else { return };
        shard.topics.store(stats.topics, Relaxed);
        shard.topic_bytes.store(stats.topic_bytes, Relaxed);
        shard.warm_bytes.store(stats.warm_bytes, Relaxed);
        shard.extents.store(stats.extents, Relaxed);
        shard.batches.store(stats.batches, Relaxed);
        shard.cells.store(stats.cells, Relaxed);
        shard.topics_expired.store(stats.topics_expired, Relaxed);
        shard.producers.store(stats.producers, Relaxed);
    }

    /// Whether a shard that is led here holds nothing.
    pub(crate) fn is_empty(&self, shard: u16) -> bool {
        let shard = self.shards.get(usize::from(shard));
        shard.is_some_and(|shard| (shard.topics.load(Relaxed), shard.cells.load(Relaxed)) == (0, 0))
    }

    /// What waits on this node for the leader of a shard.
    pub(super) fn set_waiting(&self, shard: u16, waiting: Waiting) {
        let Some(shard) = self.shards.get(usize::from(shard)) else { return };
        let Waiting { held, pending, followed } = waiting;
        shard.held.store(held as u64, Relaxed);
        shard.pending.store(pending as u64, Relaxed);
        shard.followed.store(followed as u64, Relaxed);
    }

    /// What waits on this node for leaders of shards.
    pub(crate) fn waiting(&self) -> Waiting {
        let sum = |of: fn(&ShardFigures) -> &AtomicU64| {
            let sum: u64 = self.shards.iter().map(|shard| of(shard).load(Relaxed)).sum();
            usize::try_from(sum).unwrap_or(usize::MAX)
        };
        Waiting {
            held: sum(|shard| &shard.held),
            pending: sum(|shard| &shard.pending),
            followed: sum(|shard| &shard.followed),
        }
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.sum(|core| &core.connections)
    }

    /// How long followers have waited for their turn since this was asked last, at most.
    pub(crate) fn take_fanout_lag_ms(&self) -> u64 {
        self.cores.iter().map(|core| core.fanout_lag_ms.swap(0, Relaxed)).max().unwrap_or(0)
    }

    /// The sum of one figure over the cores.
    pub fn sum(&self, figure: impl Fn(&CoreFigures) -> &AtomicU64) -> u64 {
        self.cores.iter().map(|core| figure(core).load(Relaxed)).sum()
    }

    /// The sums over the shards.
    #[must_use]
    pub fn shards(&self) -> ShardStats {
        let mut sum = ShardStats::default();
        for shard in &self.shards {
            sum.topics += shard.topics.load(Relaxed);
            sum.topic_bytes += shard.topic_bytes.load(Relaxed);
            sum.warm_bytes += shard.warm_bytes.load(Relaxed);
            sum.extents += shard.extents.load(Relaxed);
            sum.batches += shard.batches.load(Relaxed);
            sum.cells += shard.cells.load(Relaxed);
            sum.topics_expired += shard.topics_expired.load(Relaxed);
            sum.producers += shard.producers.load(Relaxed);
        }
        sum
    }
}
