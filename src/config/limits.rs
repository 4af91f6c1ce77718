//! The bounds that can be configured.

use serde::Deserialize;
use tidewire_core::SHARDS_MAX;
use tidewire_core::shard::ShardLimits;

use super::{ConfigError, check};

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
    /// Bytes of records kept in all topics together; the oldest leave first.
    pub topic_bytes_max: u64,
    /// Voters of one tally.
    pub voters_max: usize,
    /// Members of one presence set.
    pub members_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 15_000,
            subscriptions_max: 4_096,
            in_flight_max: 1_024,
            max_frame_bytes: tidewire_protocol::FRAME_BYTES_MAX,
            names_max: 2_097_152,
            topic_bytes_max: 2_147_483_648,
            voters_max: 20_000_000,
            members_max: 10_000,
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
            ("voters_max", self.voters_max as u64, 1, u64::from(u32::MAX)),
            ("members_max", self.members_max as u64, 1, 1_000_000),
        ];
        bounds
            .into_iter()
            .try_for_each(|(key, value, min, max)| check(&format!("limits.{key}"), value, min, max))
    }

    /// One shard's share of the bounds, of so many.
    #[must_use]
    pub fn shard(&self, shards: u16) -> ShardLimits {
        ShardLimits {
            names_max: self.names_max / usize::from(shards.max(1)),
            bytes_max: self.topic_bytes_max / u64::from(shards.max(1)),
            voters_max: self.voters_max,
            members_max: self.members_max,
            ..ShardLimits::default()
        }
    }
}
