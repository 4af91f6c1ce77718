//! The bounds that can be configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::SHARDS_MAX;
use tidewire_core::cell::attendance::AttendanceLimits;
use tidewire_core::cell::eventual::EventualLimits;
use tidewire_core::shard::ShardLimits;
use tidewire_core::topic::ProducerLimits;

use super::bounds::check;
use super::{ConfigError, INTEGER_MAX};

/// Connections that may be allowed.
const CONNECTIONS_MAX: u64 = 10_000_000;

/// Less than a server takes when nobody uses it.
const MEMORY_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// The bounds of a server.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections in all.
    #[schemars(range(min = 1, max = CONNECTIONS_MAX))]
    pub connections_max: usize,
    /// Subscriptions and watches of one connection.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub subscriptions_max: usize,
    /// Unanswered requests of one connection.
    #[schemars(range(min = 1, max = 65_536))]
    pub in_flight_max: usize,
    /// Largest frame.
    #[schemars(range(min = 4_096, max = 16_777_216))]
    pub max_frame_bytes: usize,
    /// Topics and cells in all.
    #[schemars(range(min = SHARDS_MAX, max = 100_000_000))]
    pub names_max: usize,
    /// Memory of the process, beyond which nothing more is taken on; 0: four fifths of what the machine,
    /// or its control group, has.
    #[schemars(range(min = 0, max = INTEGER_MAX))]
    pub memory_max_bytes: u64,
    /// Bytes of records in memory, of all topics together, spread evenly over the shards; of a shard
    /// that is full the oldest leave first. What is on disk can be read from there.
    #[schemars(range(min = 1_048_576, max = INTEGER_MAX))]
    pub topic_bytes_max: u64,
    /// Batches kept in all topics together, in memory or on disk, spread evenly over the shards; of a
    /// shard that has more the oldest go.
    #[schemars(range(min = 1_024, max = 1_u64 << 40))]
    pub topic_batches_max: usize,
    /// Voters of one tally.
    #[schemars(range(min = 1, max = u32::MAX))]
    pub voters_max: usize,
    /// Members of one presence set.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub members_max: usize,
    /// Publishes that are remembered of one producer in one topic, so that they are repeated safely.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub producer_window: u64,
    /// Publishes that are remembered in all, where those in a row count once.
    #[schemars(range(min = 1_024, max = 1_000_000_000))]
    pub producer_entries_max: usize,
    /// A producer that has published nothing for so long is forgotten.
    #[schemars(range(min = 1_000, max = 31_536_000_000_u64))]
    pub producer_idle_ms: u64,
    /// Connections of one address (of IPv6: of one /64); 0: no limit of its own.
    #[schemars(range(min = 0, max = CONNECTIONS_MAX))]
    pub address_connections_max: usize,
    /// Requests of one connection in a second; 0: no limit.
    #[schemars(range(min = 0, max = u32::MAX))]
    pub connection_requests_per_s: u32,
    /// Requests of one subject, on all its connections, in a second; 0: no limit.
    #[schemars(range(min = 0, max = u32::MAX))]
    pub subject_requests_per_s: u32,
    /// Requests of all connections of one address in a second; 0: no limit.
    #[schemars(range(min = 0, max = u32::MAX))]
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
        if self.memory_max_bytes > 0 {
            check("limits.memory_max_bytes", self.memory_max_bytes, MEMORY_BYTES_MIN, INTEGER_MAX)?;
        }
        if self.producer_window < self.in_flight_max as u64 {
            let rule = format!(
                "at least in_flight_max, {}: a client repeats so many after its connection was cut",
                self.in_flight_max
            );
            let (key, other) = ("limits.producer_window".to_owned(), "limits.in_flight_max");
            return Err(ConfigError::Together { key, other: other.to_owned(), rule });
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

    /// Bounds of the cells that each node changes by itself.
    #[must_use]
    pub fn commons(&self) -> (EventualLimits, AttendanceLimits) {
        let counters = EventualLimits { counters_max: self.names_max, ..EventualLimits::default() };
        let (sets_max, members_max) = (self.names_max, self.members_max);
        (counters, AttendanceLimits { sets_max, members_max, ..AttendanceLimits::default() })
    }
}
