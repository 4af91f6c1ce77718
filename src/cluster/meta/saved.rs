//! The saved form of the meta group's state: a map in MessagePack with a version.

use serde::{Deserialize, Serialize};

use super::state::Meta;

/// Versions of the form. Only a release that reads the old one, too, may write a new one.
const VERSION: u32 = 1;
/// Longest form. The bounds of what is in it keep it below.
const SAVED_BYTES_MAX: usize = 1024 * 1024;

/// Why a state cannot be saved or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetaSavedError {
    /// Of a newer release.
    #[error(
        "the state of the meta group has version {0}, and this server reads up to {VERSION}: update this node, \
         then start it again"
    )]
    Newer(u32),
    /// Too long.
    #[error("the state of the meta group has {0} bytes, more than {SAVED_BYTES_MAX}")]
    Long(usize),
    /// No state.
    #[error(
        "the state of the meta group cannot be read: {0}; a node that has lost it joins under a new id"
    )]
    Malformed(String),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "version")]
    _version: u32,
    meta: Meta,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    meta: &'a Meta,
}

impl Meta {
    /// # Errors
    /// When it is longer than it may be.
    pub(crate) fn save(&self) -> Result<Vec<u8>, MetaSavedError> {
        let written = Written { version: VERSION, meta: self };
        let bytes = rmp_serde::to_vec_named(&written)
            .map_err(|error| MetaSavedError::Malformed(error.to_string()))?;
        if bytes.len() > SAVED_BYTES_MAX {
            return Err(MetaSavedError::Long(bytes.len()));
        }
        Ok(bytes)
    }

    /// # Errors
    /// When it is of a newer release, or none.
    pub(crate) fn read_saved(bytes: &[u8]) -> Result<Self, MetaSavedError> {
        if bytes.len() > SAVED_BYTES_MAX {
            return Err(MetaSavedError::Long(bytes.len()));
        }
        let malformed =
            |error: rmp_serde::decode::Error| MetaSavedError::Malformed(error.to_string());
        let Head { version } = rmp_serde::from_slice(bytes).map_err(malformed)?;
        if version > VERSION {
            return Err(MetaSavedError::Newer(version));
        }
        let Read { meta, .. } = rmp_serde::from_slice(bytes).map_err(malformed)?;
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::meta::command::tests::command;
    use crate::cluster::meta::placement::{GroupPlacement, Placement};
    use crate::cluster::meta::policies::POLICIES_BYTES_MAX;
    use crate::cluster::meta::policies::Policies;
    use crate::cluster::meta::state::{GROUPS, IDS_MAX, NAME_BYTES_MAX, REPLICAS_MAX};
    use crate::cluster::meta::{MemberState, MetaNode, MetaSeal, PolicyText};
    use crate::cluster::{ClusterId, NodeAddress, NodeId};

    #[test]
    fn the_largest_state_that_is_allowed_can_be_saved() {
        let id = |number: usize| NodeId::new(u64::MAX - number as u64).unwrap();
        let node = MetaNode {
            name: "n".repeat(NAME_BYTES_MAX),
            address: NodeAddress::parse(&format!("{}:7172", "a".repeat(115))).unwrap(),
            state: MemberState::Draining,
            joined_revision: u64::MAX,
            feature_level: u32::MAX,
        };
        let copies: BTreeSet<NodeId> = (0..usize::from(REPLICAS_MAX)).map(id).collect();
        let group = GroupPlacement { copies: copies.clone(), leader: id(0) };
        let text = PolicyText::parse(&"#".repeat(POLICIES_BYTES_MAX)).unwrap();
        let largest = Meta {
            epoch: u64::MAX,
            nodes: (0..IDS_MAX).map(|number| (id(number), node.clone())).collect(),
            exceptions: (0..GROUPS)
                .map(|group| (group, copies.iter().copied().collect()))
                .collect(),
            policies: Policies { version: u64::MAX, text },
            seal: Some(MetaSeal {
                number: u64::MAX,
                nodes: (0..IDS_MAX).map(id).collect(),
                digest: u64::MAX,
            }),
            placement: Placement { meta: copies.clone(), groups: vec![group; usize::from(GROUPS)] },
            revision: u64::MAX,
            ..Meta::new(ClusterId::new(u128::MAX))
        };
        let saved = largest.save().unwrap();
        assert!(saved.len() > SAVED_BYTES_MAX / 2, "{} bytes", saved.len());
        assert_eq!(Meta::read_saved(&saved), Ok(largest));
    }

    #[test]
    fn a_form_of_a_newer_release_is_refused_with_what_to_do() {
        let newer = serde_json::json!({"version": VERSION + 1, "meta": 1});
        let refused = Meta::read_saved(&rmp_serde::to_vec_named(&newer).unwrap()).unwrap_err();
        assert_eq!(refused, MetaSavedError::Newer(VERSION + 1));
        assert!(refused.to_string().contains("update this node"));
        let long = vec![0; SAVED_BYTES_MAX + 1];
        assert_eq!(Meta::read_saved(&long), Err(MetaSavedError::Long(long.len())));
    }

    proptest! {
        #[test]
        fn a_state_is_read_as_it_was_saved(commands in vec(command(), 0..40)) {
            let mut meta = Meta::new(ClusterId::new(7));
            for command in commands {
                drop(meta.apply(&command));
                if let Some(due) = meta.placement_due() {
                    prop_assert_eq!(meta.apply(&due), Ok(crate::cluster::meta::Outcome::Changed));
                }
            }
            prop_assert_eq!(Meta::read_saved(&meta.save().unwrap()), Ok(meta));
        }

        #[test]
        fn whatever_was_saved_is_read_or_refused(bytes: Vec<u8>) {
            drop(Meta::read_saved(&bytes));
        }
    }
}
