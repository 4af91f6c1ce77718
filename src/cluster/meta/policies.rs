//! The policies of a cluster: a text that all nodes read alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewire_protocol::stable_hash;

use crate::config::{ConfigError, PolicyConfig};

/// Longest text.
pub(super) const POLICIES_BYTES_MAX: usize = 256 * 1024;

/// The policies, and how often they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policies {
    /// From 1 on.
    pub(crate) version: u64,
    pub(crate) text: PolicyText,
}

/// Entries `[[policy]]` as they stand in a configuration, and a hash of what was read from them. Whoever proposes it
/// reads it, and not whoever applies it: what a release takes for valid must not decide how an entry applies. A node
/// that reads something else from it than the one that proposed it sees that by the hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyText {
    text: String,
    hash: u64,
}

/// Why a text is not the policies of a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyTextError {
    /// Too long.
    #[error(
        "the policies have {0} bytes, more than {POLICIES_BYTES_MAX}: a pattern can stand for many names"
    )]
    Long(usize),
    /// Not valid.
    #[error("the policies are refused: {0}")]
    Config(#[from] ConfigError),
    /// Valid, and read in another way than elsewhere.
    #[error(
        "this server reads other policies than the node that set them (hash {has:016x} instead of {says:016x}): \
         update the older of the two releases"
    )]
    Otherwise {
        /// What is read here.
        has: u64,
        /// What was read there.
        says: u64,
    },
}

impl PolicyText {
    /// # Errors
    /// When it is too long, or not valid.
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyTextError> {
        if text.len() > POLICIES_BYTES_MAX {
            return Err(PolicyTextError::Long(text.len()));
        }
        let hash = hash_of(&PolicyConfig::read_all(text)?)?;
        Ok(Self { text: text.to_owned(), hash })
    }

    /// The policies of a configuration.
    ///
    /// # Errors
    /// When they are too long.
    pub(crate) fn of(policies: &[PolicyConfig]) -> Result<Self, PolicyTextError> {
        Self::parse(&PolicyConfig::write_all(policies)?)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// What this server reads from it.
    ///
    /// # Errors
    /// When it is not what the one that proposed it has read.
    pub(crate) fn read(&self) -> Result<Vec<PolicyConfig>, PolicyTextError> {
        let policies = PolicyConfig::read_all(&self.text)?;
        let has = hash_of(&policies)?;
        if has != self.hash {
            return Err(PolicyTextError::Otherwise { has, says: self.hash });
        }
        Ok(policies)
    }
}

/// The first thing in which a node's policies differ from the cluster's; nothing if they say the same.
///
/// # Errors
/// When one of the two cannot be read.
pub(crate) fn difference(
    ours: &PolicyText,
    theirs: &PolicyText,
) -> Result<Option<String>, PolicyTextError> {
    if ours.hash() == theirs.hash() {
        return Ok(None);
    }
    let (ours, theirs) = (ours.read()?, theirs.read()?);
    let differs = |(index, (own, other)): (usize, (&PolicyConfig, &PolicyConfig))| {
        let (own, other) = (fields(own).ok()?, fields(other).ok()?);
        let key = own.keys().find(|key| own.get(*key) != other.get(*key))?;
        let shown = |fields: &BTreeMap<String, Value>| {
            fields.get(key).map_or_else(|| "absent".to_owned(), Value::to_string)
        };
        let names = shown_names(&own);
        let (own, other) = (shown(&own), shown(&other));
        Some(format!("policy[{index}].{key} (of {names}) is {own}, and {other} in the cluster"))
    };
    let in_both = ours.iter().zip(&theirs).enumerate().find_map(differs);
    Ok(Some(in_both.unwrap_or_else(|| {
        format!("it has {} policies, and the cluster {}", ours.len(), theirs.len())
    })))
}

fn shown_names(fields: &BTreeMap<String, Value>) -> String {
    fields.get("names").map(Value::to_string).unwrap_or_default()
}

/// A hash of what policies say, in their order. What has its default is left out, so a release with a new key has
/// the same hash as long as nobody uses the key.
fn hash_of(policies: &[PolicyConfig]) -> Result<u64, ConfigError> {
    let refuse = |error: &dyn std::fmt::Display| ConfigError::Value {
        key: "policy".to_owned(),
        rule: format!("cannot be written again: {error}"),
    };
    let bare = PolicyConfig::read_all("[[policy]]\nnames = \"*\"")?;
    let defaults = bare.first().map(fields).transpose().map_err(|error| refuse(&error))?;
    let defaults = defaults.unwrap_or_default();
    let said = policies.iter().map(|policy| {
        let mut said = fields(policy)?;
        said.retain(|key, value| key == "names" || defaults.get(key) != Some(value));
        Ok(said)
    });
    let said = said.collect::<Result<Vec<_>, serde_json::Error>>();
    let bytes = said.and_then(|said| serde_json::to_vec(&said)).map_err(|error| refuse(&error))?;
    Ok(stable_hash(&bytes))
}

fn fields(policy: &PolicyConfig) -> Result<BTreeMap<String, Value>, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(policy)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> PolicyText {
        PolicyText::parse(text).unwrap()
    }

    #[test]
    fn the_hash_is_of_what_is_said_and_not_of_how() {
        let one = parse("[[policy]]\nnames = \"a\"\nretention_records = 7\n");
        let again = parse(
            "# With a comment, in another order, and a default.\n[[policy]]\nretention_records = 7\n\
             names = 'a'\npartitions = 1",
        );
        assert_eq!(one.hash(), again.hash());
        assert_ne!(one.as_str(), again.as_str());
        for other in [
            "",
            "[[policy]]\nnames = \"a\"",
            "[[policy]]\nnames = \"b\"\nretention_records = 7\n",
            "[[policy]]\nnames = \"a\"\nretention_records = 7\n[[policy]]\nnames = \"b\"",
        ] {
            assert_ne!(parse(other).hash(), one.hash(), "{other}");
        }
        // It is part of what is stored.
        assert_eq!(parse("").hash(), stable_hash(b"[]"));
        assert_eq!(one.hash(), stable_hash(b"[{\"names\":\"a\",\"retention_records\":7}]"));
    }

    #[test]
    fn a_difference_says_which_key_of_which_policy() {
        let disk = parse("[[policy]]\nnames = \"a\"\ndurability = \"disk\"");
        let memory = parse("[[policy]]\nnames = \"a\"");
        let said = difference(&memory, &disk).unwrap().unwrap();
        assert!(said.contains("policy[0].durability (of \"a\")"), "{said}");
        assert!(said.contains("is \"memory\", and \"disk\" in the cluster"), "{said}");
        let said = difference(&parse(""), &disk).unwrap().unwrap();
        assert_eq!(said, "it has 0 policies, and the cluster 1");
        assert_eq!(difference(&disk, &disk).unwrap(), None);
    }

    #[test]
    fn what_a_configuration_says_is_written_as_it_is_read() {
        for text in ["", "[[policy]]\nnames = \"a.>\"\nretention_ms = 7\n[[policy]]\nnames = \"b\""]
        {
            let policies = PolicyConfig::read_all(text).unwrap();
            assert_eq!(PolicyText::of(&policies).unwrap().hash(), parse(text).hash(), "{text}");
        }
    }

    #[test]
    fn the_order_of_policies_counts() {
        let (a, b) = ("[[policy]]\nnames = \"a\"\n", "[[policy]]\nnames = \"b\"\n");
        assert_ne!(parse(&format!("{a}{b}")).hash(), parse(&format!("{b}{a}")).hash());
    }

    #[test]
    fn what_is_read_otherwise_than_by_who_set_it_is_refused() {
        let text = parse("[[policy]]\nnames = \"a\"");
        assert_eq!(text.read().unwrap().len(), 1);
        let other = PolicyText { hash: 7, ..text };
        let said = other.read().unwrap_err().to_string();
        assert!(said.contains("0000000000000007") && said.contains("update"), "{said}");
    }

    #[test]
    fn what_is_too_long_or_not_valid_is_refused() {
        let long = " ".repeat(POLICIES_BYTES_MAX + 1);
        assert!(matches!(PolicyText::parse(&long), Err(PolicyTextError::Long(_))));
        assert!(PolicyText::parse(&long[1..]).is_ok());
        let said = PolicyText::parse("listen = \"x\"").unwrap_err().to_string();
        assert!(said.contains("listen"), "{said}");
    }
}
