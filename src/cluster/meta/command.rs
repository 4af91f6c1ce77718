//! Entries of the meta group's log.
//!
//! Each is a map in MessagePack: `level`, the feature level from which on it may be used, and `command`. What is newer
//! than the server is told by its level, whatever else the map holds.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::placement::Placement;
use super::policies::PolicyText;
use super::state::REPLICAS_DEFAULT;
use crate::cluster::hello::FEATURE_LEVEL;
use crate::cluster::{ClusterId, NodeAddress, NodeId};

/// Longest entry: policies, and room for what is around them.
const COMMAND_BYTES_MAX: usize = 300 * 1024;

/// What changes the state of the meta group. Names of commands and fields are part of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum MetaCommand {
    /// The cluster begins, with its first node. What that one has in its logs is what the cluster has.
    Found {
        cluster: ClusterId,
        /// Of all durable shards: the one that the first node's have.
        epoch: u64,
        feature_level: u32,
        replicas: u16,
        node: NodeId,
        name: String,
        address: NodeAddress,
        policies: PolicyText,
    },
    /// A node belongs to it from now on, or says something new of itself.
    Join { node: NodeId, name: String, address: NodeAddress, feature_level: u32 },
    /// A node gives its copies away, or takes some again.
    Drain { node: NodeId, on: bool },
    /// A node never comes back.
    Remove { node: NodeId },
    /// What all members know alike of the nodes that were removed, all of which are named, is all there is of
    /// their eventual counters. It is the decision of this number, from 1 on.
    Seal { number: u64, nodes: BTreeSet<NodeId>, digest: u64 },
    /// Each shard has so many copies.
    SetReplicas { replicas: u16 },
    /// All nodes can do this; there is no way back.
    SetFeatureLevel { level: u32 },
    /// Other policies, by somebody who has seen the present ones.
    SetPolicies { expected_version: u64, policies: PolicyText },
    /// An operator chooses the copies of a shard.
    Move { shard: u16, nodes: Vec<NodeId> },
    /// They follow from the rule again.
    ClearMove { shard: u16 },
    /// The copies that follow from what was decided up to a revision.
    Place { revision: u64, placement: Placement },
}

/// Why an entry cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetaCommandError {
    /// Of a newer release.
    #[error(
        "the cluster has decided something that needs feature level {level}, and this server knows up to \
         {FEATURE_LEVEL}: update this node, then start it again; it loses nothing by waiting"
    )]
    Newer {
        /// What it needs.
        level: u32,
    },
    /// Too long.
    #[error("an entry of the meta group has {0} bytes, more than {COMMAND_BYTES_MAX}")]
    Long(usize),
    /// No entry.
    #[error(
        "an entry of the meta group cannot be read: {0}; compare the versions of the nodes, and verify the data \
         directory"
    )]
    Malformed(String),
}

#[derive(Deserialize)]
struct Head {
    level: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "level")]
    _level: u32,
    command: MetaCommand,
}

#[derive(Serialize)]
struct Written<'a> {
    level: u32,
    command: &'a MetaCommand,
}

impl MetaCommand {
    /// Copies of a shard where nobody has said anything else.
    pub(crate) const REPLICAS_DEFAULT: u16 = REPLICAS_DEFAULT;

    /// The feature level from which on it may be used.
    pub(crate) fn level(&self) -> u32 {
        match self {
            Self::Found { .. }
            | Self::Join { .. }
            | Self::Drain { .. }
            | Self::Remove { .. }
            | Self::Seal { .. }
            | Self::SetReplicas { .. }
            | Self::SetFeatureLevel { .. }
            | Self::SetPolicies { .. }
            | Self::Move { .. }
            | Self::ClearMove { .. }
            | Self::Place { .. } => 1,
        }
    }

    /// # Errors
    /// When it is longer than an entry may be.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, MetaCommandError> {
        let written = Written { level: self.level(), command: self };
        let bytes = rmp_serde::to_vec_named(&written)
            .map_err(|error| MetaCommandError::Malformed(error.to_string()))?;
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(MetaCommandError::Long(bytes.len()));
        }
        Ok(bytes)
    }

    /// # Errors
    /// When it is of a newer release, or none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MetaCommandError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(MetaCommandError::Long(bytes.len()));
        }
        let malformed =
            |error: rmp_serde::decode::Error| MetaCommandError::Malformed(error.to_string());
        let Head { level } = rmp_serde::from_slice(bytes).map_err(malformed)?;
        if level > FEATURE_LEVEL {
            return Err(MetaCommandError::Newer { level });
        }
        let Read { command, .. } = rmp_serde::from_slice(bytes).map_err(malformed)?;
        if command.level() != level {
            let said = format!("it says level {level} and is of level {}", command.level());
            return Err(MetaCommandError::Malformed(said));
        }
        Ok(command)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::meta::placement::GroupPlacement;
    use crate::cluster::meta::state::GROUPS;

    pub(in crate::cluster::meta) fn node_id() -> impl Strategy<Value = NodeId> {
        prop_oneof![1..12_u64, 1..=u64::MAX].prop_map(|node| NodeId::new(node).unwrap())
    }

    pub(in crate::cluster::meta) fn address() -> impl Strategy<Value = NodeAddress> {
        "[a-z]{1,9}:[1-9][0-9]{1,3}".prop_map(|text| NodeAddress::parse(&text).unwrap())
    }

    fn policies() -> impl Strategy<Value = PolicyText> {
        let text =
            |records: u32| format!("[[policy]]\nnames = \"a\"\nretention_records = {records}");
        (1..9_u32).prop_map(move |records| PolicyText::parse(&text(records)).unwrap())
    }

    pub(in crate::cluster::meta) fn placement() -> impl Strategy<Value = Placement> {
        let group = (btree_set(node_id(), 1..4), node_id())
            .prop_map(|(copies, leader)| GroupPlacement { copies, leader });
        (btree_set(node_id(), 0..4), vec(group, usize::from(GROUPS)))
            .prop_map(|(meta, groups)| Placement { meta, groups })
    }

    pub(in crate::cluster::meta) fn command() -> impl Strategy<Value = MetaCommand> {
        let found = (1..3_u64, node_id(), address(), policies()).prop_map(
            |(epoch, node, address, policies)| MetaCommand::Found {
                cluster: ClusterId::new(7),
                epoch,
                feature_level: 1,
                replicas: 3,
                node,
                name: "first".to_owned(),
                address,
                policies,
            },
        );
        let join = (node_id(), "[a-zä]{0,8}", address(), 0..3_u32).prop_map(
            |(node, name, address, feature_level)| MetaCommand::Join {
                node,
                name,
                address,
                feature_level,
            },
        );
        prop_oneof![
            found,
            join,
            (node_id(), any::<bool>()).prop_map(|(node, on)| MetaCommand::Drain { node, on }),
            node_id().prop_map(|node| MetaCommand::Remove { node }),
            (1..3_u64, btree_set(node_id(), 0..3), any::<u64>())
                .prop_map(|(number, nodes, digest)| MetaCommand::Seal { number, nodes, digest }),
            (0..9_u16).prop_map(|replicas| MetaCommand::SetReplicas { replicas }),
            (0..4_u32).prop_map(|level| MetaCommand::SetFeatureLevel { level }),
            (0..4_u64, policies()).prop_map(|(expected_version, policies)| {
                MetaCommand::SetPolicies { expected_version, policies }
            }),
            (0..40_u16, vec(node_id(), 0..5))
                .prop_map(|(shard, nodes)| MetaCommand::Move { shard, nodes }),
            (0..40_u16).prop_map(|shard| MetaCommand::ClearMove { shard }),
            (0..9_u64, placement())
                .prop_map(|(revision, placement)| MetaCommand::Place { revision, placement }),
        ]
    }

    #[test]
    fn what_a_newer_release_has_decided_is_refused_with_what_to_do() {
        #[derive(Serialize)]
        struct Newer {
            level: u32,
            command: &'static str,
            of_later: u64,
        }
        let newer = Newer { level: FEATURE_LEVEL + 1, command: "bury", of_later: 1 };
        let refused = MetaCommand::decode(&rmp_serde::to_vec_named(&newer).unwrap()).unwrap_err();
        assert_eq!(refused, MetaCommandError::Newer { level: FEATURE_LEVEL + 1 });
        assert!(refused.to_string().contains("update this node"), "{refused}");
    }

    #[test]
    fn what_is_unknown_in_a_known_level_is_not_passed_over() {
        let decode = |value: &serde_json::Value| {
            MetaCommand::decode(&rmp_serde::to_vec_named(value).unwrap())
        };
        let known = serde_json::json!({"level": 1, "command": {"remove": {"node": 3}}});
        assert_eq!(decode(&known), Ok(MetaCommand::Remove { node: NodeId::new(3).unwrap() }));
        for wrong in [
            serde_json::json!({"level": 1, "command": {"bury": {"node": 3}}}),
            serde_json::json!({"level": 1, "command": {"remove": {"node": 3, "softly": true}}}),
            serde_json::json!({"level": 1, "command": {"remove": {"node": 3}}, "softly": true}),
            serde_json::json!({"level": 0, "command": {"remove": {"node": 3}}}),
            serde_json::json!({"level": 1, "command": {"remove": {"node": 0}}}),
            serde_json::json!({"command": {"remove": {"node": 3}}}),
        ] {
            assert!(matches!(decode(&wrong), Err(MetaCommandError::Malformed(_))), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(command in command()) {
            prop_assert_eq!(MetaCommand::decode(&command.encode().unwrap()), Ok(command));
        }

        #[test]
        fn whatever_lies_in_the_log_is_read_or_refused(bytes: Vec<u8>) {
            drop(MetaCommand::decode(&bytes));
        }
    }
}
