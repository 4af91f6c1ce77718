//! What tenants have in the shards that other nodes of the cluster lead, as those say.
//!
//! Each shard is led by one node, which counts what it makes. A node lets a tenant have another name if those of the
//! shards that it leads and those that the others have told of are fewer than the tenant may have. So there
//! may be more by what several nodes let it have before they have heard of each other. What was said last of a shard
//! holds until whoever leads it next says something else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Tenants;

/// What the leader of a shard says of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ShardNames {
    pub(crate) shard: u16,
    /// The term in which it leads it.
    pub(crate) term: u64,
    /// Names by the tenant's prefix, of those that have some.
    pub(crate) names: BTreeMap<String, u64>,
}

/// What was said last of each shard.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Mutex<BTreeMap<u16, Said>>);

#[derive(Debug)]
struct Said {
    /// This node leads the shard, and has counted it already.
    is_here: bool,
    term: u64,
    names: BTreeMap<String, u64>,
}

impl Tenants {
    /// This node leads a shard, and counts what is in it.
    pub(in crate::server) fn lead(&self, shard: u16, term: u64, names: BTreeMap<String, u64>) {
        self.elsewhere().insert(shard, Said { is_here: true, term, names });
        self.add_up();
    }

    /// It does so no more. What it has counted last holds until another node says something else.
    pub(in crate::server) fn follow(&self, shard: u16, term: u64) {
        if let Some(said) = self.elsewhere().get_mut(&shard).filter(|said| said.term == term) {
            said.is_here = false;
        }
        self.add_up();
    }

    /// What this node is to tell of the shards that it leads.
    pub(crate) fn led_here(&self) -> Vec<ShardNames> {
        let elsewhere = self.elsewhere();
        let here = elsewhere.iter().filter(|(_, said)| said.is_here);
        let here = here.map(|(shard, said)| ShardNames {
            shard: *shard,
            term: said.term,
            names: said.names.clone(),
        });
        here.collect()
    }

    /// Another node says what tenants have in shards that it leads.
    pub(crate) fn heard(&self, shards: Vec<ShardNames>) {
        let tenants = self.by_prefix.load();
        let mut elsewhere = self.elsewhere();
        for ShardNames { shard, term, mut names } in shards {
            names.retain(|prefix, _| tenants.contains_key(prefix));
            let is_older = |known: &Said| match known.is_here {
                true => term <= known.term,
                false => term < known.term,
            };
            if shard < self.shards && !elsewhere.get(&shard).is_some_and(is_older) {
                elsewhere.insert(shard, Said { is_here: false, term, names });
            }
        }
        drop(elsewhere);
        self.add_up();
    }

    /// Adds up what others have said.
    pub(super) fn add_up(&self) {
        let elsewhere = self.elsewhere();
        for (prefix, tenant) in self.by_prefix.load().iter() {
            let others = elsewhere.values().filter(|said| !said.is_here);
            let names = others.filter_map(|said| said.names.get(prefix));
            tenant.set_names_elsewhere(names.fold(0, |sum, names| sum.saturating_add(*names)));
        }
    }

    fn elsewhere(&self) -> MutexGuard<'_, BTreeMap<u16, Said>> {
        self.elsewhere.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::SHARDS;

    use super::*;

    fn elsewhere(tenants: &Tenants) -> u64 {
        tenants.infos()[0].names_elsewhere
    }

    fn names(count: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("acme".to_owned(), count), ("other".to_owned(), 9)])
    }

    fn said(shard: u16, term: u64, count: u64) -> ShardNames {
        ShardNames { shard, term, names: names(count) }
    }

    #[test]
    fn what_the_newest_leader_of_each_shard_has_said_is_added_up() {
        let config = toml::from_str("[[tenant]]\nprefix = \"acme\"\nnames_max = 5\n").unwrap();
        let tenants = Tenants::of(&config, SHARDS);
        tenants.heard(vec![said(1, 4, 3), said(2, 4, 1), said(SHARDS, 4, 7)]);
        assert_eq!(elsewhere(&tenants), 4);
        tenants.heard(vec![said(1, 5, 2)]);
        tenants.heard(vec![said(1, 4, 9)]);
        assert_eq!(elsewhere(&tenants), 3, "who led it before says nothing any more");
        tenants.lead(1, 6, names(2));
        assert_eq!((elsewhere(&tenants), tenants.led_here()), (1, vec![said(1, 6, 2)]));
        tenants.heard(vec![said(1, 6, 9)]);
        assert_eq!(elsewhere(&tenants), 1);
        tenants.follow(1, 6);
        assert_eq!((elsewhere(&tenants), tenants.led_here()), (3, Vec::new()), "until it is known");
        tenants.heard(vec![said(1, 7, 0)]);
        assert_eq!(elsewhere(&tenants), 1);
    }
}
