//! The tenants of a server, as a shard knows them.

use alloc::vec::Vec;
use core::cmp::Ordering;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use crate::access::is_under;
use crate::state_hash::StateHasher;

/// Place of a tenant among all.
pub type TenantPlace = u32;

/// What a shard keeps of one tenant at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantShare {
    /// What its names begin with.
    pub prefix: Name,
    /// Topics and cells that it may have in all shards together, for refusals; 0: no limit of its own.
    pub names_max: u64,
    /// Bytes of records that this shard keeps of it, in memory and on disk; 0: no limit of its own.
    pub bytes_max: u64,
    /// Whether it has all the names that it may have. Who counts those of all shards says so
    /// ([`super::super::Command::TenantFull`]).
    pub is_full: bool,
}

/// All tenants. No prefix begins as another does, so a name belongs to one at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantTable {
    /// By the order of [`order`].
    shares: Vec<TenantShare>,
}

impl TenantTable {
    /// Of these tenants, whose prefixes must not overlap.
    #[must_use]
    pub fn new(mut shares: Vec<TenantShare>) -> Self {
        shares.sort_by(|a, b| order(&a.prefix, b.prefix.as_str().bytes().chain([b'.'])));
        Self { shares }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// The tenants, each at its place.
    pub fn iter(&self) -> impl Iterator<Item = &TenantShare> {
        self.shares.iter()
    }

    /// Place of the tenant that a name belongs to.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<TenantPlace> {
        if self.shares.is_empty() {
            return None;
        }
        // With a dot behind it a prefix is the largest that is not above its names.
        let is_not_above =
            |share: &TenantShare| order(&share.prefix, name.as_str().bytes()) != Ordering::Greater;
        let place = self.shares.partition_point(is_not_above).checked_sub(1)?;
        is_under(name, &self.shares.get(place)?.prefix).then_some(place.try_into().ok()?)
    }

    /// The tenant that a name belongs to.
    #[must_use]
    pub fn of(&self, name: &Name) -> Option<&TenantShare> {
        self.shares.get(self.find(name)? as usize)
    }

    /// Says whether a tenant has all the names that it may have.
    pub(in crate::shard) fn set_full(&mut self, prefix: &Name, is_full: bool) {
        if let Some(share) = self.shares.iter_mut().find(|share| share.prefix == *prefix) {
            share.is_full = is_full;
        }
    }

    pub(in crate::shard) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { shares } = self;
        hasher.ordered(shares, |hasher, share| {
            let TenantShare { prefix, names_max, bytes_max, is_full } = share;
            hasher.text(prefix.as_str());
            hasher.number(*names_max);
            hasher.number(*bytes_max);
            hasher.flag(*is_full);
        });
    }
}

/// How a prefix with a dot behind it stands to a text.
fn order(prefix: &Name, text: impl Iterator<Item = u8>) -> Ordering {
    prefix.as_str().bytes().chain([b'.']).cmp(text)
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn table(prefixes: &[String]) -> TenantTable {
        let share = |prefix: &String| TenantShare {
            prefix: Name::parse(prefix).unwrap(),
            names_max: 0,
            bytes_max: 0,
            is_full: false,
        };
        TenantTable::new(prefixes.iter().map(share).collect())
    }

    proptest! {
        #[test]
        fn a_name_belongs_to_the_tenant_whose_prefix_it_has(
            candidates in proptest::collection::vec("(a|b|a-|a/)(\\.(a|b|a-)){0,2}", 0..8),
            name in "(a|b|a-|a/)(\\.(a|b|a-)){0,3}",
        ) {
            let begins = |name: &str, prefix: &str| name.starts_with(&format!("{prefix}."));
            let mut prefixes: Vec<String> = Vec::new();
            for one in candidates {
                let overlaps = |other: &String| *other == one || begins(other, &one) || begins(&one, other);
                if !prefixes.iter().any(overlaps) {
                    prefixes.push(one);
                }
            }
            let table = table(&prefixes);
            let owner = prefixes.iter().find(|prefix| begins(&name, prefix));
            let found = table.of(&Name::parse(&name).unwrap());
            prop_assert_eq!(found.map(|share| share.prefix.as_str()), owner.map(String::as_str));
        }
    }
}
