//! The bounds that can be configured.

use serde::Deserialize;
use tidewire_core::SHARDS_MAX;
use tidewire_core::shard::ShardLimits;
use tidewire_core::topic::ProducerLimits;

use super::{ConfigError, check};

/// Less than a server takes when nobody uses it.
const MEMORY_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// The bounds of a server.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections in all.
    pub connections_max: usize,
    /// Subscriptions and watches of one connection.
    pub subscriptions_max: usize,
    /// Unanswered requests of one connection.
    pub in_flight_max: usize,
    /// Largest frame.
    pub max_frame_bytes: usize,
    /// Topics and cells in all.
    pub names_max: usize,
    /// Memory of the process, beyond which nothing more is taken on; 0: four fifths of what the machine,
    /// or its control group, has.
    pub memory_max_bytes: u64,
    /// Bytes of records in memory, of all topics together, spread evenly over the shards; of a shard
    /// that is full the oldest leave first. What is on disk can be read from there.
    pub topic_bytes_max: u64,
    /// Batches kept in all topics together, in memory or on disk, spread evenly over the shards; of a
    /// shard that has more the oldest go.
    pub topic_batches_max: usize,
    /// Voters of one tally.
    pub voters_max: usize,
    /// Members of one presence set.
    pub members_max: usize,
    /// Publishes that are remembered of one producer in one topic, so that they are repeated safely.
    pub producer_window: u64,
    /// Publishes that are remembered in all, where those in a row count once.
    pub producer_entries_max: usize,
    /// A producer that has published nothing for so long is forgotten.
    pub producer_idle_ms: u64,
    /// Connections of one address (of IPv6: of one /64); 0: no limit of its own.
    pub address_connections_max: usize,
    /// Requests of one connection, of one subject and of one address in a second; 0: no limit.
    pub connection_requests_per_s: u32,
    /// See above.
    pub subject_requests_per_s: u32,
    /// See above.
    pub address_requests_per_s: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 15_000,
            subscriptions_max: 4_096,
            in_flight_max: 1_024,
            max_frame_bytes: tidewire_protocol::FRAME_BYTES_MAX,
            names_max: 2_097_152,
            memory_max_bytes: 0,
            topic_bytes_max: 2_147_483_648,
            topic_batches_max: 8_388_608,
            voters_max: 20_000_000,
            members_max: 10_000,
            producer_window: 1_024,
            producer_entries_max: 16_777_216,
            producer_idle_ms: 3_600_000,
            address_connections_max: 0,
            connection_requests_per_s: 0,
            subject_requests_per_s: 0,
            address_requests_per_s: 0,
        }
    }
}

impl LimitsConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("connections_max", self.connections_max as u64, 1, 10_000_000),
            ("subscriptions_max", self.subscriptions_max as u64, 1, 1_000_000),
            ("in_flight_max", self.in_flight_max as u64, 1, 65_536),
            ("max_frame_bytes", self.max_frame_bytes as u64, 4_096, 16_777_216),
            ("names_max", self.names_max as u64, u64::from(SHARDS_MAX), 100_000_000),
            ("topic_bytes_max", self.topic_bytes_max, 1_048_576, u64::MAX),
            ("topic_batches_max", self.topic_batches_max as u64, 1_024, 1 << 40),
            ("voters_max", self.voters_max as u64, 1, u64::from(u32::MAX)),
            ("members_max", self.members_max as u64, 1, 1_000_000),
            ("producer_window", self.producer_window, 1, 1_000_000),
            ("producer_entries_max", self.producer_entries_max as u64, 1_024, 1_000_000_000),
            ("producer_idle_ms", self.producer_idle_ms, 1_000, 31_536_000_000),
        ];
        bounds.into_iter().try_for_each(|(key, value, min, max)| {
            check(&format!("limits.{key}"), value, min, max)
        })?;
        if self.memory_max_bytes > 0 {
            check("limits.memory_max_bytes", self.memory_max_bytes, MEMORY_BYTES_MIN, u64::MAX)?;
        }
        if self.producer_window < self.in_flight_max as u64 {
            let rule = format!(
                "at least in_flight_max, {}: a client repeats so many after its connection was cut",
                self.in_flight_max
            );
            return Err(ConfigError::Value { key: "limits.producer_window".to_owned(), rule });
        }
        Ok(())
    }

    /// What one shard of so many remembers of producers.
    #[must_use]
    pub fn producers(&self, shards: u16) -> ProducerLimits {
        ProducerLimits {
            window: self.producer_window,
            entries_max: self.producer_entries_max / usize::from(shards.max(1)),
            idle_ms: self.producer_idle_ms,
        }
    }

    /// One shard's share of the bounds, of so many.
    #[must_use]
    pub fn shard(&self, shards: u16) -> ShardLimits {
        ShardLimits {
            names_max: self.names_max / usize::from(shards.max(1)),
            bytes_max: self.topic_bytes_max / u64::from(shards.max(1)),
            batches_max: self.topic_batches_max / usize::from(shards.max(1)),
            voters_max: self.voters_max,
            members_max: self.members_max,
            producers: self.producers(shards),
            ..ShardLimits::default()
        }
    }
}
