//! Policies as they stand in the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::topic::Policy;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::{PARTITIONS_MAX, Pattern};

use super::{Config, ConfigError, INTEGER_MAX, LimitsConfig};

/// What applies to the topics that a pattern matches.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// The pattern, `poll.*.votes` or `map.>`.
    pub names: String,
    /// Where the names are kept.
    #[serde(default)]
    pub durability: Durability,
    /// How safe a publish is before it is acknowledged, if it leaves that to the policy; absent: as
    /// safe as it gets.
    #[serde(default)]
    pub ack: Option<Durability>,
    /// Records kept at least.
    #[serde(default = "default_records")]
    #[schemars(range(min = 1, max = INTEGER_MAX))]
    pub retention_records: u64,
    /// Bytes kept at most.
    #[serde(default = "default_bytes")]
    #[schemars(range(min = 1, max = INTEGER_MAX))]
    pub retention_bytes: u64,
    /// How long records are kept; absent: not limited by age.
    #[serde(default)]
    #[schemars(range(min = 1, max = INTEGER_MAX))]
    pub retention_ms: Option<u64>,
    /// A topic that nobody has published to or followed by name for so long is removed; 0: never.
    #[serde(default)]
    #[schemars(range(min = 0, max = INTEGER_MAX))]
    pub idle_timeout_ms: u64,
    /// Keys whose newest value is kept as a map; 0: none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub map_keys_max: usize,
    /// Shards that records (by key) and ballots of tallies (by voter) are spread over; 1: none.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = PARTITIONS_MAX))]
    pub partitions: u16,
    /// Whether clients may delete and truncate the topics.
    #[serde(default)]
    pub allow_delete: bool,
    /// How its counters are kept.
    #[serde(default)]
    pub consistency: Consistency,
    /// Whether its names are the first that a loaded server refuses.
    #[serde(default)]
    pub priority: Priority,
    /// Requests in a second for all names of the policy together; 0: no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub requests_per_s: u32,
}

/// A text that has policies only.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Policies {
    #[serde(default)]
    policy: Vec<PolicyConfig>,
}

/// What survives: nothing that was acknowledged is lost by less than this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In memory: the crash of a client.
    #[default]
    Memory,
    /// On the disk: the crash of the server, and a power cut.
    Disk,
}

/// What a counter's value is on several nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// One number, which one node at a time changes, as far as a majority is there.
    #[default]
    Strong,
    /// The sum of what each node has counted by itself, in memory; all nodes come to the same.
    Eventual,
}

/// Who goes first on a loaded server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Refused only when nothing more can be taken on.
    #[default]
    Normal,
    /// Refused from the level `strained` on.
    Low,
}

impl Durability {
    fn level(self) -> AckLevel {
        match self {
            Self::Memory => AckLevel::Memory,
            Self::Disk => AckLevel::Disk,
        }
    }
}

fn default_records() -> u64 {
    Policy::default().retention_records
}

fn default_bytes() -> u64 {
    Policy::default().retention_bytes
}

fn default_partitions() -> u16 {
    Policy::default().partitions
}

/// Keys of the maps that the default policy keeps.
const MAP_KEYS_MAX: usize = 10_000;

impl PolicyConfig {
    /// What applies when nothing is configured: names below `map` keep maps.
    #[must_use]
    pub fn live_maps() -> Self {
        Self {
            names: "map.>".to_owned(),
            durability: Durability::Memory,
            ack: None,
            retention_records: default_records(),
            retention_bytes: default_bytes(),
            retention_ms: None,
            idle_timeout_ms: 0,
            map_keys_max: MAP_KEYS_MAX,
            partitions: default_partitions(),
            allow_delete: false,
            consistency: Consistency::Strong,
            priority: Priority::Normal,
            requests_per_s: 0,
        }
    }

    /// Reads a text that has nothing but `[[policy]]` entries, in the form of the configuration.
    ///
    /// # Errors
    /// The first thing that is not valid; what is no such text is shown with its line.
    pub fn read_all(text: &str) -> Result<Vec<Self>, ConfigError> {
        let Policies { policy } = toml::from_str(text).map_err(|error| {
            let (key, rule) = ("policy".to_owned(), error.to_string().trim_end().to_owned());
            ConfigError::Value { key, rule }
        })?;
        let config = Config { policy, ..Config::default() };
        config.validate()?;
        Ok(config.policy)
    }

    /// The text from which these are read again.
    ///
    /// # Errors
    /// When one cannot be written, which nothing is known for.
    pub fn write_all(policies: &[Self]) -> Result<String, ConfigError> {
        toml::to_string(&Policies { policy: policies.to_vec() }).map_err(|error| {
            let (key, rule) = ("policy".to_owned(), error.to_string());
            ConfigError::Value { key, rule }
        })
    }

    pub(super) fn validate(&self, index: usize) -> Result<(), ConfigError> {
        let key = |field: &str| format!("policy[{index}].{field}");
        if let Err(refusal) = Pattern::parse(&self.names) {
            return Err(ConfigError::Value { key: key("names"), rule: refusal.message });
        }
        if self.ack == Some(Durability::Disk) && self.durability == Durability::Memory {
            let rule = "what is in memory is not acknowledged from disk: set durability".to_owned();
            return Err(ConfigError::Together { key: key("ack"), other: key("durability"), rule });
        }
        if self.consistency == Consistency::Eventual && self.durability == Durability::Disk {
            let rule = "eventual counters are in the memory of the nodes: give them a policy of \
                        their own, without durability"
                .to_owned();
            let (key, other) = (key("consistency"), key("durability"));
            return Err(ConfigError::Together { key, other, rule });
        }
        if self.partitions > 1 && self.map_keys_max > 0 {
            let rule = "a topic with partitions keeps no map: one of the two must go".to_owned();
            let (key, other) = (key("map_keys_max"), key("partitions"));
            return Err(ConfigError::Together { key, other, rule });
        }
        Ok(())
    }

    /// A topic, or a partition of one, is in one of so many shards, which have equal shares.
    pub(super) fn warnings(
        &self,
        index: usize,
        limits: &LimitsConfig,
        shards: u16,
    ) -> impl Iterator<Item = String> {
        let share = limits.shard(shards);
        let (kept, share_batches) = (self.retention_records, share.batches_max as u64);
        let needed = kept.saturating_mul(shards.into());
        let records = (kept > share_batches).then(|| {
            format!(
                "policy[{index}].retention_records is {kept}, but of records that are published one \
                 by one a topic (or a partition) keeps {share_batches} at most: \
                 limits.topic_batches_max is spread over {shards} shards. Set it to {needed}, if \
                 there are 150 bytes of memory for each, or more partitions"
            )
        });
        self.bytes_warning(index, share.bytes_max, shards).into_iter().chain(records)
    }

    fn bytes_warning(&self, index: usize, share: u64, shards: u16) -> Option<String> {
        // On disk memory is no limit.
        let is_in_memory = self.durability == Durability::Memory;
        let kept = self.retention_bytes;
        let needed = kept.saturating_mul(shards.into());
        (is_in_memory && kept > share).then(|| {
            format!(
                "policy[{index}].retention_bytes is {kept}, but a topic (or a partition) keeps \
                 {share} at most: limits.topic_bytes_max is spread over {shards} shards. Set it to \
                 {needed}, if there is as much memory, or more partitions"
            )
        })
    }

    pub(super) fn rule(&self) -> Option<(Pattern, Policy)> {
        let policy = Policy {
            retention_records: self.retention_records,
            retention_bytes: self.retention_bytes,
            retention_ms: self.retention_ms,
            idle_timeout_ms: Some(self.idle_timeout_ms).filter(|timeout_ms| *timeout_ms > 0),
            map_keys_max: self.map_keys_max,
            partitions: self.partitions,
            allow_delete: self.allow_delete,
            is_eventual: self.consistency == Consistency::Eventual,
            ack_max: self.durability.level(),
            ack_default: self.ack.unwrap_or(self.durability).level(),
        };
        Some((Pattern::parse(&self.names).ok()?, policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_policies_has_nothing_else_and_is_checked_as_the_configuration_is() {
        let read = PolicyConfig::read_all;
        assert!(read("").unwrap().is_empty());
        let policies = read("[[policy]]\nnames = \"a\"\n[[policy]]\nnames = \"b\"").unwrap();
        assert_eq!(policies.len(), 2);
        let said = |text: &str| read(text).unwrap_err().to_string();
        assert!(said("cores = 1").contains("cores"));
        assert!(said("[[policy]]\nnames = \"a\"\npartitions = 17").contains("must be 1 to 16"));
        assert!(said("[[policy]]\nnames = \"a..b\"").contains("policy[0].names"));
        assert!(said("[[policy]]\nname = 1").contains("line 2"));
    }
}
