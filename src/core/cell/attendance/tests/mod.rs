mod simulation;

use std::vec::Vec;

use super::*;
use crate::cell::replicated::{Delta, Merged};
use crate::state_hash::{StateHash, StateHasher};

pub(super) fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

pub(super) fn actor(node: u64, incarnation: u64) -> Actor {
    Actor { node, incarnation }
}

pub(super) fn node(id: u64) -> Attendance {
    Attendance::new(actor(id, 1), AttendanceLimits::default())
}

fn join(attendance: &mut Attendance, member: &str, holder: u64, data: &str, now_ms: u64) {
    let data = Bytes::copy_from_slice(data.as_bytes());
    attendance.join(&name("room"), member, (holder, 0), data, now_ms).unwrap();
}

pub(super) fn owed(from: &Attendance, to: &Attendance) -> Vec<Delta<PresenceChange>> {
    let owed = from.changes_since(&to.known(), usize::MAX);
    let snapshots = owed.snapshots.iter().filter_map(|actor| from.snapshot(*actor, 100));
    let travel = |delta| {
        let bytes = rmp_serde::to_vec_named(&delta).unwrap();
        rmp_serde::from_slice(&bytes).unwrap()
    };
    owed.deltas.into_iter().chain(snapshots.flatten()).map(travel).collect()
}

fn tell(from: &Attendance, to: &mut Attendance) {
    for delta in owed(from, to) {
        to.merge(delta);
    }
}

/// Members and their data, as they are shown.
fn shown(attendance: &Attendance) -> Vec<(String, Bytes)> {
    let Some(members) = attendance.members(&name("room")) else { return Vec::new() };
    let mut all: Vec<_> = members
        .changes_since(None)
        .filter_map(|change| Some((change.key.as_ref().into(), change.value?.clone())))
        .collect();
    all.sort();
    all
}

fn hash(attendance: &Attendance) -> StateHash {
    let mut hasher = StateHasher::new();
    attendance.hash_into(&mut hasher);
    hasher.finish()
}

#[test]
fn a_member_is_shown_once_with_the_newest_data_and_stays_until_all_have_left() {
    let (mut one, mut two) = (node(1), node(2));
    join(&mut one, "ann", 1, "phone", 10);
    join(&mut one, "ann", 2, "phone", 20);
    join(&mut two, "ann", 1, "laptop", 15);
    tell(&one, &mut two);
    tell(&two, &mut one);
    let ann = |data: &'static str| [("ann".into(), Bytes::from_static(data.as_bytes()))];
    assert_eq!(shown(&one), ann("laptop"));
    assert_eq!(shown(&one), shown(&two));
    two.leave(&name("room"), "ann", (1, 0));
    assert_eq!(shown(&two), ann("phone"));
    one.holder_ended((1, 0));
    tell(&one, &mut two);
    assert_eq!(shown(&two), ann("phone"), "another connection holds it");
    one.holder_ended((2, 0));
    tell(&one, &mut two);
    assert_eq!(shown(&two), []);
    assert_eq!((one.holders.len(), one.held.len()), (0, 0));
}

#[test]
fn who_came_over_a_node_goes_with_it_and_comes_back_with_it() {
    let (mut one, mut two, mut three) = (node(1), node(2), node(3));
    join(&mut one, "ann", 1, "", 10);
    join(&mut two, "bob", 1, "", 10);
    tell(&one, &mut two);
    tell(&one, &mut three);
    two.drop_node(1, 1);
    assert_eq!(shown(&two).len(), 1);
    // Another node has not heard yet that it is down.
    for delta in owed(&three, &two) {
        assert_eq!(two.merge(delta), Merged::Superseded);
    }
    assert_eq!(shown(&two).len(), 1);
    two.node_is_back(1, 1);
    tell(&three, &mut two);
    assert_eq!(shown(&two).len(), 2, "the suspicion was refuted");
    two.drop_node(1, 1);
    let mut one = Attendance::new(actor(1, 2), AttendanceLimits::default());
    join(&mut one, "cid", 1, "", 10);
    tell(&one, &mut two);
    tell(&one, &mut three);
    assert_eq!(
        (shown(&two).len(), shown(&three).len()),
        (2, 1),
        "of the earlier life nobody is left"
    );
    let late = owed(&node(9), &three);
    assert_eq!(late, []);
    two.drop_node(2, 9);
    assert_eq!(shown(&two).len(), 2, "a node does not believe that it is down itself");
    two.forget_node(1);
    assert_eq!((shown(&two).len(), two.down.len()), (1, 0));
}

#[test]
fn what_has_changed_is_handed_out_once_with_versions_that_grow() {
    let (mut one, mut two) = (node(1), node(2));
    join(&mut one, "ann", 1, "a", 10);
    join(&mut one, "bob", 2, "b", 10);
    tell(&one, &mut two);
    let first = two.take_changed().remove(0);
    assert_eq!((first.version, first.full, first.members.len()), (2, true, 2), "the set is new");
    assert_eq!(two.take_changed(), []);
    one.leave(&name("room"), "ann", (1, 0));
    join(&mut one, "bob", 2, "B", 11);
    join(&mut one, "cid", 3, "c", 11);
    one.leave(&name("room"), "cid", (3, 0));
    tell(&one, &mut two);
    let second = two.take_changed().remove(0);
    let members = second.members.iter().map(|m| (m.member.as_ref(), m.data.as_deref()));
    let members: Vec<_> = members.collect();
    assert!(!second.full && second.version > first.version);
    let changed = [("ann", None), ("bob", Some(&b"B"[..]))];
    assert_eq!(members, changed, "nobody has seen cid here");
    one.holder_ended((2, 0));
    tell(&one, &mut two);
    let third = two.take_changed().remove(0);
    assert!(two.members(&name("room")).is_none() && two.view.sets.is_empty());
    join(&mut one, "ann", 1, "a", 12);
    tell(&one, &mut two);
    assert!(two.take_changed().remove(0).version > third.version, "also when it comes again");
}

#[test]
fn bounds_refuse_what_is_new_here_and_take_over_what_others_have() {
    let limits =
        AttendanceLimits { sets_max: 1, members_max: 2, nodes_max: 3, ..Default::default() };
    let mut one = Attendance::new(actor(1, 1), limits);
    let mut two = node(2);
    join(&mut one, "ann", 1, "", 10);
    (0..5).for_each(|number| join(&mut two, &std::format!("bob.{number}"), number, "", 10));
    tell(&two, &mut one);
    assert_eq!(shown(&one).len(), 6);
    join(&mut one, "ann", 2, "again", 11);
    join(&mut one, "bob.3", 3, "known", 11);
    for (set, member) in [("room", "cid"), ("hall", "ann")] {
        let refusal = one.join(&name(set), member, (4, 0), Bytes::new(), 12).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::LimitExceeded);
        assert!(refusal.message.contains(set), "{}", refusal.message);
    }
    for id in 3..6 {
        let mut other = node(id);
        join(&mut other, "dan", 1, "", 10);
        let merged = one.merge(owed(&other, &one).remove(0));
        let expected = if id < 4 { Merged::Applied { version: 1 } } else { Merged::NoRoom };
        assert_eq!(merged, expected);
    }
}

#[test]
fn what_is_saved_is_everything() {
    let (mut one, mut two) = (node(1), node(2));
    join(&mut one, "ann", 1, "a", 10);
    join(&mut two, "bob", 1, "b", 10);
    tell(&two, &mut one);
    one.take_changed();
    join(&mut one, "cid", 2, "c", 11);
    one.drop_node(7, 3);
    let saved = rmp_serde::to_vec_named(&one.save()).unwrap();
    let restored = Attendance::restore(rmp_serde::from_slice(&saved).unwrap()).unwrap();
    assert_eq!(hash(&restored), hash(&one));
    one.holder_ended((2, 0));
    assert_ne!(hash(&restored), hash(&one));
}
