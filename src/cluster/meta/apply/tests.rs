mod seals;
mod twice;

use super::*;
use crate::cluster::ClusterId;

pub(in crate::cluster::meta) fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

fn address(node: u64) -> NodeAddress {
    NodeAddress::parse(&format!("node-{node}.example:7172")).unwrap()
}

fn found() -> MetaCommand {
    MetaCommand::Found {
        cluster: ClusterId::new(7),
        epoch: 5,
        feature_level: 1,
        replicas: 3,
        node: id(1),
        name: "node-1".to_owned(),
        address: address(1),
        policies: PolicyText::default(),
    }
}

pub(in crate::cluster::meta) fn join(node: u64) -> MetaCommand {
    MetaCommand::Join {
        node: id(node),
        name: format!("node-{node}"),
        address: address(node),
        feature_level: 1,
    }
}

pub(in crate::cluster::meta) fn founded() -> Meta {
    let mut meta = Meta::new(ClusterId::new(7));
    assert_eq!(meta.apply(&found()), Ok(Outcome::Changed));
    meta
}

/// A cluster of so many nodes, all active, with its copies still where they were.
pub(in crate::cluster::meta) fn joined(nodes: u64) -> Meta {
    let mut meta = founded();
    for node in 2..=nodes {
        assert_eq!(meta.apply(&join(node)), Ok(Outcome::Changed));
    }
    meta
}

/// The same, with the copies that follow from it.
fn placed(nodes: u64) -> Meta {
    let mut meta = joined(nodes);
    place(&mut meta);
    meta
}

fn place(meta: &mut Meta) {
    if let Some(due) = meta.placement_due() {
        assert_eq!(meta.apply(&due), Ok(Outcome::Changed));
    }
    assert_eq!(meta.placement_due(), None, "it follows from itself");
}

fn refused(meta: &Meta, command: &MetaCommand) -> MetaRefusal {
    let mut after = meta.clone();
    let refusal = after.apply(command).unwrap_err();
    assert_eq!(after, *meta, "what is refused changes nothing");
    refusal
}

fn text(records: u32) -> PolicyText {
    PolicyText::parse(&format!("[[policy]]\nnames = \"a\"\nretention_records = {records}")).unwrap()
}

#[test]
fn nothing_is_decided_before_a_cluster_is_founded_and_it_is_founded_once() {
    let mut meta = Meta::new(ClusterId::new(7));
    assert_eq!(refused(&meta, &join(2)), MetaRefusal::NotFounded);
    assert_eq!(meta.placement_due(), None);
    meta.apply(&found()).unwrap();
    assert!(meta.placement.groups.iter().all(|group| group.copies == BTreeSet::from([id(1)])));
    assert_eq!((meta.epoch, meta.policies.version, meta.revision), (5, 1, 1));
    assert_eq!(meta.apply(&found()), Ok(Outcome::Unchanged));

    let with = |change: fn(&mut MetaCommand)| {
        let mut command = found();
        change(&mut command);
        command
    };
    let other = with(|command| {
        if let MetaCommand::Found { node, .. } = command {
            *node = id(2);
        }
    });
    assert_eq!(refused(&meta, &other), MetaRefusal::FoundedAlready { epoch: 5 });
    meta.apply(&join(2)).unwrap();
    assert_eq!(refused(&meta, &other), MetaRefusal::FoundedAlready { epoch: 5 });
    let elsewhere = with(|command| {
        if let MetaCommand::Found { cluster, .. } = command {
            *cluster = ClusterId::new(8);
        }
    });
    assert!(matches!(refused(&meta, &elsewhere), MetaRefusal::OtherCluster { .. }));
    let without = with(|command| {
        if let MetaCommand::Found { epoch, .. } = command {
            *epoch = 0;
        }
    });
    assert_eq!(refused(&Meta::new(ClusterId::new(7)), &without), MetaRefusal::Epoch);
}

#[test]
fn a_node_that_was_removed_never_comes_back_under_its_id() {
    let mut meta = placed(4);
    meta.apply(&MetaCommand::Remove { node: id(4) }).unwrap();
    let refusal = refused(&meta, &join(4));
    assert_eq!(refusal, MetaRefusal::Removed { node: id(4) });
    assert!(refusal.to_string().contains("tidewire admin cluster ca issue --node N"));
    let drain = MetaCommand::Drain { node: id(4), on: false };
    assert_eq!(refused(&meta, &drain), MetaRefusal::Removed { node: id(4) });
    assert_eq!(meta.apply(&MetaCommand::Remove { node: id(4) }), Ok(Outcome::Unchanged));
}

#[test]
fn the_last_active_node_stays() {
    let mut meta = placed(2);
    meta.apply(&MetaCommand::Drain { node: id(2), on: true }).unwrap();
    let last = MetaRefusal::LastActive { node: id(1) };
    assert_eq!(refused(&meta, &MetaCommand::Drain { node: id(1), on: true }), last);
    meta.apply(&MetaCommand::Remove { node: id(2) }).unwrap();
    assert_eq!(refused(&meta, &MetaCommand::Drain { node: id(1), on: true }), last);
    let unknown = MetaRefusal::Unknown { node: id(9) };
    assert_eq!(refused(&meta, &MetaCommand::Remove { node: id(9) }), unknown);
}

#[test]
fn nobody_is_removed_whose_copies_a_group_cannot_do_without() {
    let mut meta = placed(3);
    meta.apply(&MetaCommand::Remove { node: id(3) }).unwrap();
    place(&mut meta);
    let refusal = refused(&meta, &MetaCommand::Remove { node: id(2) });
    assert_eq!(refusal, MetaRefusal::HoldsTooMuch { node: id(2), groups: 17 });
    meta.apply(&MetaCommand::Drain { node: id(2), on: true }).unwrap();
    assert!(matches!(
        refused(&meta, &MetaCommand::Remove { node: id(2) }),
        MetaRefusal::HoldsTooMuch { .. }
    ));
    place(&mut meta);
    assert_eq!(meta.apply(&MetaCommand::Remove { node: id(2) }), Ok(Outcome::Changed));
}

#[test]
fn the_feature_level_rises_only_as_far_as_every_node_knows_it() {
    let mut meta = founded();
    let raised = |node, feature_level| MetaCommand::Join {
        node: id(node),
        name: format!("node-{node}"),
        address: address(node),
        feature_level,
    };
    let raise = |level| MetaCommand::SetFeatureLevel { level };
    meta.apply(&raised(1, 3)).unwrap();
    meta.apply(&raised(2, 2)).unwrap();
    meta.apply(&MetaCommand::Drain { node: id(2), on: true }).unwrap();
    assert_eq!(meta.feature_level_max(), 2);
    let too_old = MetaRefusal::NodeTooOld { node: id(2), level: 2, needed: 3 };
    assert_eq!(refused(&meta, &raise(3)), too_old);
    meta.apply(&raise(2)).unwrap();
    assert_eq!(refused(&meta, &raise(1)), MetaRefusal::FeatureLevelDown { level: 1, has: 2 });
    assert_eq!(meta.apply(&raise(2)), Ok(Outcome::Unchanged));
    let too_old = MetaRefusal::NodeTooOld { node: id(3), level: 1, needed: 2 };
    assert_eq!(refused(&meta, &join(3)), too_old);
    let too_old = MetaRefusal::NodeTooOld { node: id(1), level: 1, needed: 2 };
    assert_eq!(refused(&meta, &raised(1, 1)), too_old, "it does not become older either");
}

#[test]
fn what_needs_a_higher_level_is_not_written_before_the_operator_raises_it() {
    let mut meta = founded();
    let newer = |node| MetaCommand::Join {
        node: id(node),
        name: format!("node-{node}"),
        address: address(node),
        feature_level: 2,
    };
    meta.apply(&newer(1)).unwrap();
    meta.apply(&newer(2)).unwrap();
    // That all of them know it is not enough.
    assert_eq!(meta.feature_level_max(), 2);
    let needed = MetaRefusal::FeatureLevelNeeded { needed: 2, has: 1 };
    assert_eq!(meta.check_needed(2), Err(needed));
    assert_eq!(meta.check_level(&newer(3)), Ok(()), "what was known before goes on");
    meta.apply(&MetaCommand::SetFeatureLevel { level: 2 }).unwrap();
    assert_eq!(meta.check_needed(2), Ok(()));
}

#[test]
fn policies_are_set_by_who_has_seen_the_present_ones() {
    let mut meta = founded();
    let set = |expected_version, policies| MetaCommand::SetPolicies { expected_version, policies };
    assert_eq!(meta.apply(&set(1, text(7))), Ok(Outcome::Changed));
    assert_eq!(meta.policies, Policies { version: 2, text: text(7) });
    assert_eq!(meta.apply(&set(1, text(7))), Ok(Outcome::Unchanged), "the same command again");
    let refusal = MetaRefusal::PoliciesVersion { expected: 1, has: 2 };
    assert_eq!(refused(&meta, &set(1, text(8))), refusal);
    assert_eq!(meta.apply(&set(2, text(8))), Ok(Outcome::Changed));
}

#[test]
fn an_operator_chooses_as_many_different_active_nodes_as_there_are_copies() {
    let mut meta = placed(5);
    let to = |shard, nodes: &[u64]| MetaCommand::Move {
        shard,
        nodes: nodes.iter().map(|node| id(*node)).collect(),
    };
    meta.apply(&to(17, &[5, 2, 3])).unwrap();
    place(&mut meta);
    let chosen = BTreeSet::from([id(2), id(3), id(5)]);
    assert_eq!(meta.placement.groups[1].copies, chosen, "shards 1 and 17 are of group 1");
    assert_eq!(refused(&meta, &to(32, &[1, 2, 3])), MetaRefusal::Shard { shard: 32, last: 31 });
    for wrong in [&[1, 2][..], &[1, 2, 2], &[1, 2, 3, 3], &[1, 2, 3, 4], &[]] {
        assert!(matches!(refused(&meta, &to(1, wrong)), MetaRefusal::Copies { needed: 3, .. }));
    }
    assert_eq!(refused(&meta, &to(1, &[1, 2, 9])), MetaRefusal::Unknown { node: id(9) });
    meta.apply(&MetaCommand::Drain { node: id(4), on: true }).unwrap();
    assert!(matches!(refused(&meta, &to(1, &[1, 2, 4])), MetaRefusal::NotActive { .. }));

    meta.apply(&MetaCommand::Remove { node: id(5) }).unwrap();
    assert_eq!(meta.exceptions[&1], [id(2), id(3)], "nobody is sent to one that was removed");
    place(&mut meta);
    assert!(meta.placement.groups[1].copies.is_superset(&BTreeSet::from([id(2), id(3)])));
    meta.apply(&MetaCommand::ClearMove { shard: 1 }).unwrap();
    assert!(meta.exceptions.is_empty());
}

#[test]
fn the_number_of_copies_is_odd() {
    let mut meta = founded();
    for wrong in [0, 2, 4, 6, 8, 9] {
        let refusal = refused(&meta, &MetaCommand::SetReplicas { replicas: wrong });
        assert_eq!(refusal, MetaRefusal::Replicas { replicas: wrong });
    }
    for right in [1, 5, 7] {
        let outcome = meta.apply(&MetaCommand::SetReplicas { replicas: right });
        assert_eq!(outcome, Ok(Outcome::Changed));
    }
}

#[test]
fn copies_that_follow_from_something_older_are_refused() {
    let mut meta = joined(3);
    let due = meta.placement_due().unwrap();
    meta.apply(&join(4)).unwrap();
    assert_eq!(refused(&meta, &due), MetaRefusal::Stale { revision: 3, has: 4 });
    let due = meta.placement_due().unwrap();
    assert_eq!(meta.apply(&due), Ok(Outcome::Changed));
    assert_eq!(meta.apply(&due), Ok(Outcome::Unchanged));

    let revision = meta.revision;
    let wrong = |change: fn(&mut Placement)| {
        let mut placement = meta.placement.clone();
        change(&mut placement);
        let command = MetaCommand::Place { revision, placement };
        matches!(refused(&meta, &command), MetaRefusal::Placement { .. })
    };
    assert!(wrong(|placement| drop(placement.groups.pop())));
    assert!(wrong(|placement| placement.groups[3].copies = BTreeSet::from([id(1), id(2)])));
    assert!(wrong(|placement| placement.groups[3].copies.clear()));
    assert!(wrong(|placement| placement.groups[3].leader = id(9)));
    assert!(wrong(|placement| placement.meta = BTreeSet::from([id(9)])));
    assert!(wrong(|placement| placement.meta = (1..=9).map(id).collect()));

    meta.apply(&MetaCommand::Remove { node: id(4) }).unwrap();
    let mut placement = meta.placement.clone();
    placement.meta = BTreeSet::from([id(4)]);
    let command = MetaCommand::Place { revision: meta.revision, placement };
    assert!(refused(&meta, &command).to_string().contains("were removed"));
}

#[test]
fn there_are_bounds_for_nodes_and_for_ids() {
    let mut meta = placed(NODES_MAX as u64);
    assert_eq!(refused(&meta, &join(99)), MetaRefusal::NodesMax);
    let mut next = NODES_MAX as u64;
    while meta.nodes.len() < IDS_MAX {
        place(&mut meta);
        meta.apply(&MetaCommand::Remove { node: id(next) }).unwrap();
        next += 1;
        meta.apply(&join(next)).unwrap();
    }
    place(&mut meta);
    meta.apply(&MetaCommand::Remove { node: id(next) }).unwrap();
    assert_eq!(refused(&meta, &join(next + 1)), MetaRefusal::IdsMax);
}

#[test]
fn a_name_can_be_shown() {
    let meta = founded();
    for wrong in ["", "a\u{1b}[2J", &"n".repeat(NAME_BYTES_MAX + 1)] {
        let command = MetaCommand::Join {
            node: id(2),
            name: wrong.to_owned(),
            address: address(2),
            feature_level: 1,
        };
        assert_eq!(refused(&meta, &command), MetaRefusal::Name { node: id(2) });
    }
}
