//! The state of eventual counters: its hash and its saved form.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::contribution::Contribution;
use super::{Activity, Change, EventualCounters, EventualLimits, Seal};
use crate::cell::replicated::{Actor, History, Replica, SavedReplica};
use crate::hash_map;
use crate::snapshot::BadSnapshot;
use crate::state_hash::{StateHash, StateHasher};

/// Saved [`EventualCounters`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedEventualCounters {
    own: Actor,
    limits: EventualLimits,
    replicas: Vec<(Actor, SavedReplica<Change>)>,
    removed: Vec<u64>,
    seal: Option<Seal>,
    beyond: Vec<(Actor, u64)>,
    changed: Vec<Name>,
    ended: u64,
    released: u64,
    open: Vec<(Name, u64)>,
    activity: Vec<(u64, u64)>,
}

impl EventualCounters {
    /// A copy to be stored.
    #[must_use]
    pub fn save(&self) -> SavedEventualCounters {
        let Self {
            seed: _,
            own,
            limits,
            replicas,
            removed,
            seal,
            beyond,
            sums: _,
            changed,
            ended,
            released,
            open,
            activity,
        } = self;
        let mut open: Vec<_> =
            open.iter().map(|(name, version)| (name.clone(), *version)).collect();
        open.sort_unstable();
        SavedEventualCounters {
            own: *own,
            limits: *limits,
            replicas: replicas.iter().map(|(actor, replica)| (*actor, replica.save())).collect(),
            removed: removed.iter().copied().collect(),
            seal: seal.clone(),
            beyond: beyond.iter().map(|(actor, version)| (*actor, *version)).collect(),
            changed: changed.iter().cloned().collect(),
            ended: *ended,
            released: *released,
            open,
            activity: activity.save(),
        }
    }

    /// The counters that were saved, under the same incarnation. A node that starts again
    /// begins another one then ([`Self::begin`]).
    ///
    /// # Errors
    /// When an actor stands there twice, or its log and its version differ.
    pub fn restore(saved: SavedEventualCounters, seed: u64) -> Result<Self, BadSnapshot> {
        let SavedEventualCounters {
            own,
            limits,
            replicas: saved,
            removed,
            seal,
            beyond,
            changed,
            ended,
            released,
            open,
            activity: active,
        } = saved;
        let mut replicas = BTreeMap::new();
        for (actor, saved) in saved {
            let replica = Replica::<Contribution>::restore(saved, actor, seed)?;
            if replicas.insert(actor, replica).is_some() {
                return Err(BadSnapshot::new(format!("actor {actor} stands there twice")));
            }
        }
        let mut activity = Activity::new(seed);
        active.into_iter().for_each(|(active_ms, session)| activity.set(session, active_ms));
        let mut open_at = hash_map(seed);
        open_at.extend(open);
        let mut counters = Self {
            replicas,
            removed: removed.into_iter().collect(),
            seal,
            beyond: beyond.into_iter().collect(),
            ended,
            released,
            open: open_at,
            activity,
            ..Self::new(own, limits, seed)
        };
        let all = counters.replicas.values().flat_map(|replica| replica.state.keys());
        let all: BTreeSet<Name> = all.collect();
        counters.sum_up(all);
        counters.changed = changed.into_iter().collect();
        Ok(counters)
    }

    /// The hash of what all nodes come to have in common: what is known of each actor.
    #[must_use]
    pub fn common_hash(&self) -> StateHash {
        let mut hasher = StateHasher::new();
        let known = self.replicas.iter().filter(|(_, replica)| replica.version() > 0);
        hasher.ordered(known, |hasher, (actor, replica)| {
            actor.hash_into(hasher);
            hasher.number(replica.version());
            replica.state.hash_into(hasher);
        });
        hasher.finish()
    }

    /// The hash of everything that this node holds.
    pub fn hash_into(&self, hasher: &mut StateHasher) {
        let Self {
            seed: _,
            own,
            limits,
            replicas,
            removed,
            seal,
            beyond,
            sums,
            changed,
            ended,
            released,
            open,
            activity,
        } = self;
        own.hash_into(hasher);
        limits.hash_into(hasher);
        hasher.ordered(replicas, |hasher, (actor, replica)| {
            actor.hash_into(hasher);
            replica.hash_into(hasher);
        });
        hasher.ordered(removed, |hasher, node| hasher.number(*node));
        hasher.option(seal.as_ref(), |hasher, seal| seal.hash_into(hasher));
        hasher.ordered(beyond, |hasher, (actor, version)| {
            actor.hash_into(hasher);
            hasher.number(*version);
        });
        hasher.unordered(sums, |hasher, (counter, sum)| {
            hasher.text(counter.as_str());
            hasher.number(*sum);
        });
        hasher.ordered(changed, |hasher, counter| hasher.text(counter.as_str()));
        hasher.number(*ended);
        hasher.number(*released);
        hasher.unordered(open, |hasher, (counter, version)| {
            hasher.text(counter.as_str());
            hasher.number(*version);
        });
        activity.hash_into(hasher);
    }
}

impl EventualLimits {
    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { counters_max, actors_max, sessions_max, session_idle_ms, log } = self;
        hasher.size(*counters_max);
        hasher.size(*actors_max);
        hasher.size(*sessions_max);
        hasher.number(*session_idle_ms);
        log.hash_into(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::eventual::Attempt;
    use crate::state_hash::assert_each_counts;

    fn counters() -> EventualCounters {
        let own = Actor { node: 1, incarnation: 2 };
        let mut counters = EventualCounters::new(own, EventualLimits::default(), 7);
        for sequence in 1..=3 {
            let by = Some(Attempt { session: 9, sequence, tried: &[] });
            counters.add(&Name::parse("likes").unwrap(), 5, by, 10).unwrap();
        }
        let nodes = BTreeSet::from([3]);
        let digest = counters.digest_of(&nodes);
        counters.decide(Seal { number: 1, nodes, digest });
        counters
    }

    #[test]
    fn every_field_of_eventual_counters_counts() {
        assert_each_counts(
            counters,
            EventualCounters::hash_into,
            &[
                |counters| counters.own.node += 1,
                |counters| counters.limits.counters_max += 1,
                |counters| counters.limits.actors_max += 1,
                |counters| counters.limits.sessions_max += 1,
                |counters| counters.limits.session_idle_ms += 1,
                |counters| counters.limits.log.bytes_max += 1,
                |counters| counters.replicas.clear(),
                |counters| {
                    let replica = counters.replicas.values_mut().next_back().unwrap();
                    replica.state.totals.values_mut().for_each(|total| *total += 1);
                },
                |counters| {
                    let replica = counters.replicas.values_mut().next_back().unwrap();
                    replica.state.sessions.close(9);
                },
                |counters| {
                    let replica = counters.replicas.values_mut().next_back().unwrap();
                    replica.state.inherited.insert(1, 1);
                },
                |counters| {
                    let replica = counters.replicas.values_mut().next_back().unwrap();
                    replica.state.ended.insert(9, Vec::new());
                },
                |counters| counters.removed.clear(),
                |counters| counters.seal = None,
                |counters| counters.beyond.extend([(Actor::default(), 1)]),
                |counters| counters.sums.values_mut().for_each(|sum| *sum += 1),
                |counters| counters.changed.clear(),
                |counters| counters.ended += 1,
                |counters| counters.released += 1,
                |counters| counters.open.clear(),
                |counters| counters.activity.set(9, 11),
            ],
        );
    }
}
