//! The state of presence sets: its hash and its saved form.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::Name;

use super::view::{Shown, View};
use super::{Attendance, AttendanceLimits, Holder, Place, PresenceChange};
use crate::cell::replicated::{Actor, History, Replica, SavedReplica};
use crate::cell::{Keyed, SavedKeyed};
use crate::snapshot::BadSnapshot;
use crate::state_hash::{StateHash, StateHasher};

/// Saved [`Attendance`], for replays: a node that starts again has no connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedAttendance {
    own: Actor,
    limits: AttendanceLimits,
    nodes: Vec<(Actor, SavedReplica<PresenceChange>)>,
    down: Vec<(u64, u64)>,
    holders: Vec<(Place, BTreeSet<Holder>)>,
    version: u64,
    /// With the version that was handed out last.
    sets: Vec<(Name, SavedKeyed, u64)>,
    changed: BTreeSet<Name>,
}

impl Attendance {
    /// A copy to be stored.
    #[must_use]
    pub fn save(&self) -> SavedAttendance {
        let Self { own, limits, nodes, down, holders, held: _, view } = self;
        let View { version, sets, changed } = view;
        let nodes = nodes.iter().map(|(node, (incarnation, replica))| {
            (Actor { node: *node, incarnation: *incarnation }, replica.save())
        });
        let sets =
            sets.iter().map(|(set, Shown { members, told })| (set.clone(), members.save(), *told));
        SavedAttendance {
            own: *own,
            limits: *limits,
            nodes: nodes.collect(),
            down: down.iter().map(|(node, incarnation)| (*node, *incarnation)).collect(),
            holders: holders.iter().map(|(place, held)| (place.clone(), held.clone())).collect(),
            version: *version,
            sets: sets.collect(),
            changed: changed.clone(),
        }
    }

    /// What was saved.
    ///
    /// # Errors
    /// When a node or a set contradicts itself or stands there twice.
    pub fn restore(saved: SavedAttendance) -> Result<Self, BadSnapshot> {
        let SavedAttendance { own, limits, nodes: saved, down, holders, version, sets, changed } =
            saved;
        let mut nodes = BTreeMap::new();
        for (actor, saved) in saved {
            let replica = Replica::restore(saved, actor, 0)?;
            if nodes.insert(actor.node, (actor.incarnation, replica)).is_some() {
                return Err(BadSnapshot::new(format!("node {} stands there twice", actor.node)));
            }
        }
        let mut shown = BTreeMap::new();
        for (set, members, told) in sets {
            let members = Keyed::restore(members)?;
            if shown.insert(set.clone(), Shown { members, told }).is_some() {
                return Err(BadSnapshot::new(format!("presence set '{set}' stands there twice")));
            }
        }
        let mut held: BTreeMap<Holder, BTreeSet<Place>> = BTreeMap::new();
        for (place, holders) in &holders {
            for holder in holders {
                held.entry(*holder).or_default().insert(place.clone());
            }
        }
        Ok(Self {
            own,
            limits,
            nodes,
            down: down.into_iter().collect(),
            holders: holders.into_iter().collect(),
            held,
            view: View { version, sets: shown, changed },
        })
    }

    /// The hash of what all nodes come to have in common: who is there over each node.
    #[must_use]
    pub fn common_hash(&self) -> StateHash {
        let mut hasher = StateHasher::new();
        let known = self.nodes.iter().filter(|(_, (_, replica))| replica.version() > 0);
        hasher.ordered(known, |hasher, (node, (incarnation, replica))| {
            Actor { node: *node, incarnation: *incarnation }.hash_into(hasher);
            hasher.number(replica.version());
            replica.state.hash_into(hasher);
        });
        hasher.finish()
    }

    /// The hash of everything that this node holds.
    pub fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { own, limits, nodes, down, holders, held, view } = self;
        let AttendanceLimits { sets_max, members_max, nodes_max, log } = limits;
        own.hash_into(hasher);
        hasher.size(*sets_max);
        hasher.size(*members_max);
        hasher.size(*nodes_max);
        log.hash_into(hasher);
        hasher.ordered(nodes, |hasher, (node, (incarnation, replica))| {
            Actor { node: *node, incarnation: *incarnation }.hash_into(hasher);
            replica.hash_into(hasher);
        });
        hasher.ordered(down, |hasher, (node, incarnation)| {
            hasher.number(*node);
            hasher.number(*incarnation);
        });
        hasher.ordered(holders, |hasher, (place, holders)| {
            hash_place(hasher, place);
            hasher.ordered(holders, hash_holder);
        });
        hasher.ordered(held, |hasher, (holder, places)| {
            hash_holder(hasher, holder);
            hasher.ordered(places, hash_place);
        });
        let View { version, sets, changed } = view;
        hasher.number(*version);
        hasher.ordered(sets, |hasher, (set, Shown { members, told })| {
            hasher.text(set.as_str());
            members.hash_into(hasher);
            hasher.number(*told);
        });
        hasher.ordered(changed, |hasher, set| hasher.text(set.as_str()));
    }
}

fn hash_place(hasher: &mut StateHasher, (set, member): &Place) {
    hasher.text(set.as_str());
    hasher.text(member);
}

fn hash_holder(hasher: &mut StateHasher, (first, second): &Holder) {
    hasher.number(*first);
    hasher.number(*second);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::state_hash::assert_each_counts;

    fn attendance() -> Attendance {
        let own = Actor { node: 1, incarnation: 1 };
        let mut attendance = Attendance::new(own, AttendanceLimits::default());
        for (member, holder) in [("ann", 1), ("bob", 2)] {
            let room = Name::parse("room").unwrap();
            attendance.join(&room, member, (holder, 0), Bytes::from_static(b"x"), 5).unwrap();
        }
        attendance.drop_node(3, 1);
        attendance
    }

    #[test]
    fn every_field_of_presence_counts() {
        assert_each_counts(
            attendance,
            Attendance::hash_into,
            &[
                |attendance| attendance.own.node += 1,
                |attendance| attendance.own.incarnation += 1,
                |attendance| attendance.limits.sets_max += 1,
                |attendance| attendance.limits.members_max += 1,
                |attendance| attendance.limits.nodes_max += 1,
                |attendance| attendance.limits.log.changes_max += 1,
                |attendance| attendance.nodes.get_mut(&1).unwrap().0 += 1,
                |attendance| attendance.nodes.get_mut(&1).unwrap().1.state.entries.clear(),
                |attendance| attendance.down.clear(),
                |attendance| attendance.holders.clear(),
                |attendance| attendance.held.clear(),
                |attendance| attendance.view.version += 1,
                |attendance| attendance.view.changed.clear(),
                |attendance| attendance.view.sets.clear(),
            ],
        );
    }
}
